"""Policies that only choose when to stop, replayed on frozen candidates: their tokens were spent long ago.

What has to be written anew (rewrites, searches) is tried by `rjepa.evaluation.trials`. Every policy here sees
candidates in the order in which they were drawn, and pays for those it has drawn.

Dimensions: problems, and the candidates of each.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float

from rjepa.arrays import Bools, Float64
from rjepa.evaluation.pool import CandidatePool
from rjepa.inference.calibration import ScoreCalibration
from rjepa.inference.choice import Rule
from rjepa.inference.score import CompositeScore
from rjepa.inference.stopping import Path, Stop, is_stable
from rjepa.inference.surprise import energy_above_share
from rjepa.inference.table import CandidateTable
from rjepa.inference.voting import NO_ANSWER, Chosen, of_chosen, pick, vote_shares
from rjepa.schemas import Candidate

BEST_OF_K: Final = "best of K by R-JEPA"
"""The family that the others are compared with at equal tokens."""

TARGETS: Final = (0.7, 0.8, 0.9)
"""P(correct) at which drawing stops."""

DROPS: Final = (0.95, 0.98)
"""A chain is given up at a step with more energy than this share of right steps."""


@dataclass(frozen=True)
class Replayed:
    """Accuracy and tokens of a policy.

    `family` joins those that differ in one number only: how many candidates, or where they stop.
    """

    family: str
    label: str
    correct: Bool[Bools, " problems"]
    tokens: Float[Float64, " problems"]


def replay(pool: CandidatePool, calibration: ScoreCalibration) -> list[Replayed]:
    """Every policy on judged candidates, those of a family from cheap to dear."""
    total = pool.num_candidates
    sizes = sorted({2**power for power in range(total.bit_length()) if 2**power <= total} | {total})
    path = Path.of(calibration, pool.table, pool.correct)
    found = [Replayed("greedy", "greedy", pool.greedy_correct, pool.greedy_tokens)]
    found += [_of(f"best of {size} by R-JEPA", BEST_OF_K, path.stop_after(size)) for size in sizes]
    found += [
        _fixed(
            f"best of {size} by log-probability", "best of K by log-probability", calibration.logprob_length, pool, size
        )
        for size in sizes
    ]
    found += [_fixed(f"self-consistency of {size}", "self-consistency", None, pool, size) for size in sizes]
    found.append(_adaptive_consistency(pool))
    found += [
        _of(f"one at a time until P(correct) is {target:g}", "one at a time", path.stop_at(target))
        for target in TARGETS
    ]
    for share in DROPS:
        found += _dropping(pool, calibration, share)
    return found


def _of(label: str, family: str, stop: Stop) -> Replayed:
    return Replayed(family, label, stop.right, stop.tokens)


def _fixed(label: str, family: str, score: CompositeScore | None, pool: CandidatePool, size: int) -> Replayed:
    """Choose among so many by a score, or by heads without one."""
    head = pool.table.first(size)
    chosen = _by_heads(head) if score is None else Rule(score).apply(head).chosen
    return Replayed(family, label, of_chosen(pool.correct[:, :size], chosen), head.features["tokens"].sum(axis=1))


def _by_heads(table: CandidateTable) -> Chosen:
    return pick(table.ids, vote_shares(table.ids))


def _adaptive_consistency(pool: CandidatePool) -> Replayed:
    """Draw until the vote is decided."""
    spent = np.cumsum(pool.features["tokens"], axis=1)
    right, tokens = np.zeros(len(pool), dtype=bool), np.zeros(len(pool))
    for row, ids in enumerate(pool.ids):
        counts = range(1, len(ids) + 1)
        drawn = next((count for count in counts if is_stable(ids[:count])), len(ids))
        chosen = int(_by_heads(pool.table.first(drawn).row(row))[0])
        right[row], tokens[row] = pool.correct[row, chosen], spent[row, drawn - 1]
    return Replayed("self-consistency", "self-consistency until decided", right, tokens)


def _dropping(pool: CandidatePool, calibration: ScoreCalibration, share: float) -> list[Replayed]:
    """Give chains up at a surprising step: all K of them, or one at a time until P(correct) is high enough.

    Of problems that R-JEPA does not know no chain is given up, and never all of a problem.
    """
    limit = energy_above_share(calibration.step_quantiles, share)
    if limit is None:
        return []
    features = {name: values.copy() for name, values in pool.table.features.items()}
    ids = pool.ids.copy()
    familiar = calibration.is_familiar(pool.table.features)
    for row in np.flatnonzero(familiar).tolist():
        # The first is written out: it tells whether R-JEPA knows the problem.
        for column in range(1, pool.num_candidates):
            written = _share_written(pool.candidates[row][column], pool.energies[row][column], limit)
            if written < 1:
                ids[row, column] = NO_ANSWER
                tokens = features["tokens"][row, column]
                for name in features:
                    features[name][row, column] = np.nan
                features["tokens"][row, column] = round(written * tokens)
    table = CandidateTable(features, ids)
    path = Path.of(calibration, table, pool.correct)
    how = f"giving up above {share:.0%} of right steps"
    total = pool.num_candidates
    return [
        _of(f"best of {total}, {how}", f"best of {total}, giving up", path.stop_after(total)),
        _of(f"one at a time until P(correct) is 0.8, {how}", "one at a time, giving up", path.stop_at(0.8)),
    ]


def _share_written(candidate: Candidate, energies: Float64, limit: float) -> float:
    """How much of a chain's text is written when its first step above the limit has ended."""
    bad = np.flatnonzero(energies > limit)
    ends = np.cumsum([len(step) for step in candidate.steps])
    if not bad.size or bad[0] >= len(ends):
        return 1.0
    return float(ends[bad[0]] / max(ends[-1] + len(candidate.final_answer or ""), 1))
