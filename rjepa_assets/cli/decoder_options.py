"""The option of verbs that train decoders."""

from typing import Annotated

import typer

GuidanceOption = Annotated[
    str,
    typer.Option(
        "--guidance",
        help="Training run of what guides in mode nudge, a file of configs/verbalizer/ [default: guidance, with "
        "--decoders]; guidance-long takes four times as long and guides better.",
    ),
]


def guidance_recipe_asked_for(decoders: bool, guidance: str) -> str:
    """The recipe by which guidance is trained; naming one asks for decoders. Empty where nobody asked for them."""
    from rjepa.verbalizer.config import GUIDANCE_RECIPE

    return guidance or (GUIDANCE_RECIPE if decoders else "")
