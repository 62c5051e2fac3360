"""`rjepa eval --mode repair`, `rjepa eval --replay`: modes that write chains of their own, and policies that do not."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import typer

from rjepa.cli.common import print_json

if TYPE_CHECKING:
    from rjepa.cli.models import CalibratedModel
    from rjepa.evaluation.pool import CandidatePool
    from rjepa.evaluation.trials import TrialRow
    from rjepa.home import Home

_FAMILIES: Final = ("mode", "best of K by R-JEPA")
"""Shown in the short table, with what is best of the others."""


def read_options(given: Sequence[str], budget: int | None) -> dict[str, Any]:
    """Options of a mode from `NAME=VALUE` each.

    Raises:
        typer.BadParameter: one without a name or a value.
    """
    options: dict[str, Any] = {} if budget is None else {"budget": str(budget)}
    for one in given:
        name, equals, value = one.partition("=")
        if not (name and equals and value):
            raise typer.BadParameter(f"{one!r} is no option of a mode; write NAME=VALUE")
        options[name.replace("-", "_")] = value
    return options


def replay_policies(pool: "CandidatePool", model: "CalibratedModel") -> "list[TrialRow]":
    """Rows of every policy on frozen candidates."""
    from rjepa.evaluation.replay import replay
    from rjepa.evaluation.trials import compare_trials

    return compare_trials([], replay(pool, model.calibration))


def try_mode(
    home: "Home",
    tag: str,
    model: "CalibratedModel",
    pool: "CandidatePool",
    dataset: str,
    mode: str,
    options: dict[str, Any],
    seeds: int,
) -> "list[TrialRow]":
    """Let a mode of the current release answer a pool's problems; its row beside those of the policies on the pool."""
    from rjepa.cli.bars import progress_bar
    from rjepa.engine import Engine
    from rjepa.evaluation.replay import replay
    from rjepa.evaluation.trials import TrialFile, compare_trials, run_trial, save_trial
    from rjepa.settings import load_settings

    label = " ".join([mode, *(f"{name}={value}" for name, value in sorted(options.items()))])
    with progress_bar("answer") as progress:
        engine = Engine.load(home, tag, address=load_settings().student_url, progress=progress)
        trial = run_trial(label, mode, options, pool.problems, range(seeds), engine.answer_many, progress)
    rows = compare_trials([trial], replay(pool, model.calibration))
    save_trial(
        home.reports(tag, dataset),
        TrialFile(release=model.name, mode=mode, options=options, seeds=seeds, problems=len(pool), rows=tuple(rows)),
    )
    return rows


def show(rows: "Sequence[TrialRow]", problems: int, about: dict[str, Any], as_json: bool, everything: bool) -> None:
    """Print rows as JSON or as a table."""
    if as_json:
        value = about | {"problems": problems, "rows": [row.model_dump(mode="json") for row in rows]}
        print_json(value)
        return
    from rjepa.text_tables import new_table, render

    shown = rows if everything or about["mode"] is None else [row for row in rows if row.family in _FAMILIES]
    headings = ("how", "tokens", "accuracy", "interval", "ahead at equal tokens", "interval", "p", "seconds")
    table = new_table(*headings, numbers=headings[1:])
    for row in shown:
        ahead = row.ahead is not None
        table.add_row(
            row.label,
            f"{row.tokens:.0f}",
            f"{row.accuracy:.1%}",
            f"{row.ci_low:.1%} to {row.ci_high:.1%}",
            f"{row.ahead:+.1%}" if ahead else "",
            f"{row.ahead_low:+.1%} to {row.ahead_high:+.1%}" if ahead else "",
            f"{row.p_value:.3f}" if row.p_value is not None else "",
            f"{row.seconds:.2f}" if row.seconds is not None else "",
        )
    typer.echo(f"{problems} test problems, tokens a problem; ahead: of R-JEPA's choice among whole candidates\n")
    typer.echo(render(table))
    for row in rows:
        if row.answered is not None and row.error_where_answered is not None:
            typer.echo(f"\n{row.label}: {row.answered:.1%} answered, of these {row.error_where_answered:.1%} wrong")
        if row.ece is not None:
            typer.echo(f"\n{row.label}: ECE of P(correct) {row.ece:.3f}")
