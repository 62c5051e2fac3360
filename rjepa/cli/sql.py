"""`rjepa sql`: ask the home questions in SQL."""

from typing import Annotated, Any

import typer

from rjepa.cli.common import open_home, print_json


def register(app: typer.Typer) -> None:
    """Mount the verb."""
    app.command("sql")(sql)


def sql(
    query: Annotated[str, typer.Argument(help="One SELECT; the views are those that `rjepa sql 'show tables'` names.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list of rows.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a header.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many rows.")] = 1000,
) -> None:
    """Answer one SELECT over everything that is in RJEPA_HOME; nothing is written. `show tables` lists the views.

    Example: rjepa sql "select domain, split, count(*) from problems where dataset = 'v1.0.0' group by all"
    """
    from rjepa.errors import InvalidInputError
    from rjepa.sql import ask

    if as_json and as_csv:
        raise InvalidInputError("--json and --csv at once", cure="choose one of them")
    answer = ask(open_home(), query, limit=limit + 1)
    rows = answer.rows[:limit]
    if len(answer.rows) > limit:
        typer.echo(f"only the first {limit} rows are shown; --limit takes more", err=True)
    if as_json:
        print_json([dict(zip(answer.columns, map(_plain, row), strict=True)) for row in rows])
    elif as_csv:
        import csv
        import sys

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(answer.columns)
        writer.writerows(rows)
    else:
        _print_table(answer.columns, rows)


def _print_table(columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    from rjepa.text_tables import add_row, new_table, render

    table = new_table(*columns)
    for row in rows:
        add_row(table, *(_cell(value) for value in row))
    typer.echo(render(table))


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    text = " ".join(text.split())
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _plain(value: object) -> object:
    """What JSON has; dates and the like as text."""
    if value is None or isinstance(value, bool | int | float | str | list | dict):
        return value
    return str(value)


_WIDEST = 60
"""Characters of a cell on the terminal; --json and --csv show all of it."""
