"""`rjepa living`: live health, budget of errors, sealed problems; state and settings are `rjepa.cli.learning`'s."""

import math
from typing import TYPE_CHECKING, Annotated

import typer

from rjepa.cli import learning
from rjepa.cli.common import home_and_llm, print_json

if TYPE_CHECKING:
    pass

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Llm = Annotated[str | None, typer.Option(help="LLM tag [default: RJEPA_LLM or tiny-a].")]
_Name = Annotated[str, typer.Argument(help="Name of the set.")]


def register(app: typer.Typer) -> None:
    """Mount `rjepa living`."""
    noun = typer.Typer(
        help="The nights: on or off, settings, live health, budget of errors, sealed problems.", no_args_is_help=True
    )
    noun.command("status")(learning.status)
    noun.command("enable")(learning.enable)
    noun.command("disable")(learning.disable)
    noun.command("settings")(learning.settings)
    noun.command("save")(learning.save)
    noun.command("health")(health)
    noun.command("budget")(budget)
    sets = typer.Typer(help="Sealed problems: list, add, retire.", no_args_is_help=True)
    sets.command("list")(list_sealed)
    sets.command("add")(add)
    sets.command("retire")(retire)
    noun.add_typer(sets, name="sealed")
    app.add_typer(noun, name="living")


def health(
    act: Annotated[
        bool, typer.Option("--act", help="Go back to the release before where health fell, as the sensor does.")
    ] = False,
    llm: _Llm = None,
    as_json: _Json = False,
) -> None:
    """What is served against what it replaced: errors, unfamiliar problems, thumbs down. Exit code 1 where health fell.

    Example: rjepa living health --act
    """
    from rjepa.database import open_database
    from rjepa.living.health import keep_healthy, look_at_health
    from rjepa.text_tables import add_row, new_table, render

    home, tag = home_and_llm(llm)
    if act:
        found = keep_healthy(home, tag)
    else:
        with open_database(home) as database:
            found = look_at_health(home, database, tag)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        typer.echo(f"{tag}: {found.release or 'nothing'} against {found.before or 'nothing'}: {found.verdict}")
        if found.found:
            table = new_table("", "before", "now", "ceiling", "evidence", "needed")
            for each in found.found:
                before, now = f"{each.before_bad} of {each.before_all}", f"{each.now_bad} of {each.now_all}"
                odds = _odds(each.evidence), _odds(each.needed)
                add_row(table, each.name.replace("_", " "), before, now, f"{100 * each.ceiling:.1f} %", *odds)
            typer.echo(render(table))
        typer.echo(found.text)
    raise typer.Exit(1 if found.verdict == "fell" else 0)


def budget(llm: _Llm = None, as_json: _Json = False) -> None:
    """What is left of the errors that thirty nights may make, and every test that was paid for.

    Example: rjepa living budget --json
    """
    from rjepa.database import open_database
    from rjepa.living.budget import BUDGET, NIGHTS, SHARE, budget_left, list_tests
    from rjepa.text_tables import add_row, new_table, render

    home, tag = home_and_llm(llm)
    with open_database(home) as database:
        left, tests = budget_left(database, tag), list_tests(database, tag)
    if as_json:
        rows = [test.model_dump(mode="json") for test in tests]
        print_json({"llm": tag, "budget": BUDGET, "nights": NIGHTS, "a_night": SHARE, "left": left, "tests": rows})
        return
    typer.echo(
        f"{tag}: {100 * left:.2f} % of {100 * BUDGET:g} % is left for {NIGHTS} nights; one costs {100 * SHARE:.3f} %"
    )
    if tests:
        table = new_table("tested", "challenger", "against", "claim", "set", "evidence")
        for test in tests:
            when, evidence = f"{test.tested_at:%Y-%m-%d %H:%M}", _odds(test.evidence)
            add_row(table, when, test.challenger[:12], test.current[:12], test.claim, test.sealed_set, evidence)
        typer.echo(render(table))


def list_sealed(llm: _Llm = None, as_json: _Json = False) -> None:
    """Every sealed set of an LLM: how often it was used, and why it is retired.

    Example: rjepa living sealed list
    """
    from rjepa.living.sealed import USES, list_sets, live_set
    from rjepa.text_tables import add_row, new_table, render

    home, tag = home_and_llm(llm)
    live = live_set(home, tag)
    sets = list_sets(home, tag)
    if as_json:
        print_json([each.model_dump(mode="json") | {"live": each.name == (live and live.name)} for each in sets])
        return
    if not sets:
        typer.echo(f"{tag} has no sealed problems yet: the first night draws some", err=True)
        return
    table = new_table("", "set", "datasets", "uses", "retired")
    for each in sets:
        mark = "*" if live is not None and each.name == live.name else ""
        why = each.retired_why or ("" if mark else "waits")
        add_row(table, mark, each.name, ", ".join(each.datasets), f"{each.uses} of {USES}", why)
    typer.echo(render(table))


def add(
    name: _Name,
    dataset: Annotated[list[str], typer.Option(help="A dataset whose test problems are sealed; may be repeated.")],
    llm: _Llm = None,
) -> None:
    """Seal the test problems of your own datasets: the nights are judged on them after the sets before are worn out.

    Example: rjepa living sealed add mine-1 --dataset my-problems
    """
    from rjepa.datasets.recipe import load_recipe
    from rjepa.living.sealed import seal

    home, tag = home_and_llm(llm)
    for each in dataset:
        load_recipe(home, each)
    seal(home, tag, name, tuple(dataset))
    typer.echo(f"{name} is sealed for {tag}: {', '.join(dataset)}")


def retire(
    name: _Name,
    why: Annotated[str, typer.Option(help="Why, for the record.")] = "by hand",
    llm: _Llm = None,
) -> None:
    """Judge nothing on a set any more: somebody looked at its problems, say.

    Example: rjepa living sealed retire sealed-1 --why "shown in a talk"
    """
    from rjepa.living.sealed import retire as retire_set

    home, tag = home_and_llm(llm)
    retire_set(home, tag, name, why)
    typer.echo(f"{name} of {tag} is retired")


def _odds(logarithm: float) -> str:
    return f"{math.exp(logarithm):.3g} to 1"
