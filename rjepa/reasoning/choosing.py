"""From rows that are written to the answer: the last part of every mode that chooses among candidates.

What is a better candidate lives in `rjepa.inference`; which rows there are, and which of them were given up, is the
mode's business.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rjepa.arrays import Float64
from rjepa.inference.choice import Rule
from rjepa.inference.familiarity import FAMILIAR_FEATURE
from rjepa.inference.ranking import Ranking, explain
from rjepa.inference.table import CandidateTable
from rjepa.reasoning.answer import CandidateReport, Explanation
from rjepa.reasoning.candidates import make_candidates, report_candidates
from rjepa.reasoning.changes import Planned, Pruned, Repaired, StopReason
from rjepa.reasoning.events import CandidateStep, Done, Event, StepWritten, Text
from rjepa.reasoning.judged import Judged
from rjepa.reasoning.planning import find_surprises
from rjepa.reasoning.reading import Reading
from rjepa.reasoning.tools import Tools
from rjepa.schemas import Candidate


def judge(tools: Tools, rows: Sequence[int], rule: Rule | None = None, only: int | None = None) -> Judged:
    """Read rows and choose among them. One that was stopped on the way is chosen only where all of them were.

    Args:
        rows: in the order in which they are numbered.
        rule: chooses in place of the release's own, where R-JEPA knows such problems.
        only: the one candidate that may be chosen; None for any.
    """
    calibration = tools.parts.calibration
    candidates, readings, table = _read(tools, rows)
    if only is not None:
        others = np.arange(len(rows)) != only
        # Whether R-JEPA knows the problem is for the others to say, as before this one was written.
        known = np.where(others, table.features[FAMILIAR_FEATURE], np.nan)
        table = table.without(others)
        table = replace(table, features={**table.features, FAMILIAR_FEATURE: known})
    if rule is not None and not calibration.is_familiar(table.features)[0]:
        rule = None
    ranking = explain(table, calibration.decide(table, rule), [one.final_answer for one in candidates])
    return Judged(candidates, readings, table, ranking)


def best_scored(tools: Tools) -> Rule:
    """The candidate with the best composite score, without a vote: a mode that looks for one good chain wants it."""
    return Rule(tools.parts.calibration.combined, "best_of")


def is_familiar(tools: Tools, rows: Sequence[int]) -> bool:
    """Whether R-JEPA knows problems such as this one, by what its rows look like: no mode acts on energies else."""
    _, _, table = _read(tools, rows)
    return bool(tools.parts.calibration.is_familiar(table.features)[0])


def _read(tools: Tools, rows: Sequence[int]) -> tuple[list[Candidate], list[Reading], CandidateTable]:
    chains = tools.chains(rows)
    candidates, readings = make_candidates(chains), tools.read_whole(rows, chains)
    table = CandidateTable.of_question(candidates, [reading.energies for reading in readings])
    whole = np.array([tools.is_whole(row) for row in rows])
    return candidates, readings, table.without(~whole) if whole.any() else table


def prefix_chance(tools: Tools, reading: Reading, steps: int) -> float | None:
    """P(a chain ends right) after its first `steps` segments; the answer line adds nothing."""
    known = [step for step in reading.steps[:steps] if not step.is_answer]
    if not known:
        return None
    energies = [step.energy for step in known]
    return tools.parts.calibration.prefix.p_correct(energies, known[-1].logprob, known[-1].tokens)


def new_steps(
    tools: Tools, candidate: int, reading: Reading, since: int, *, chances: bool = True
) -> Iterator[CandidateStep]:
    """The events of a candidate's segments from number `since` (from 0) on; with `chances`, P(correct) after each."""
    share = tools.parts.calibration.share_of_right_steps_below
    for index in range(since, len(reading.steps)):
        step = reading.steps[index]
        chance = prefix_chance(tools, reading, index + 1) if chances else None
        yield CandidateStep(candidate, index + 1, step.text, step.energy, chance, share(step.energy))


def finish(
    tools: Tools,
    judged: Judged,
    *,
    pruned: Sequence[Pruned] = (),
    repaired: Sequence[Repaired] = (),
    planned: Sequence[Planned] = (),
    stopped: StopReason | None = None,
    note: str = "",
) -> Iterator[Event]:
    """The chosen candidate's steps, then the answer.

    Args:
        judged: what it was chosen from.
        pruned, repaired, planned, stopped: what happened on the way.
        note: a sentence that the explanation ends with.
    """
    ranking, chosen = judged.ranking, judged.ranking.chosen
    winner, reading = judged.candidates[chosen], judged.readings[chosen]
    share = tools.parts.calibration.share_of_right_steps_below
    left = winner.text
    for index, step in enumerate(reading.steps):
        last = index == len(reading.steps) - 1
        chance = judged.p_correct if last else prefix_chance(tools, reading, index + 1)
        left = left[len(step.text) :]
        yield StepWritten(step.text, step.energy, chance if ranking.familiar else None, share(step.energy))
    if left:  # a step that was cut off by a limit
        yield Text(left)
    yield Done(
        tools.answer(
            winner.text,
            finished=winner.finished,
            candidates=report(tools, judged),
            p_correct=judged.p_correct,
            explanation=_explain(
                ranking,
                f"{ranking.text} {note}".strip(),
                pruned=tuple(pruned),
                repaired=tuple(repaired),
                planned=tuple(planned),
                surprises=find_surprises(tools, reading) if ranking.familiar else (),
                stopped=stopped,
            ),
        ),
        judged,
    )


def abstain(
    tools: Tools, judged: Judged, why: str, *, pruned: Sequence[Pruned] = (), stopped: StopReason | None = None
) -> Iterator[Event]:
    """The reply where no answer is given: its text says so, and the candidates are kept in it."""
    ranking = judged.ranking
    yield Text(why)
    yield Done(
        tools.answer(
            why,
            finished=True,
            abstained=True,
            candidates=report(tools, judged),
            p_correct=judged.p_correct,
            explanation=_explain(
                ranking,
                f"{why} The best that was found: {ranking.text}",
                pruned=tuple(pruned),
                stopped=stopped,
            ),
        ),
        judged,
    )


def _explain(ranking: Ranking, text: str, **happened: Any) -> Explanation:
    """Why the choice fell so, and what happened on the way."""
    return Explanation(**ranking.model_dump(include=set(Explanation.model_fields) - {"text"}), text=text, **happened)


def report(tools: Tools, judged: Judged) -> list[CandidateReport]:
    """How each candidate did."""
    energies: list[Float64] = [np.array(reading.energies) for reading in judged.readings]
    return report_candidates(judged.candidates, energies, judged.ranking, tools.parts.segmentation)
