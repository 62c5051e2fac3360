"""Plain text that a student goes on from: no problem, no steps, no world model. For clients that bring prompts of their
own, and for measurements of the student itself.

How questions are answered belongs to `rjepa.reasoning`; how rows are written and texts read, to `rjepa.sampling`.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

from rjepa.errors import InvalidInputError, TooLongError
from rjepa.reasoning.events import Text, Working
from rjepa.reasoning.tokens import TokenReport, report_tokens
from rjepa.sampling.protocol import Capability, ChainSource, needs_of, require
from rjepa.students.rules import TokenRules
from rjepa.students.sampled import ChainEnd, Pass, RowRequest, Token

_WHAT = "off"
"""The mode whose needs these are: the student alone."""


@dataclass(frozen=True)
class Continuation:
    """One text to go on from, as tokens of the student.

    text: the same as text; with seed and index it decides the noise. index: tells continuations of one text apart.
    temperature: None for the student's own; 0 takes the most probable token each time. max_tokens: of what is written.
    """

    ids: tuple[int, ...]
    text: str
    index: int
    seed: int
    temperature: float | None
    max_tokens: int
    rules: TokenRules

    @property
    def request(self) -> RowRequest:
        """The row that writes it."""
        return RowRequest(
            self.text, self.seed, self.index, self.temperature, self.max_tokens, self.ids, rules=self.rules
        )


@dataclass(frozen=True)
class Continued:
    """A continuation that is written. `tokens` are scored, one that ends the sequence included, where the rules ask for
    them; `generated` counts them all; `mean_logprob` is of the text's, in nats.
    """

    text: str
    finished: bool
    tokens: tuple[TokenReport, ...] | None
    generated: int
    mean_logprob: float


def check_continuations(source: ChainSource, wanted: Sequence[Continuation]) -> None:
    """Refuse what cannot be continued, without beginning.

    Raises:
        InvalidInputError: a text without tokens or room for one more, or rules that the source does not know.
    """
    for one in wanted:
        for capability in sorted(needs_of(one.rules) | {Capability.CHAINS}):
            require(source, capability, _WHAT)
        require_text(source, one.ids, 1)
        require_known(source, [token for token, _ in one.rules.logit_bias])


def require_text(source: ChainSource, ids: Sequence[int], more: int = 0) -> None:
    """Refuse a text that the student cannot read, or that leaves no room for `more` tokens.

    Raises:
        InvalidInputError: it has no tokens, too many, or one that the student does not have.
    """
    tag, most = source.record.llm_tag, source.context_length - more
    if not ids:
        raise InvalidInputError(f"the text has no tokens of {tag}", cure="send a text with at least one character")
    if len(ids) > most:
        raise TooLongError(
            f"the text has {len(ids)} tokens, {tag} reads {source.context_length}",
            cure=f"shorten it to {most} tokens: this model's maximum context length is {source.context_length} tokens",
        )
    require_known(source, ids)


def require_known(source: ChainSource, ids: Sequence[int]) -> None:
    """Refuse ids that the student has no token for.

    Raises:
        InvalidInputError: there are some.
    """
    tag = source.record.llm_tag
    foreign = [token for token in ids if not 0 <= token < source.reader.vocabulary]
    if foreign:
        raise InvalidInputError(
            f"{tag} has no token {foreign[0]}", cure=f"use its own token ids, 0 to {source.reader.vocabulary - 1}"
        )


def continue_texts(
    source: ChainSource, wanted: Sequence[Continuation]
) -> Generator[tuple[int, Working | Text | Continued], None, None]:
    """Go on from texts, in batches as large as the student's record allows. Closing the generator stops between two
    tokens.

    Yields:
        Events with the index of their continuation: `Text` as it is written, `Continued`; and after each pass
        `Working`, with the index of one and the tokens of all in the pass.
    """
    size = source.record.sampling.batch_size
    for first in range(0, len(wanted), size):
        with closing(_batch(source, wanted[first : first + size])) as events:
            for index, event in events:
                yield first + index, event


def _batch(
    source: ChainSource, wanted: Sequence[Continuation]
) -> Generator[tuple[int, Working | Text | Continued], None, None]:
    with source.session(capture=False) as session:
        rows = session.add([one.request for one in wanted])
        place = {row: index for index, row in enumerate(rows)}
        drawn = [0] * len(rows)
        with closing(session.run(steps=False, one_by_one=False)) as events:
            new = 0
            for event in events:
                if isinstance(event, Pass):
                    new, done = 0, new
                    yield 0, Working(done)
                if not isinstance(event, Token | ChainEnd):
                    continue
                index = place[event.row]
                if isinstance(event, Token):
                    drawn[index] += event.token >= 0  # an endpoint's pieces of text have no ids
                    new += 1
                if event.text or event.scores:
                    yield index, Text(event.text, report_tokens(event.scores) or ())
                if isinstance(event, ChainEnd):
                    chain = session.chain(event.row)
                    count = max(1, len(chain.token_logprobs))
                    yield (
                        index,
                        Continued(
                            chain.text,
                            chain.finished,
                            report_tokens(chain.scores),
                            max(drawn[index], len(chain.token_ids)),
                            sum(chain.token_logprobs) / count,
                        ),
                    )
