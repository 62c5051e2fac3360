"""A mode tried on test problems: what its answers come to, beside every way of choosing from the frozen candidates.

The problems and the candidates of the baselines are those of the leaderboard; the mode writes its own chains. Who
answers is handed in (`rjepa.engine` stands above this room); policies that write nothing: `rjepa.evaluation.replay`.

Dimensions: problems; seeds of a trial are averaged within a problem, so that problems are what is resampled.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float
from pydantic import Field, ValidationError

from rjepa.arrays import Float64
from rjepa.errors import CorruptError
from rjepa.evaluation.metrics import expected_calibration_error
from rjepa.evaluation.replay import BEST_OF_K, Replayed
from rjepa.evaluation.statistics import RESAMPLES, Resamples, bootstrap_p_value, interval
from rjepa.files import read_json, sha256_json, write_json
from rjepa.progress import Progress, silent
from rjepa.reasoning.answer import Answer
from rjepa.reasoning.question import Question, ask
from rjepa.schemas import Problem
from rjepa.validation.judge import judge
from rjepa.values import FrozenValue

MODE_FAMILY: Final = "mode"

TOGETHER: Final = 32
"""Questions that are answered in one batch: more would fill memory with their caches."""

AnswerMany = Callable[[Sequence[Question]], Sequence[Answer]]


class TrialRow(FrozenValue):
    """One way of answering, over all problems. Differences are to the choice of R-JEPA among as many tokens of whole
    candidates, read between the two nearest K.
    """

    label: str
    family: str
    accuracy: float
    ci_low: float
    ci_high: float
    tokens: float = Field(description="generated a problem")
    seconds: float | None = Field(None, description="a problem, where it was run and not replayed")
    ahead: float | None = Field(None, description="accuracy more than R-JEPA's choice at equal tokens")
    ahead_low: float | None = None
    ahead_high: float | None = None
    p_value: float | None = Field(None, description="of no difference, two-sided, by paired bootstrap")
    error_where_answered: float | None = Field(None, description="of a mode that may abstain")
    answered: float | None = None
    ece: float | None = Field(None, description="of P(correct), over the answers that it is told of")


@dataclass(frozen=True)
class Trial:
    """A mode's answers, averaged over seeds: `[problems]` each. `answered` is below 1 where it abstained. `ece` is that
    of P(correct) over the answers of all seeds that it was told of; None where it was told of none.
    """

    label: str
    correct: Float[Float64, " problems"]
    answered: Float[Float64, " problems"]
    tokens: Float[Float64, " problems"]
    seconds: Float[Float64, " problems"]
    ece: float | None = None


def run_trial(
    label: str,
    mode: str,
    options: Mapping[str, Any],
    problems: Sequence[Problem],
    seeds: Sequence[int],
    answer_many: AnswerMany,
    progress: Progress = silent,
) -> Trial:
    """Let a mode answer problems.

    Args:
        label: what the trial is called.
        options: of the mode, as on a command line.
        seeds: of the questions.

    Raises:
        InvalidInputError: the mode does not know such options, or the release does not offer it.
    """
    shape = (len(seeds), len(problems))
    correct, answered, tokens, seconds, told = (np.zeros(shape) for _ in range(5))
    done = 0
    for row, seed in enumerate(seeds):
        for first in range(0, len(problems), TOGETHER):
            part = range(first, min(first + TOGETHER, len(problems)))
            answers = answer_many([ask(problems[place].statement, mode, options, seed=seed) for place in part])
            for place, answer in zip(part, answers, strict=True):
                verdict = judge(problems[place], answer.steps, answer.final_answer)
                correct[row, place] = verdict.is_correct
                answered[row, place] = not answer.abstained
                told[row, place] = np.nan if answer.p_correct is None else answer.p_correct
                tokens[row, place] = answer.cost.tokens_generated
                # Those of a batch share their time.
                seconds[row, place] = answer.cost.seconds / len(part)
            done += len(part)
            progress(done, correct.size, f"{tokens.sum() / done:.0f} tokens a problem")
    known = np.isfinite(told) & (answered > 0)
    ece = expected_calibration_error(told[known], correct[known] > 0) if known.any() else None
    right, given, drawn, taken = (values.mean(axis=0) for values in (correct, answered, tokens, seconds))
    return Trial(label, right, given, drawn, taken, ece)


def compare_trials(
    trials: Sequence[Trial], replayed: Sequence[Replayed], seed: int = 0, resamples: int = RESAMPLES
) -> list[TrialRow]:
    """Rows of everything, cheapest first.

    Args:
        trials: at least the mode that is judged.
        replayed: the policies on frozen candidates of the same problems, in the same order.
        seed: of the bootstrap.
    """
    ladder = sorted((one for one in replayed if one.family == BEST_OF_K), key=lambda one: one.tokens.mean())
    everything = [_Way(one.label, one.family, one.correct.astype(np.float64), one.tokens) for one in replayed]
    everything += [_Way(one.label, MODE_FAMILY, one.correct, one.tokens, one) for one in trials]
    rng = np.random.default_rng(seed)
    draws = Resamples(len(everything[0].correct), rng=rng, resamples=resamples)
    rows = []
    for way in everything:
        rival = None if way.family == BEST_OF_K else _at_equal_tokens(ladder, float(way.tokens.mean()))
        columns = [way.correct] if rival is None else [way.correct, way.correct - rival]
        means = draws.means(np.stack(columns, axis=1))
        low, high = interval(means)
        row = TrialRow(
            label=way.label,
            family=way.family,
            accuracy=float(way.correct.mean()),
            ci_low=float(low[0]),
            ci_high=float(high[0]),
            tokens=float(way.tokens.mean()),
        )
        if rival is not None:
            ahead = {
                "ahead": float((way.correct - rival).mean()),
                "ahead_low": float(low[1]),
                "ahead_high": float(high[1]),
                "p_value": bootstrap_p_value(means[:, 1]),
            }
            row = row.model_copy(update=ahead)
        rows.append(row.model_copy(update=_of_trial(way.trial)))
    return sorted(rows, key=lambda row: row.tokens)


@dataclass(frozen=True)
class _Way:
    label: str
    family: str
    correct: Float64
    tokens: Float64
    trial: Trial | None = None


def _of_trial(trial: Trial | None) -> dict[str, float | None]:
    if trial is None:
        return {}
    found: dict[str, float | None] = {"seconds": float(trial.seconds.mean()), "ece": trial.ece}
    answered = float(trial.answered.mean())
    if answered < 1.0:
        wrong = float((trial.answered - trial.correct).sum() / max(trial.answered.sum(), 1e-9))
        found |= {"answered": answered, "error_where_answered": wrong}
    return found


def _at_equal_tokens(ladder: Sequence[Replayed], tokens: float) -> Float64 | None:
    """R-JEPA's choice at so many tokens a problem, `[problems]`: between two K, a mixture of both.

    None below one candidate's tokens; above all of them the most there are.
    """
    means = [float(one.tokens.mean()) for one in ladder]
    if not ladder or tokens < 0.9 * means[0]:
        return None
    share = float(np.interp(tokens, means, np.arange(len(means))))
    low = int(share)
    high = min(low + 1, len(ladder) - 1)
    weight = share - low
    mixed: Float64 = (1.0 - weight) * ladder[low].correct + weight * ladder[high].correct
    return mixed


class TrialFile(FrozenValue):
    """A trial as it is kept beside the report: what was tried, and the rows that it made."""

    release: str
    mode: str
    options: dict[str, Any]
    seeds: int
    problems: int
    rows: tuple[TrialRow, ...]


def save_trial(reports: Path, trial: TrialFile) -> Path:
    """Keep a trial; the same one again replaces it."""
    about = trial.model_dump(mode="json", exclude={"rows"})
    path = reports / "trials" / f"{trial.mode}-{sha256_json(about)[:12]}.json"
    write_json(path, trial.model_dump(mode="json"))
    return path


def load_trials(reports: Path) -> list[TrialFile]:
    """The trials that are kept there, by name. A file that is none is left out: it may be of another version."""
    found = []
    for path in sorted((reports / "trials").glob("*.json")):
        try:
            found.append(TrialFile.model_validate(read_json(path)))
        except (ValidationError, CorruptError):
            continue
    return found


def mode_rows(reports: Path) -> list[TrialRow]:
    """The rows of all modes that were tried, each with its number of problems."""
    return [
        row.model_copy(update={"label": f"{row.label} ({trial.problems} problems)"})
        for trial in load_trials(reports)
        for row in trial.rows
        if row.family == MODE_FAMILY
    ]
