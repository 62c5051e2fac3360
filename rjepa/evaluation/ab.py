"""Two R-JEPAs on the same frozen candidates: what each serves, and whether the difference is real."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from pydantic import Field

from rjepa.errors import InvalidInputError
from rjepa.evaluation.baselines import METHOD, Choice, JudgedTable, Method, Variant, choose_by_rjepa
from rjepa.evaluation.comparisons import compare_accuracy, compare_ranking
from rjepa.evaluation.domains import ALL
from rjepa.evaluation.metrics import expected_calibration_error
from rjepa.evaluation.pool import CandidatePool
from rjepa.evaluation.results import Comparison
from rjepa.evaluation.statistics import RESAMPLES, holm
from rjepa.inference.calibration import ScoreCalibration
from rjepa.inference.voting import of_chosen
from rjepa.values import FrozenValue

_SIDES: Final = ("a", "b")


class Side(FrozenValue):
    """One of the two: what it serves, by domain."""

    name: str
    selection: str
    accuracy: dict[str, float] = Field(description="by domain, all first")
    ece: float


class Duel(FrozenValue):
    """A against B. Every comparison is A minus B; p-values are Holm-adjusted over the domains."""

    a: Side
    b: Side
    served: tuple[Comparison, ...] = Field(description="accuracy of what each serves, by domain")
    energy: tuple[Comparison, ...] = Field(description="within-problem AUROC of each energy alone, over all domains")
    problems: int
    num_candidates: int


def duel(
    pool: CandidatePool,
    energies: tuple[Sequence[npt.ArrayLike], Sequence[npt.ArrayLike]],
    calibrations: tuple[ScoreCalibration, ScoreCalibration],
    names: tuple[str, str],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Duel:
    """Judge two R-JEPAs on a pool of test problems.

    Args:
        energies: of every sampled chain, problem by problem, under each of the two.
        calibrations: of each, fitted on validation problems.

    Raises:
        InvalidInputError: no problem has judged candidates.
    """
    judged = pool.judged()
    if not len(judged):
        raise InvalidInputError("no problem has a gold answer", cure="compare on a dataset with answers")
    choices: dict[str, Choice] = {}
    sides = []
    masks = {ALL: np.ones(len(judged), dtype=bool)}
    masks |= {name: np.array([p.domain == name for p in judged.problems]) for name in judged.domains if name != ALL}
    for side, found, calibration, name in zip(_SIDES, energies, calibrations, names, strict=True):
        table = JudgedTable.of(pool.with_energies(found).judged())
        run = Variant(METHOD["rjepa"], table, calibration)
        made = choose_by_rjepa(run)
        served, selected, alone = made[run.served.key], made[run.selected], made["rjepa"]
        choices[side] = Choice(Method(side, name, "rjepa"), served.correct, served.chosen, served.scores, served.tokens)
        choices[f"{side}_energy"] = Choice(
            Method(f"{side}_energy", f"{name}, energy alone", "rjepa"),
            alone.correct,
            alone.chosen,
            alone.scores,
            alone.tokens,
        )
        p_correct = of_chosen(calibration.p_correct(table), selected.indices)
        sides.append(
            Side(
                name=name,
                selection=calibration.selection,
                accuracy={domain: float(served.correct[mask].mean()) for domain, mask in masks.items()},
                ece=expected_calibration_error(p_correct, selected.correct > 0.5),
            )
        )
    rng = np.random.default_rng(seed)
    served_tests = [
        test
        for domain, mask in masks.items()
        for test in compare_accuracy(choices, [_SIDES], mask, domain, rng, resamples)
    ]
    ranked = compare_ranking(choices, [("a_energy", "b_energy")], judged.correct, rng, resamples)
    return Duel(
        a=sides[0],
        b=sides[1],
        served=_adjust(served_tests),
        energy=tuple(ranked),
        problems=len(judged),
        num_candidates=judged.num_candidates,
    )


def _adjust(tests: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Holm over the domains; the test over all of them is the first question, and stands alone."""
    overall, parts = tests[0], tests[1:]
    bootstrap, exact = holm([test.p_bootstrap for test in parts]), holm([test.p_mcnemar or 0.0 for test in parts])
    after = [
        test.model_copy(update={"p_bootstrap_holm": first, "p_mcnemar_holm": second})
        for test, first, second in zip(parts, bootstrap, exact, strict=True)
    ]
    return (overall, *after)
