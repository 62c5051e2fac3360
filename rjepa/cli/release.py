"""`rjepa release`: which releases there are, what one holds, and going back to an earlier one."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rjepa.cli.common import home_and_llm, print_json

if TYPE_CHECKING:
    from rjepa.home import Home
    from rjepa.releases.bundle import Manifest
    from rjepa.releases.figures import Figures

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Llm = Annotated[str | None, typer.Option(help="LLM tag [default: RJEPA_LLM or tiny-a].")]


def register(app: typer.Typer) -> None:
    """Mount `rjepa release`."""
    noun = typer.Typer(help="Releases: list, show, roll back.", no_args_is_help=True)
    noun.command("list")(list_all)
    noun.command("show")(show)
    noun.command("rollback")(roll_back)
    noun.command("rehearse")(rehearse)
    app.add_typer(noun, name="release")


def list_all(llm: _Llm = None, as_json: _Json = False) -> None:
    """Every release of an LLM, oldest first; the one that is served is marked.

    Example: rjepa release list --llm tiny-a
    """
    from rjepa.releases.bundle import list_releases
    from rjepa.releases.figures import read_figures
    from rjepa.releases.pointer import current_release
    from rjepa.text_tables import add_row, new_table, render

    home, tag = home_and_llm(llm)
    current = current_release(home, tag)
    manifests = list_releases(home, tag)
    rows = [_row(manifest, read_figures(home, manifest), current) for manifest in manifests]
    if as_json:
        from rjepa.reasoning.modes import modes_offered  # it loads torch, which the table does not need

        print_json([row | {"modes": list(modes_offered(one))} for row, one in zip(rows, manifests, strict=True)])
        return
    if not rows:
        typer.echo(f"{tag} has no release yet: make demo", err=True)
        return
    table = new_table("", "release", "dataset", "R-JEPA", "accuracy", "problems", "why")
    for row in rows:
        mark = "*" if row["current"] else ""
        accuracy = "not known" if row["accuracy"] is None else f"{row['accuracy']:.3f}"
        origin = "its own" if row["carried"] is None else f"from {row['carried']['source']}"
        problems = str(row["problems"] or "-")
        add_row(table, mark, row["release"], row["dataset"], origin, accuracy, problems, row["reason"])
    typer.echo(render(table))


def show(
    release_id: Annotated[str | None, typer.Argument(help="A release; the one that is served if left out.")] = None,
    llm: _Llm = None,
    as_json: _Json = False,
) -> None:
    """What a release holds, why, what it replaced; every byte is checked on the way.

    Example: rjepa release show --json
    """
    from rjepa.reasoning.modes import modes_offered
    from rjepa.releases.bundle import verify
    from rjepa.releases.figures import read_figures
    from rjepa.releases.history import history
    from rjepa.releases.pointer import current_release, require_current

    home, tag = home_and_llm(llm)
    manifest = verify(home, tag, release_id or require_current(home, tag))
    moves = [move for move in history(home, tag) if manifest.release_id in (move.source, move.target)]
    figures = read_figures(home, manifest)
    is_current = manifest.release_id == current_release(home, tag)
    if as_json:
        value = manifest.model_dump(mode="json") | {"current": is_current, "modes": list(modes_offered(manifest))}
        value["figures"] = None if figures is None else figures.model_dump(mode="json")
        print_json(value | {"history": [move.model_dump(mode="json") for move in moves]})
        return
    typer.echo(f"release   {manifest.release_id}{'  (served)' if is_current else ''}")
    typer.echo(
        f"made      {manifest.created_at:%Y-%m-%d %H:%M:%S} UTC by run {manifest.run_id}, code {manifest.code_version}"
    )
    typer.echo(f"for       {tag}, student {manifest.student_fingerprint[:12]}, dataset {manifest.dataset}")
    if manifest.carried is not None:
        carried = manifest.carried
        typer.echo(f"carried   {manifest.describe}")
        typer.echo(
            f"            {carried.method}, fitted on {carried.pairs} latents of {carried.problems} problems of "
            f"{carried.dataset}; energies agree by {carried.agreement:.2f} on held-out problems (R2 {carried.r2:.2f}), "
            f"{carried.coverage:.0%} of latents in reach"
        )
        typer.echo(f"            R-JEPA {carried.model_sha256[:12]} of student {carried.source.fingerprint[:12]}")
    typer.echo(f"why       {manifest.reason}; replaced {manifest.replaces or 'nothing'}")
    typer.echo(f"modes     {', '.join(modes_offered(manifest))}")
    if figures is None:
        typer.echo(f"accuracy  not known: rjepa eval --llm {tag} --model {manifest.release_id}")
    else:
        typer.echo(
            f"accuracy  {figures.accuracy:.3f} on {figures.num_problems} problems of {figures.dataset}, "
            f"K = {figures.num_candidates}"
        )
        for method, accuracy in figures.by_method.items():
            typer.echo(f"            {method:<28} {accuracy:.3f}")
    typer.echo("parts     all hashes match")
    for part in manifest.parts:
        typer.echo(f"            {part.name:<28} {part.kind:<20} {part.sha256[:12]}")
        for name, entry in sorted(part.files.items()):
            typer.echo(f"              {name:<26} {entry.size:>10} bytes  {entry.sha256[:12]}")
    for move in moves:
        typer.echo(
            f"history   {move.at}  {move.action:<8} {move.source or 'nothing'} -> {move.target}  ({move.reason})"
        )
        if move.decision is not None:
            typer.echo(f"            rule {move.decision.rule}: {move.decision.text}")


def roll_back(
    to: Annotated[str | None, typer.Option(help="The release to serve; the one before if left out.")] = None,
    llm: _Llm = None,
    reason: Annotated[str, typer.Option(help="Why, for the history.")] = "by hand",
    as_json: _Json = False,
) -> None:
    """Serve an earlier release again. A running service follows within a second.

    Example: rjepa release rollback --reason "worse on long problems"
    """
    from rjepa.releases.pointer import rollback

    home, tag = home_and_llm(llm)
    before = _current_if_any(home, tag)
    now = rollback(home, tag, to, reason=reason)
    if as_json:
        print_json({"llm": tag, "before": before, "current": now})
        return
    typer.echo(f"{tag} now serves {now} (before: {before or 'nothing'})")


def rehearse(
    release_id: Annotated[
        str | None, typer.Argument(help="A release, served or not; the newest that was made if left out.")
    ] = None,
    most: Annotated[int, typer.Option(help="Newest answers that are ranked again.", min=1)] = 500,
    llm: _Llm = None,
    as_json: _Json = False,
) -> None:
    """What a release would have answered to the questions that users let us keep. Nothing is generated.

    Example: rjepa release rehearse --most 100
    """
    from rjepa.cli.bars import progress_bar
    from rjepa.rehearsing import rehearse_release
    from rjepa.settings import load_settings
    from rjepa.text_tables import add_row, new_table, render

    home, tag = home_and_llm(llm)
    with progress_bar("rehearsal") as progress:
        found = rehearse_release(
            home, tag, release_id, most=most, address=load_settings().student_url, progress=progress
        )
    if as_json:
        print_json(found.metadata() | {"answers": [row.model_dump(mode="json") for row in found.rehearsed]})
        return
    changed = [row for row in found.rehearsed if row.changes]
    if changed:
        table = new_table("interaction", "vote", "answered", "P", "would answer", "P")
        for row in changed:
            chances = (("-" if p is None else f"{p:.2f}") for p in (row.p_correct, row.other_p_correct))
            before, after = chances
            vote, answers = row.vote or "-", (row.answer or "nothing", row.other or "nothing")
            add_row(table, row.interaction_id, vote, answers[0], before, answers[1], after)
        typer.echo(render(table))
    for name, value in found.metadata().items():
        typer.echo(f"{name:<26} {value:.4f}" if isinstance(value, float) else f"{name:<26} {value}")


def _current_if_any(home: "Home", tag: str) -> str | None:
    """A broken pointer is what a rollback mends, so it must not stop one."""
    from rjepa.errors import CorruptError
    from rjepa.releases.pointer import current_release

    try:
        return current_release(home, tag)
    except CorruptError:
        return None


def _row(manifest: "Manifest", figures: "Figures | None", current: str | None) -> dict[str, Any]:
    from rjepa.adapters.describing import summarise_carried

    return {
        "release": manifest.release_id,
        "current": manifest.release_id == current,
        "created_at": manifest.created_at.isoformat(),
        "dataset": manifest.dataset,
        "accuracy": None if figures is None else figures.accuracy,
        "problems": None if figures is None else figures.num_problems,
        "carried": None if manifest.carried is None else summarise_carried(manifest.carried),
        "reason": manifest.reason,
        "replaces": manifest.replaces,
        "run_id": manifest.run_id,
    }
