"""`rjepa llm`: which students there are. Adding one gives it its partition at once."""

import json
from typing import Annotated, Any

import typer

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Mount the noun."""
    noun = typer.Typer(help="The LLMs under study: list, show, add, remove.", no_args_is_help=True)
    for verb in (add, show, remove):
        noun.command(verb.__name__)(verb)
    noun.command("list")(list_students)
    app.add_typer(noun, name="llm")
