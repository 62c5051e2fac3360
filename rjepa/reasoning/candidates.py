"""From sampled chains to candidates, to one set of latents, and to reports of how each did. Values in, values out.

How they are scored and chosen lives in `rjepa.inference`, the order of things in the modes.
"""

from collections.abc import Sequence

import numpy as np

from rjepa.arrays import Float64
from rjepa.chains import Segmentation, parse_chain, read_segments
from rjepa.inference.ranking import Ranking, Standing
from rjepa.latents.sets import LatentSet
from rjepa.reasoning.answer import CandidateReport
from rjepa.schemas import Candidate
from rjepa.step_types import chain_types
from rjepa.students.sampled import SampledChain

_QUESTION = "question"


def make_candidates(chains: Sequence[SampledChain]) -> list[Candidate]:
    """Return the chains of one question as candidates without a verdict."""
    return [_candidate(index, chain) for index, chain in enumerate(chains)]


def join_latents(chains: Sequence[SampledChain]) -> LatentSet:
    """The latents of one question's chains, all captured. Its domain is unknown, and the model takes it as such."""
    latents = [chain.latents for chain in chains if chain.latents is not None]
    types = chain_types((chain.text for chain in chains), map(len, latents), chains[0].segmentation)
    return LatentSet.of_problem(latents, chains[0].sentences, types)


def report_candidates(
    candidates: Sequence[Candidate], energies: Sequence[Float64], ranking: Ranking, segmentation: Segmentation
) -> list[CandidateReport]:
    """How each candidate did, in the order in which they were sampled.

    Args:
        energies: of each candidate's segments 1..
        segmentation: how the student's chains are cut into segments.
    """
    return [
        _report(candidate, energy, standing, candidate.sample_index == ranking.chosen, segmentation)
        for candidate, energy, standing in zip(candidates, energies, ranking.standings, strict=True)
    ]


def step_energies(text: str, energies: Float64, segmentation: Segmentation) -> tuple[list[float], float | None]:
    """Energies of the steps that people see, and of the answer line: a step without words has a segment but no line."""
    steps: list[float] = []
    answer = None
    segments = read_segments(text, segmentation)
    for segment, energy in zip(segments, np.nan_to_num(energies).tolist(), strict=False):
        if not segment.text:
            continue
        if segment.is_answer:
            answer = energy
        else:
            steps.append(energy)
    return steps, answer


def _candidate(index: int, chain: SampledChain) -> Candidate:
    parsed = parse_chain(chain.text, chain.segmentation)
    return Candidate(
        problem_id=_QUESTION,
        sample_index=index,
        text=chain.text,
        steps=parsed.steps,
        final_answer=parsed.final_answer,
        finished=chain.finished,
        token_logprobs=list(chain.token_logprobs),
        self_certainty=chain.self_certainty,
    )


def _report(
    candidate: Candidate, energies: Float64, standing: Standing, chosen: bool, segmentation: Segmentation
) -> CandidateReport:
    by_step, answer_energy = step_energies(candidate.text, energies, segmentation)
    return CandidateReport(
        index=candidate.sample_index,
        text=candidate.text,
        steps=candidate.steps,
        final_answer=candidate.final_answer,
        finished=candidate.finished,
        tokens=len(candidate.token_logprobs),
        logprob=float(sum(candidate.token_logprobs)),
        step_energies=by_step,
        answer_energy=answer_energy,
        rank=standing.rank,
        score=standing.score,
        contributions=standing.contributions,
        votes=standing.votes,
        weighted_share=standing.weighted_share,
        p_correct=standing.p_correct,
        chosen=chosen,
    )
