"""`rjepa release`: which releases there are, what one holds, and going back to an earlier one."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rjepa.home import Home
    from rjepa.releases.bundle import Manifest

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Llm = Annotated[str | None, typer.Option(help="LLM tag [default: RJEPA_LLM or tiny-a].")]


def register(app: typer.Typer) -> None:
    """Mount `rjepa release`."""
    noun = typer.Typer(help="Releases: list, show, roll back.", no_args_is_help=True)
    noun.command("list")(list_all)
    noun.command("show")(show)
    noun.command("rollback")(roll_back)
    app.add_typer(noun, name="release")


def list_all(llm: _Llm = None, as_json: _Json = False) -> None:
    """Every release of an LLM, oldest first; the one that is served is marked.

    Example: rjepa release list --llm tiny-a
    """
    from rjepa.releases.bundle import list_releases
    from rjepa.releases.pointer import current_release

    home, tag = _where(llm)
    manifests, current = list_releases(home, tag), current_release(home, tag)
    if as_json:
        _print_json([_row(manifest, current) for manifest in manifests])
        return
    if not manifests:
        typer.echo(f"{tag} has no release yet: make demo", err=True)
    for manifest in manifests:
        mark = "*" if manifest.release_id == current else " "
        figures = manifest.figures
        typer.echo(
            f"{mark} {manifest.release_id}  {figures.dataset:<12} accuracy {figures.accuracy:.3f}  {manifest.reason}"
        )


def show(
    release_id: Annotated[str | None, typer.Argument(help="A release; the one that is served if left out.")] = None,
    llm: _Llm = None,
    as_json: _Json = False,
) -> None:
    """What a release holds, why, what it replaced; every byte is checked on the way.

    Example: rjepa release show --json
    """
    from rjepa.releases.bundle import verify
    from rjepa.releases.pointer import current_release, history, require_current

    home, tag = _where(llm)
    manifest = verify(home, tag, release_id or require_current(home, tag))
    moves = [move for move in history(home, tag) if manifest.release_id in (move.source, move.target)]
    if as_json:
        value = manifest.model_dump(mode="json") | {"current": manifest.release_id == current_release(home, tag)}
        _print_json(value | {"history": [vars(move) for move in moves]})
        return
    figures = manifest.figures
    typer.echo(
        f"release   {manifest.release_id}{'  (served)' if manifest.release_id == current_release(home, tag) else ''}"
    )
    typer.echo(
        f"made      {manifest.created_at:%Y-%m-%d %H:%M:%S} UTC by run {manifest.run_id}, code {manifest.code_version}"
    )
    typer.echo(f"for       {tag}, student {manifest.student_fingerprint[:12]}, dataset {manifest.dataset}")
    typer.echo(f"why       {manifest.reason}; replaced {manifest.replaces or 'nothing'}")
    typer.echo(f"accuracy  {figures.accuracy:.3f} on {figures.num_problems} problems of {figures.dataset}")
    for method, accuracy in figures.by_method.items():
        typer.echo(f"            {method:<28} {accuracy:.3f}")
    typer.echo("files     all hashes match")
    for name, entry in sorted(manifest.files.items()):
        typer.echo(f"            {name:<28} {entry.size:>10} bytes  {entry.sha256[:12]}")
    for move in moves:
        typer.echo(
            f"history   {move.at}  {move.action:<8} {move.source or 'nothing'} -> {move.target}  ({move.reason})"
        )


def roll_back(
    to: Annotated[str | None, typer.Option(help="The release to serve; the one before if left out.")] = None,
    llm: _Llm = None,
    reason: Annotated[str, typer.Option(help="Why, for the history.")] = "by hand",
    as_json: _Json = False,
) -> None:
    """Serve an earlier release again. A running service follows within a second.

    Example: rjepa release rollback --reason "worse on long problems"
    """
    from rjepa.releases.pointer import current_release, rollback

    home, tag = _where(llm)
    before = _current_if_any(home, tag, current_release)
    now = rollback(home, tag, to, reason=reason)
    if as_json:
        _print_json({"llm": tag, "before": before, "current": now})
        return
    typer.echo(f"{tag} now serves {now} (before: {before or 'nothing'})")


def _current_if_any(home: "Home", tag: str, current: Any) -> str | None:
    """A broken pointer is what a rollback mends, so it must not stop one."""
    from rjepa.errors import CorruptError

    try:
        return current(home, tag)
    except CorruptError:
        return None


def _row(manifest: "Manifest", current: str | None) -> dict[str, Any]:
    figures = manifest.figures
    return {
        "release": manifest.release_id,
        "current": manifest.release_id == current,
        "created_at": manifest.created_at.isoformat(),
        "dataset": manifest.dataset,
        "accuracy": figures.accuracy,
        "problems": figures.num_problems,
        "reason": manifest.reason,
        "replaces": manifest.replaces,
        "run_id": manifest.run_id,
    }


def _where(llm: str | None) -> tuple["Home", str]:
    from rjepa.home import Home, check_tag
    from rjepa.settings import load_settings

    settings = load_settings()
    return Home(settings.home), check_tag(llm or settings.llm)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
