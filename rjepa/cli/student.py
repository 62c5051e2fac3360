"""`rjepa student`: train a small student from its recipe."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Mount the noun."""
    noun = typer.Typer(help="Small students of our own: train one from its recipe.", no_args_is_help=True)
    noun.callback()(_root)
    noun.command("train")(train)
    app.add_typer(noun, name="student")


def train(
    name: Annotated[str, typer.Argument(help="A recipe: a file of configs/students/recipes/, without .yaml.")],
    out: Annotated[Path, typer.Option(help="Folder to write, in Hugging Face layout.")],
    updates: Annotated[int | None, typer.Option(min=1, help="Train for so many updates, not the recipe's.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that write texts ahead: 4 or more feed a GPU.")] = 0,
) -> None:
    """Train a student, on a GPU where there is one. A run that was stopped goes on where it was.

    Example: rjepa student train tiny-a --out students/mine && rjepa llm add mine --model students/mine
    """
    from rjepa.cli.bars import progress_bar
    from rjepa.students.recipe import load_student_recipe

    recipe = load_student_recipe(name)
    if updates is not None:
        recipe = recipe.model_copy(update={"updates": updates})
    from rjepa.students.training import train_student

    with progress_bar(f"student {name}") as progress:
        folder = train_student(recipe, out, progress, workers)
    typer.echo(f"{folder}\nUse it with: rjepa llm add TAG --model {folder}")


def _root() -> None:
    """Keep `train` a verb of its own: a noun with a single verb would otherwise be that verb."""
