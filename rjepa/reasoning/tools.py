"""What a mode has to work with: rows of a decoding session, a trained R-JEPA, and how its release scores.

Every latent that a mode reads enters the world model here, and every piece of work is counted here. The parts belong to
`rjepa.engine`; which rows are decoded when is up to `rjepa.reasoning.driving`.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from rjepa.arrays import Float64
from rjepa.chains import ParsedChain, Segmentation, parse_chain
from rjepa.inference.calibration import ScoreCalibration
from rjepa.inference.scoring import segment_energies
from rjepa.jepa.model import RJepa
from rjepa.jepa.reader import Reader
from rjepa.latents.sets import LatentSet
from rjepa.reasoning.answer import Answer, CandidateReport, Explanation
from rjepa.reasoning.candidates import join_latents
from rjepa.reasoning.costs import Cost
from rjepa.reasoning.question import Question
from rjepa.reasoning.reading import Reading, guess_ends, read_on
from rjepa.reasoning.tokens import TokenReport, report_tokens
from rjepa.sampling.protocol import Capability, DecodingSession
from rjepa.sampling.reading import TextReader
from rjepa.step_types import chain_types
from rjepa.students.extraction import ChainLatents
from rjepa.students.prompting import EncodedPrompt
from rjepa.students.sampled import Bias, ChainEnd, Edit, RowRequest, SampledChain, StepEnd, Token, TokenScore
from rjepa.verbalizer.guiding import Guidance, Guide
from rjepa.verbalizer.speaking import Verbalizer

_Standing = tuple[int, bool, tuple[int, ...]]
"""How many tokens a row has, whether it is over, and where its segments end."""


@dataclass(frozen=True, kw_only=True)
class Writer:
    """How a student's source writes, and the names that an answer carries."""

    llm_tag: str
    release_id: str
    segmentation: Segmentation
    sampling_temperature: float
    capabilities: frozenset[Capability] = frozenset(Capability)


@dataclass(frozen=True, kw_only=True)
class Parts(Writer):
    """What a release brings beside."""

    model: RJepa
    reader: Reader
    calibration: ScoreCalibration
    verbalizer: Verbalizer | None = None
    guidance: Guidance | None = None
    guided_calibration: ScoreCalibration | None = None
    """Fitted to chains that `guidance` guided as its settings say; None where the release does not know how sure they
    are."""

    @property
    def reads_steps(self) -> bool:
        """Whether R-JEPA can read chains while they are written."""
        return self.model.config.encoder.causal and self.capabilities >= {Capability.STEPS, Capability.LIVE_STATES}


class Tools:
    """The tools of one question."""

    def __init__(
        self,
        question: Question,
        prompt: EncodedPrompt,
        max_new_tokens: int,
        session: DecodingSession,
        writer: Writer,
        reader: TextReader,
        needs: frozenset[Capability] = frozenset({Capability.STATES}),
    ) -> None:
        """needs: what the question's mode wants of its rows; one that forks may fork a finished chain."""
        self._writer = writer
        self._capture, self._keep_finished = Capability.STATES in needs, Capability.FORK in needs
        self._reader = reader
        self._question = question
        self._prompt = prompt
        self._max_new_tokens = max_new_tokens
        self._session = session
        self.rows: list[int] = []
        self._started = time.perf_counter()
        self._text: dict[int, str] = {}
        self._scores: dict[int, list[TokenScore]] = {}
        self._ended: set[int] = set()
        self._passes_before = session.counts.passes
        self._world_model_passes = 0
        self._ends: dict[int, list[int]] = {}  # by row: tokens up to the end of each finished segment
        self._readings: dict[int, Reading] = {}
        self._read_at: dict[int, _Standing] = {}  # by row: how it stood when R-JEPA read it last
        self._prompt_read: Reading | None = None
        self._prefix_tokens: dict[int, int] = {}  # by row: tokens that it began with
        self._dropped: set[int] = set()
        self._drawn = self._read_again = 0

    @property
    def parts(self) -> Parts:
        """What the release brings. A mode that names no parts has none to ask for."""
        assert isinstance(self._writer, Parts)  # the engine refuses modes that need parts where there are none
        return self._writer

    def calibrate(self, calibration: ScoreCalibration) -> None:
        """Score the question's chains by this from now on: they are of another kind than the release's own was fitted
        to.
        """
        self._writer = replace(self.parts, calibration=calibration)

    def start(self, samples: Sequence[int], temperature: float) -> tuple[int, ...]:
        """Begin chains of the question, one a sample index, no more than the budget has tokens left; its prompt is read
        once for all of them.

        Args:
            samples: `GREEDY`, or an index that with the question's seed determines the chain's noise.
            temperature: the greedy chain does not depend on it.
        """
        if self.budget is not None:
            samples = samples[: max(1, self.budget - self._drawn)]
        rows = self._session.add([self._request(sample, temperature) for sample in samples])
        self.rows += rows
        return tuple(rows)

    def start_from(self, lines: Sequence[str], sample: int, temperature: float) -> int:
        """Begin a chain of the question that goes on from these lines, each a whole step with label and end."""
        tokens = [self.tokens_of(line) for line in lines]
        ends = np.cumsum([len(one) for one in tokens]).tolist()
        prefix = tuple(token for one in tokens for token in one)
        (row,) = self._session.add([self._request(sample, temperature, prefix)])
        self.rows.append(row)
        self._ends[row], self._prefix_tokens[row] = ends, len(prefix)
        self._read_again += len(prefix)
        return row

    def _request(self, sample: int, temperature: float, prefix: tuple[int, ...] = ()) -> RowRequest:
        return RowRequest(
            statement=self._prompt.statement,
            seed=self._question.seed,
            sample_index=sample,
            temperature=temperature,
            max_new_tokens=self._max_new_tokens,
            # A statement alone is the student's own prompt of it, which any source knows.
            prompt_ids=self._prompt.ids if len(self._question.messages) > 1 or self._question.tools else None,
            prefix=prefix,
            rules=self._question.rules,
            capture=self._capture,
            keep_finished=self._keep_finished,
        )

    def can_start_from(self, lines: Sequence[str]) -> bool:
        """Whether these lines leave room for more of the chain."""
        return sum(len(self.tokens_of(line)) for line in lines) < self._max_new_tokens

    @property
    def temperature(self) -> float:
        """What the question's samples are drawn at: its own temperature; the student's where it names none or 0, which
        is greedy.
        """
        return self._question.temperature or self._writer.sampling_temperature

    @property
    def statement(self) -> str:
        """The problem."""
        return self._prompt.statement

    @property
    def prompt_tokens(self) -> tuple[int, ...]:
        """The tokens of the problem as the student reads it."""
        return self._prompt.ids

    def tokens_of(self, text: str) -> tuple[int, ...]:
        """The student's tokens of a piece of a chain, without what its tokenizer puts before every text."""
        (tokens,) = self._reader.tokenize([text])
        first = next((place for place in range(len(tokens)) if self._reader.text(tokens[place : place + 1])), 0)
        return tokens[first:]

    def read_texts(self, chains: Sequence[str]) -> list[ChainLatents]:
        """The latents of chains of the question's problem that somebody else wrote."""
        found = self._reader.encode([self._prompt.statement] * len(chains), list(chains))
        self._read_again += sum(one.tokens - int(one.boundaries[1]) for one in found)
        return found

    def text_energies(self, chains: Sequence[str]) -> list[Float64]:
        """How surprising each segment after the prompt is, of chains that somebody else wrote."""
        latents = self.read_texts(chains)
        self._world_model_passes += 1
        types = chain_types(chains, (len(one.latents) for one in latents), self.parts.segmentation)
        of_problem = LatentSet.of_problem([one.latents for one in latents], latents[0].sentences, types)
        return segment_energies(self.parts.model, self.parts.reader, of_problem)

    def note(self, event: Token | StepEnd | ChainEnd) -> None:
        """Take in what happened to one of the question's rows."""
        if isinstance(event, Token | ChainEnd) and event.text:
            self._text[event.row] = self._text.get(event.row, "") + event.text
        if isinstance(event, Token):
            self._drawn += 1
        if isinstance(event, StepEnd):
            _extend(self._ends.setdefault(event.row, []), event.steps, event.tokens)
        if isinstance(event, Token | ChainEnd) and event.scores:
            self._scores.setdefault(event.row, []).extend(event.scores)
        if isinstance(event, ChainEnd):
            self._ended.add(event.row)

    def new_text(self, row: int) -> str:
        """What a row has written since the last call."""
        return self._text.pop(row, "")

    def new_tokens(self, row: int) -> tuple[TokenReport, ...]:
        """The tokens that a row has drawn since the last call, where the question asks for their log-probabilities."""
        return report_tokens(self._scores.pop(row, ())) or ()

    def is_over(self, row: int) -> bool:
        """Whether a row's chain is whole, by itself or at its limit of tokens, and the mode has seen all of it."""
        return row in self._ended

    def is_whole(self, row: int) -> bool:
        """Whether a row is over and was not stopped on the way."""
        return row in self._ended and row not in self._dropped

    def chains(self, rows: Sequence[int]) -> list[SampledChain]:
        """What rows have written, with their latents where the session captures them."""
        return self._session.chains(rows)

    def fork(self, row: int, *, keep_steps: int, sample_index: int) -> int:
        """A new row that begins with the first `keep_steps` segments of another and goes on by itself. R-JEPA does not
        read them again, and the student only where the other row was dropped.

        Args:
            sample_index: tells forks of one place apart; with the question's seed it decides their noise.
        """
        child = self._session.fork(row, keep_steps=keep_steps, sample_index=sample_index)
        self.rows.append(child)
        self._prefix_tokens[child] = len(self._session.tokens(child))
        if row in self._dropped:
            self._read_again += len(self._prompt.ids) + self._prefix_tokens[child]
        self._ends[child] = self._ends.get(row, [])[:keep_steps]
        if row in self._readings:
            self._readings[child] = self._readings[row].kept(keep_steps)
        return child

    def drop(self, row: int) -> None:
        """Stop a row; what it has written can still be read."""
        if row not in self._dropped:
            self._session.drop(row)
            self._dropped.add(row)
            self._ended.add(row)

    @property
    def budget(self) -> int | None:
        """Tokens that may be drawn for the question, over all its rows."""
        return self._question.options.budget

    @property
    def is_spent(self) -> bool:
        """Whether one more token of each row that is not over would exceed the budget."""
        waiting = 0 if self.budget is None else sum(row not in self._ended for row in self.rows)
        return self.budget is not None and self._drawn + max(waiting, 1) > self.budget

    def stop_spending(self) -> None:
        """Stop all rows where they stand."""
        for row in self.rows:
            if row not in self._ended:
                self.drop(row)

    def can_grow(self, row: int, keep_steps: int) -> bool:
        """Whether the first `keep_steps` segments of a row leave room for more of the chain."""
        kept = self._ends.get(row, [])[:keep_steps]
        return (kept[-1] if kept else 0) < self._max_new_tokens

    def read(self, rows: Sequence[int]) -> list[Reading]:
        """What R-JEPA makes of these rows, as far as their steps are finished; what was read before is not read again.

        Only rows whose prompt the session has read, and of a session that captures.

        Raises:
            InvalidInputError: R-JEPA reads chains in both directions, and nothing of them before they end.
        """
        read_together([(self, rows)])
        return [self._readings[row] for row in rows]

    def knows_problem(self, row: int) -> bool:
        """Whether R-JEPA knows problems like this one, as its latent says; True where the release has no guard. The
        session has to have read the row's prompt.
        """
        guard = None if self.parts.guidance is None else self.parts.guidance.familiarity
        if guard is None:
            return True
        prompt = self.parts.reader.read(self._session.latents(row)[:1])
        return guard.knows(torch.from_numpy(prompt)[0])

    def guide(self) -> Guide:
        """A guide for one of the question's rows. The release has to have guidance."""
        assert self.parts.guidance is not None  # the engine has seen to it
        labelled = self.parts.segmentation == "guided"
        return Guide(self.parts.guidance, self._question.statement, self._prompt.ids, labelled)

    def reading(self, row: int) -> Reading:
        """What R-JEPA has read of a row so far, without reading on; empty before its prompt was read."""
        return self._readings.get(row, self._prompt_read or Reading())

    def read_whole(self, rows: Sequence[int], chains: Sequence[SampledChain] | None = None) -> list[Reading]:
        """What R-JEPA makes of rows that are over: in one pass, but for those that were read while they were written.

        Any model can do that, one that reads in both directions too.

        Args:
            chains: of these rows, as `chains` gives them, where the caller has them already.
        """
        chains = self._session.chains(rows) if chains is None else chains
        for row, chain in zip(rows, chains, strict=True):
            self._note_ends(row, chain)
        unread = [place for place, row in enumerate(rows) if not self._is_read(row)]
        if unread:
            energies = self.energies([chains[place] for place in unread])
            for place, found in zip(unread, energies, strict=True):
                ends = self._ends.get(rows[place], [])
                self._readings[rows[place]] = Reading.whole(chains[place], found.tolist(), ends)
        return [self._readings[row] for row in rows]

    def _stands(self, row: int) -> _Standing:
        """All that a reading of a row depends on."""
        return len(self._session.tokens(row)), self.is_over(row), tuple(self._ends.get(row, ()))

    def _is_read(self, row: int) -> bool:
        return row in self._readings and len(self._readings[row].steps) == len(self._ends.get(row, []))

    def _note_ends(self, row: int, chain: SampledChain) -> None:
        if self.is_over(row) and chain.latents is not None:
            self._ends[row] = guess_ends(chain, self._ends.get(row, []), len(chain.latents) - 1)

    def set_bias(self, row: int, bias: Bias | None) -> None:
        """Add this to the row's logits from its next token on; None takes it away."""
        self._session.set_bias(row, bias)

    def set_edit(self, row: int, edit: Edit | None) -> None:
        """Change the states of the tokens that the row is fed from now on; None takes it away."""
        self._session.set_edit(row, edit)

    @property
    def tokens_generated(self) -> int:
        """Tokens that were drawn for the question so far; those that a row began with were drawn before, or given."""
        return sum(len(self._session.tokens(row)) - self._prefix_tokens.get(row, 0) for row in self.rows)

    def energies(self, chains: Sequence[SampledChain]) -> list[Float64]:
        """How surprising each segment after the prompt is, float32 `[segments - 1]` a chain."""
        self._world_model_passes += 1
        return segment_energies(self.parts.model, self.parts.reader, join_latents(chains))

    def cost(self) -> Cost:
        """What the question has cost so far."""
        return Cost(
            tokens_generated=self.tokens_generated,
            tokens_read=(len(self._prompt.ids) if self.rows else 0) + self._read_again,
            forward_passes=self._session.counts.passes - self._passes_before,
            world_model_passes=self._world_model_passes,
            seconds=time.perf_counter() - self._started,
        )

    def answer(
        self,
        text: str,
        *,
        finished: bool,
        candidates: Sequence[CandidateReport] = (),
        p_correct: float | None = None,
        explanation: Explanation | None = None,
        abstained: bool = False,
    ) -> Answer:
        """The answer of the question, with what it has cost so far. One that abstains has neither steps nor answer."""
        parsed = ParsedChain([], None) if abstained else parse_chain(text, self._writer.segmentation)
        tokens = self._tokens_by_text()
        return Answer(
            mode=self._question.mode,
            text=text,
            abstained=abstained,
            steps=parsed.steps,
            final_answer=parsed.final_answer,
            finished=finished,
            candidates=[one.model_copy(update={"scored_tokens": tokens.get(one.text)}) for one in candidates],
            scored_tokens=tokens.get(text),
            p_correct=p_correct,
            explanation=explanation,
            prompt_tokens=len(self._prompt.ids),
            ignored=self._prompt.ignored,
            cost=self.cost(),
            seed=self._question.seed,
            llm_tag=self._writer.llm_tag,
            release_id=self._writer.release_id,
        )

    def _tokens_by_text(self) -> dict[str, tuple[TokenReport, ...] | None]:
        """The tokens of each chain of the question by its text, where their log-probabilities are asked for."""
        if self._question.top_logprobs is None or not self.rows:
            return {}
        return {chain.text: report_tokens(chain.scores) for chain in self._session.chains(self.rows)}

    def release(self) -> None:
        """Free what the question's rows hold."""
        for row in self.rows:
            self.drop(row)


def read_together(asked: Sequence[tuple[Tools, Sequence[int]]]) -> None:
    """Read rows of several questions of one session as `Tools.read` reads those of one, in one pass for all."""
    everything = [
        (tools, row) for tools, rows in asked for row in rows if tools._read_at.get(row) != tools._stands(row)
    ]
    if not everything:
        return
    chains = everything[0][0]._session.chains([row for _, row in everything])
    known, ends = [], []
    for (tools, row), chain in zip(everything, chains, strict=True):
        tools._note_ends(row, chain)
        if tools._prompt_read is None:
            tools._prompt_read = Reading.begin(tools.parts.model, tools.parts.reader, chain)
            tools._world_model_passes += 1
        known.append(tools._readings.get(row, tools._prompt_read))
        ends.append(tools._ends.get(row, []))
    found = read_on(known, chains, ends)
    new: dict[int, int] = {}  # by question: passes of R-JEPA, which reads a segment of each of its rows in one
    for (tools, row), before, reading in zip(everything, known, found, strict=True):
        tools._readings[row], tools._read_at[row] = reading, tools._stands(row)
        new[id(tools)] = max(new.get(id(tools), 0), len(tools._ends.get(row, [])) - len(before.steps))
    for tools, _ in asked:
        tools._world_model_passes += new.pop(id(tools), 0)


def _extend(ends: list[int], segments: int, tokens: int) -> None:
    """Note that the first `segments` segments of a row have `tokens` tokens. Several may have ended at once, or the
    last one that had ended has grown.
    """
    del ends[max(segments - 1, 0) :]
    ends += [tokens] * (segments - len(ends))
