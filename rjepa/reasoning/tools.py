"""What a mode has to work with: rows of a decoding session, a trained R-JEPA, and how its release scores.

Every latent that a mode reads enters the world model here, and every piece of work is counted here. The parts belong to
`rjepa.engine`; which rows are decoded when is up to `rjepa.reasoning.driving`.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from rjepa.chains import Segmentation, parse_chain
from rjepa.inference.aggregate import FloatArray
from rjepa.inference.calibration import ScoreCalibration
from rjepa.inference.scoring import segment_energies
from rjepa.jepa.model import RJepa
from rjepa.latents.normalizer import Normalizer
from rjepa.reasoning.answer import Answer, CandidateReport, Explanation
from rjepa.reasoning.candidates import join_latents
from rjepa.reasoning.costs import Cost
from rjepa.reasoning.question import Question
from rjepa.reasoning.tokens import TokenReport, report_tokens
from rjepa.sampling.protocol import DecodingSession
from rjepa.students.prompting import EncodedPrompt
from rjepa.students.sampled import ChainEnd, RowRequest, SampledChain, StepEnd, Token, TokenScore


@dataclass(frozen=True)
class Parts:
    """What a release brings, and the names that an answer carries."""

    llm_tag: str
    release_id: str
    segmentation: Segmentation
    sampling_temperature: float
    model: RJepa
    normalizer: Normalizer
    calibration: ScoreCalibration


class Tools:
    """The tools of one question."""

    def __init__(
        self, question: Question, prompt: EncodedPrompt, max_new_tokens: int, session: DecodingSession, parts: Parts
    ) -> None:
        self.parts = parts
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

    def start(self, samples: Sequence[int], temperature: float) -> tuple[int, ...]:
        """Begin chains of the question, one a sample index; its prompt is read once for all of them.

        Args:
            samples: `GREEDY`, or an index that with the question's seed determines the chain's noise.
            temperature: of no matter to the greedy chain.
        """
        rows = self._session.add(
            [
                RowRequest(
                    statement=self._prompt.statement,
                    seed=self._question.seed,
                    sample_index=sample,
                    temperature=temperature,
                    max_new_tokens=self._max_new_tokens,
                    # A statement alone is the student's own prompt of it, which any source knows.
                    prompt_ids=self._prompt.ids if len(self._question.messages) > 1 else None,
                    rules=self._question.rules,
                )
                for sample in samples
            ]
        )
        self.rows += rows
        return tuple(rows)

    def note(self, event: Token | StepEnd | ChainEnd) -> None:
        """Take in what happened to one of the question's rows."""
        if isinstance(event, Token | ChainEnd) and event.text:
            self._text[event.row] = self._text.get(event.row, "") + event.text
        if isinstance(event, Token) and event.score is not None:
            self._scores.setdefault(event.row, []).append(event.score)
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

    def chains(self, rows: Sequence[int]) -> list[SampledChain]:
        """What rows have written, with their latents where the session captures them."""
        return self._session.chains(rows)

    def energies(self, chains: Sequence[SampledChain]) -> list[FloatArray]:
        """How surprising each segment after the prompt is, float32 `[segments - 1]` a chain."""
        self._world_model_passes += 1
        return segment_energies(self.parts.model, self.parts.normalizer, join_latents(chains))

    def cost(self) -> Cost:
        """What the question has cost so far."""
        return Cost(
            tokens_generated=sum(len(self._session.tokens(row)) for row in self.rows),
            tokens_read=len(self._prompt.ids) if self.rows else 0,
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
    ) -> Answer:
        """The answer of the question, with what it has cost so far."""
        parsed = parse_chain(text, self.parts.segmentation)
        tokens = self._tokens_by_text()
        return Answer(
            mode=self._question.mode,
            text=text,
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
            llm_tag=self.parts.llm_tag,
            release_id=self.parts.release_id,
        )

    def _tokens_by_text(self) -> dict[str, tuple[TokenReport, ...] | None]:
        """The tokens of each chain of the question by its text, where their log-probabilities are asked for."""
        if self._question.top_logprobs is None or not self.rows:
            return {}
        return {chain.text: report_tokens(chain.scores) for chain in self._session.chains(self.rows)}

    def release(self) -> None:
        """Free what the question's rows hold."""
        for row in self.rows:
            self._session.drop(row)
