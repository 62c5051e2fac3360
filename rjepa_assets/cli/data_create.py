"""`rjepa data create`: the next version of the data, from its parent. It materialises, so it lives on this side."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Join the group `rjepa data`, which the library mounts first (entry points are taken in order of their names)."""
    for group in app.registered_groups:
        if group.name == "data" and group.typer_instance is not None:
            group.typer_instance.command("create")(create)
            return
    raise ImportError("rjepa data is not there")


def create(
    name: Annotated[str, typer.Argument(help="The new version, vX.Y.Z; or any dataset that has a recipe.")],
    parent: Annotated[str | None, typer.Option("--from", help="The version it grows from.")] = None,
    add: Annotated[list[str] | None, typer.Option(help="A dataset, or a recipe file (.yaml). Repeat for more.")] = None,
    remove: Annotated[
        Path | None, typer.Option(help="A text file of problem ids to leave out, one a line (a deletion request).")
    ] = None,
    near: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Least similarity of a near-duplicate; 0: equal ones only.")
    ] = 0.8,
    describe: Annotated[str, typer.Option(help="What the version is, in a sentence.")] = "",
    make: Annotated[bool, typer.Option("--make/--no-make", help="Materialise it now, or only register it.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make the next version: all that its parent has, and what is new. Killed, it goes on when it is run again.

    Example: rjepa data create v1.1.0 --from v1.0.0 --add gsm_symbolic
    """
    from rjepa.cli.common import pairs, print_json
    from rjepa.datasets.reading import load_manifest
    from rjepa.datasets.recipe import load_recipe
    from rjepa.datasets.versions import create_version
    from rjepa.errors import InvalidInputError
    from rjepa_assets.cli.materialising import materialise_dataset, open_home

    home = open_home()
    if parent is None:
        if add or remove or describe:
            raise InvalidInputError("a version grows from another one", cure="say which: --from v1.0.0")
        load_recipe(home, name)
    else:
        removes = _ids(remove) if remove is not None else []
        create_version(
            home, name, parent=parent, adds=add or [], removes=removes, near=near or None, description=describe
        )
    if not make:
        if as_json:
            print_json(load_recipe(home, name).model_dump(mode="json"))
        else:
            typer.echo(f"{name} is registered; next: rjepa data create {name}")
        return
    materialise_dataset(home, name)
    manifest = load_manifest(home, name)
    if as_json:
        print_json(manifest)
        return
    counts = manifest["counts"]
    new = manifest.get("new", {"problems": counts["problems"]})["problems"]
    typer.echo(f"{name}: {counts['problems']} problems ({pairs(counts['by_split'])}), of them {new} new")
    made = manifest["stages"]["problems"]["metadata"]
    for key, reason in _LEFT_OUT.items():
        if made.get(key):
            typer.echo(f"left out: {made[key]} {reason}")
    for warning in manifest["warnings"]:
        typer.echo(f"warning: {warning}", err=True)


_LEFT_OUT = {
    "duplicates_removed": "equal to another new problem",
    "already_in_parent": "that the parent has",
    "near_duplicates_removed": "near-duplicate(s) (near_duplicates.json in the dataset's folder lists them)",
    "removed_for_tests_elsewhere": "that are test problems of another dataset here",
}


def _ids(path: Path) -> list[str]:
    from rjepa.errors import InvalidInputError, NotFoundError

    try:
        ids = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (FileNotFoundError, IsADirectoryError):
        raise NotFoundError(f"{path} is not a file", cure="give a text file of problem ids, one a line") from None
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path} is not UTF-8 text ({error})", cure="save it as UTF-8") from error
    if not ids:
        raise InvalidInputError(f"{path} names no problem", cure="write one problem id a line")
    return ids
