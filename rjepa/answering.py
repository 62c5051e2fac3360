"""From sampled chains to candidates, their latents as one set, and reports of how each did. Values in, values out.

The order of things (sample, score, choose) lives in `rjepa.engine`.
"""

import numpy as np

from rjepa.answer import CandidateReport, Explanation
from rjepa.chains import Segmentation, parse_chain, segment_spans
from rjepa.inference.rerank import Ranking
from rjepa.latents.sets import LatentSet, Prompts
from rjepa.latents.texts import Texts
from rjepa.schemas import Candidate
from rjepa.step_types import chain_types
from rjepa.students.sampled import SampledChain

_QUESTION = "question"


def make_candidates(chains: list[SampledChain]) -> list[Candidate]:
    """The chains of one question as candidates that nobody has judged."""
    return [_candidate(index, chain) for index, chain in enumerate(chains)]


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


def join_latents(chains: list[SampledChain]) -> LatentSet:
    """The candidates of one question. Nobody named its domain, so that the model takes it as unknown."""
    latents = [chain.latents for chain in chains if chain.latents is not None]
    count, sentences = len(chains), chains[0].sentences
    return LatentSet(
        latents=np.concatenate(latents),
        offsets=np.concatenate([[0], np.cumsum([len(rows) for rows in latents])]).astype(np.int64),
        domains=np.zeros(count, dtype=np.int64),
        domain_names=("",),
        first_error=np.full(count, -1, dtype=np.int64),
        problem_ids=Texts.of([_QUESTION] * count),
        chain_ids=Texts.of([f"{_QUESTION}#{index}" for index in range(count)]),
        splits=Texts.of(["test"] * count),
        prompts=None if sentences is None else Prompts.of(sentences, [len(sentences)]),
        prompt_of=None if sentences is None else np.zeros(count, dtype=np.int64),
        types=chain_types((chain.text for chain in chains), map(len, latents), chains[0].segmentation),
    )


def _report(
    candidate: Candidate, ranking: Ranking, energies: np.ndarray, segmentation: Segmentation
) -> CandidateReport:
    ranked = ranking.candidates[candidate.sample_index]
    step_energies, answer_energy = _by_step(candidate.text, energies, segmentation)
    return CandidateReport(
        index=candidate.sample_index,
        text=candidate.text,
        steps=candidate.steps,
        final_answer=candidate.final_answer,
        finished=candidate.finished,
        tokens=len(candidate.token_logprobs),
        logprob=float(sum(candidate.token_logprobs)),
        step_energies=step_energies,
        answer_energy=answer_energy,
        rank=ranked.rank,
        score=ranked.score,
        contributions=ranked.contributions,
        votes=ranked.votes,
        weighted_share=ranked.weighted_share,
        p_correct=ranked.p_correct,
        chosen=candidate.sample_index == ranking.chosen,
    )


def _by_step(text: str, energies: np.ndarray, segmentation: Segmentation) -> tuple[list[float], float | None]:
    """Energies of the steps that people see, and of the answer line: a step without words has a segment but no line."""
    steps, answer = [], None
    spans = segment_spans(text, segmentation)
    for (start, end), energy in zip(spans, np.nan_to_num(energies).tolist(), strict=False):
        parsed = parse_chain(text[start:end])
        if parsed.steps:
            steps.append(energy)
        elif parsed.final_answer is not None:
            answer = energy
    return steps, answer


def make_reports(
    candidates: list[Candidate],
    ranking: Ranking,
    energies: list[np.ndarray],
    segmentation: Segmentation = "guided",
) -> list[CandidateReport]:
    """How each candidate did, in the order they were sampled. `segmentation` is their student's."""
    return [_report(candidate, ranking, energies[index], segmentation) for index, candidate in enumerate(candidates)]


def explain(ranking: Ranking) -> Explanation:
    """Why the chosen one won."""
    return Explanation(
        selection=ranking.selection,
        reason=ranking.reason,
        runner_up=ranking.runner_up,
        margin=ranking.margin,
        margin_terms=ranking.margin_terms,
        familiar=ranking.familiar,
        text=ranking.describe(),
    )
