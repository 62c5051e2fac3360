"""What a release makes of chains that somebody else wrote: energies, P(correct), the first doubtful step, latents.

Nothing is sampled here. How answers are written and chosen belongs to `rjepa.reasoning`; what a release would expect
in place of a step, to `rjepa.masking`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from rjepa.arrays import Float16, Float32
from rjepa.inference.ranking import explain
from rjepa.inference.scoring import segment_energies
from rjepa.inference.table import CandidateTable
from rjepa.reasoning.candidates import join_latents, make_candidates, report_candidates
from rjepa.reasoning.reading import Reading, guess_ends
from rjepa.reasoning.tools import Parts
from rjepa.sampling.protocol import Capability, ChainSource, require
from rjepa.students.sampled import SampledChain
from rjepa.values import FrozenValue


class StepJudgement(FrozenValue):
    """One step of a chain, as a release reads it."""

    text: str = Field(description="with its label and end")
    energy: float = Field(description="how surprising it is given the steps before it")
    share_of_right_steps_below: float | None = Field(description="share of right steps on validation with less energy")
    p_correct: float | None = Field(description="P(the chain ends right) after this step; None where it is not known")
    doubtful: bool = Field(description="its energy is above the release's threshold for a wrong step")


class ChainJudgement(FrozenValue):
    """One chain, as a release reads it, among those that were given with it. Log-probabilities are in nats."""

    index: int
    text: str
    steps: list[StepJudgement]
    final_answer: str | None
    answer_energy: float | None
    first_doubtful_step: int | None = Field(description="counted from 1; None where no step is, or no threshold known")
    p_correct: float | None
    logprob: float
    tokens: int
    rank: int = Field(description="0 for the best score")
    score: float | None
    contributions: dict[str, float]
    votes: int
    chosen: bool


class Judgement(FrozenValue):
    """Chains of one problem, compared with each other."""

    chains: list[ChainJudgement]
    ranking: list[int] = Field(description="indices of the chains, best first")
    chosen: int
    familiar: bool = Field(description="False where R-JEPA is left out, as it does not know such problems")
    step_threshold: float | None
    text: str = Field(description="why the chosen one is, in a sentence")
    tokens_read: int


@dataclass(frozen=True)
class ReadChain:
    """A chain's latents as a release sees them: float32 [segments, columns], standardised, the prompt first; float32
    [segments], the energy of each, 0 for the prompt.
    """

    chain: SampledChain
    latents: Float32
    energies: Float32


def require_reading(source: ChainSource, parts: Parts, what: str) -> None:
    """Refuse a source without hidden states.

    Raises:
        InvalidInputError: so it is.
    """
    require(source, Capability.STATES, what)


def judge_chains(source: ChainSource, parts: Parts, problem: str, texts: Sequence[str]) -> Judgement:
    """Read chains of one problem and compare them, as if they had been sampled.

    Raises:
        InvalidInputError: a text without words or too long, or a source without hidden states.
    """
    require_reading(source, parts, "score")
    chains = source.reader.chains([problem] * len(texts), texts)
    energies = segment_energies(parts.model, parts.reader, join_latents(chains))
    candidates = make_candidates(chains)
    table = CandidateTable.of_question(candidates, energies)
    ranking = explain(table, parts.calibration.decide(table), [one.final_answer for one in candidates])
    reports = report_candidates(candidates, energies, ranking, parts.segmentation)
    judged = []
    for chain, report, own in zip(chains, reports, energies, strict=True):
        steps = _steps(parts, chain, own.tolist())
        doubtful = (place for place, step in enumerate(steps, start=1) if step.doubtful)
        judged.append(
            ChainJudgement(
                steps=steps,
                first_doubtful_step=next(doubtful, None),
                **report.model_dump(include=set(ChainJudgement.model_fields) - {"steps"}),
            )
        )
    return Judgement(
        chains=judged,
        ranking=sorted(range(len(judged)), key=lambda index: judged[index].rank),
        chosen=ranking.chosen,
        familiar=ranking.familiar,
        step_threshold=parts.calibration.step_threshold,
        text=ranking.text,
        tokens_read=_tokens(source, problem, chains),
    )


def read_latents(source: ChainSource, parts: Parts, problem: str, texts: Sequence[str]) -> list[ReadChain]:
    """Chains of one problem with what the release reads of them (raises as `judge_chains`)."""
    require_reading(source, parts, "latents")
    chains = source.reader.chains([problem] * len(texts), texts)
    energies = segment_energies(parts.model, parts.reader, join_latents(chains))
    return [
        ReadChain(chain, parts.reader.read(latents_of(chain)), np.concatenate([[0.0], own]).astype(np.float32))
        for chain, own in zip(chains, energies, strict=True)
    ]


def latents_of(chain: SampledChain) -> Float16:
    """The latents of a chain that was read with them."""
    assert chain.latents is not None
    return chain.latents


def similarities(source: ChainSource, parts: Parts, texts: Sequence[tuple[int, ...]]) -> Float32:
    """float32 [texts, texts]: cosines of texts' mean states, each dimension standardised as the release standardises
    the means of steps, where its latents hold means: raw states of a language model all point one way.
    """
    vectors = source.reader.embed(texts)
    if "mean" in source.record.poolings:
        size = vectors.shape[1]
        block = slice(size * source.record.poolings.index("mean"), size * (source.record.poolings.index("mean") + 1))
        vectors = (vectors - parts.reader.own.location[block]) / parts.reader.own.scale[block]
    unit = unit_vectors(vectors)
    cosines: Float32 = np.clip(unit @ unit.T, -1.0, 1.0)
    return cosines


def unit_vectors(vectors: Float32) -> Float32:
    """The same vectors with length 1; one of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Float32 = (vectors / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
    return unit


def _steps(parts: Parts, chain: SampledChain, energies: list[float]) -> list[StepJudgement]:
    """The steps that people see: one without words has a segment, but no line."""
    calibration, known, steps = parts.calibration, [], []
    for part in Reading.whole(chain, energies, guess_ends(chain, [], len(energies))).steps:
        if part.is_answer:
            continue
        known.append(part.energy)
        if part.words:
            threshold = calibration.step_threshold
            steps.append(
                StepJudgement(
                    text=part.text,
                    energy=part.energy,
                    share_of_right_steps_below=calibration.share_of_right_steps_below(part.energy),
                    p_correct=calibration.prefix.p_correct(known, part.logprob, part.tokens),
                    doubtful=threshold is not None and part.energy > threshold,
                )
            )
    return steps


def _tokens(source: ChainSource, problem: str, chains: Sequence[SampledChain]) -> int:
    return source.count_prompt(problem) + sum(len(chain.token_ids) for chain in chains)
