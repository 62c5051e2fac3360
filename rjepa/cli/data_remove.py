"""`rjepa data remove`: a dataset goes, with all that was made of it."""

import sys
from typing import Annotated

import typer

from rjepa.cli.common import open_home, print_json
from rjepa.errors import InvalidInputError


def remove(
    name: Annotated[str, typer.Argument(help="A dataset that nothing depends on; see `rjepa data list`.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Remove a dataset, what each LLM made of it included. Refused while a version or a release depends on it.

    Example: rjepa data remove homework --yes
    """
    from rjepa.datasets.removing import plan_removal, remove_dataset

    home = open_home()
    planned = plan_removal(home, name)
    megabytes = f"{planned.bytes / 1e6:.1f} MB"
    if not yes:
        if not sys.stdin.isatty():
            raise InvalidInputError(
                f"removing {name} ({megabytes}) has to be confirmed, and nobody is there to ask", cure="add --yes"
            )
        typer.confirm(f"Remove {name} and what was made of it ({megabytes})?", abort=True, err=True)
    removed = remove_dataset(home, name)
    if as_json:
        print_json({"dataset": name, "bytes": removed.bytes, "paths": [str(path) for path in removed.paths]})
        return
    typer.echo(f"removed {name} ({megabytes})")
    if removed.comes_with_rjepa:
        typer.echo("its recipe comes with R-JEPA and stays: it can be made again")
