"""`rjepa demo --living`: the simulated nights from the command line, in a home of their own beside the user's data."""

import os
from typing import TYPE_CHECKING

import typer

from rjepa.home import Home

if TYPE_CHECKING:
    from rjepa_assets.launching import NightChoices


def live(home: Home, size_name: str, seed: int) -> None:
    """All nights, from where the last run was stopped, and what came of them.

    Nothing of the user's own feedback is read or written: the home lies in a folder of its own, and its database is a
    file there, whatever RJEPA_DATABASE_URL says.

    Raises:
        InvalidInputError: there is no such size.
        RjepaError: a stage failed, with its cure.
    """
    from rjepa.errors import InvalidInputError
    from rjepa.living.simulation.script import BASE, SIZES
    from rjepa.living.simulation.telling import lines
    from rjepa.progress import silent
    from rjepa_assets.cli.materialising import materialise, with_instance
    from rjepa_assets.cli.summary import relative
    from rjepa_assets.nights import run_night
    from rjepa_assets.simulating import LLM, World, prepare, read_nights, simulate

    if size_name not in SIZES:
        raise InvalidInputError(f"there is no size {size_name!r}", cure=f"choose one of {', '.join(SIZES)}")
    size = SIZES[size_name]
    own = Home(home.root / "living" / f"{size.name}-{seed}")
    os.environ |= {"RJEPA_HOME": str(own.root), "RJEPA_DATABASE_URL": ""}
    prepare(own, size, seed)
    if not (own.releases(LLM) / "CURRENT").exists():
        materialise(own, BASE, LLM, size.recipe)

    def night(choices: "NightChoices") -> tuple[str, str]:
        with with_instance(own) as (instance, stream):
            done = run_night(own, instance, LLM, stream, choices=choices)
        return done.outcome, done.text

    folder = own.root / "simulation"
    folder.mkdir(exist_ok=True)
    world = World(own, size, seed, folder, lambda line: typer.echo(line, err=True), night)
    found = simulate(world, silent)
    nights = read_nights(folder)
    typer.echo(f"\nShare of {len(nights[0].arms['living'].right)} problems answered right, % with 95 % intervals:\n")
    typer.echo(lines(nights))
    for arm, worst in found["worst_forgetting"].items():
        value, low, high = (100 * number for number in worst["difference"])
        typer.echo(
            f"worst forgetting of {arm}: {worst['domain']} after night {worst['night']}, {value:+.1f} points"
            f" [{low:+.1f}, {high:+.1f}] against what was served first"
        )
    typer.echo(f"\nFigures and plot: {relative(folder / 'figures.json')}, {relative(folder / 'nights.png')}")
