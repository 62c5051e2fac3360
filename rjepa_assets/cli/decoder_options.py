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
    """The recipe to train `logit_guidance` by: the one named by --guidance, else the usual one with --decoders, else
    empty, and no decoder is trained.
    """
    from rjepa.verbalizer.config import GUIDANCE_RECIPE

    return guidance or (GUIDANCE_RECIPE if decoders else "")
