"""`rjepa gc`: remove latents, sampled chains and verdicts that no dataset version names any more, and unfinished
LoRAs that nobody went on with.
"""

from typing import Annotated

import typer

from rjepa.cli.common import open_home, print_json


def register(app: typer.Typer) -> None:
    """Mount the verb."""
    app.command("gc")(gc)


def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Remove what is found; without it nothing is.")] = False,
    older_than: Annotated[
        float, typer.Option(min=0, help="Hours: what is younger may belong to a build that was interrupted.")
    ] = 24.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what no version of a dataset names any more, and unfinished LoRAs, with their sizes.

    With --delete, all that is shown is removed.

    What a running stage or a release needs is never touched: both name it. An LLM with a stage at work is left out.

    Example: rjepa gc --delete
    """
    from rjepa.latents.collecting import collect
    from rjepa.students.lora.clearing import clear_abandoned

    home = open_home()
    found = collect(home, delete=delete, older_than_hours=older_than)
    loras = clear_abandoned(home, delete=delete, older_than_hours=older_than)
    size = found.size + sum(one.size for one in loras)
    for kind, llm_tag, why in found.skipped:
        typer.echo(f"left out: {kind} of {llm_tag}: {why}", err=True)
    if as_json:
        rows = [
            {"kind": one.kind, "llm_tag": one.llm_tag, "shards": one.shards, "bytes": one.size} for one in found.unnamed
        ]
        skipped = [{"kind": kind, "llm_tag": llm_tag, "why": why} for kind, llm_tag, why in found.skipped]
        abandoned = [{"base": one.base, "name": one.name, "bytes": one.size} for one in loras]
        print_json(
            {"deleted": delete, "bytes": size, "unnamed": rows, "abandoned_loras": abandoned, "skipped": skipped}
        )
        return
    for one in found.unnamed:
        typer.echo(f"{one.kind} of {one.llm_tag}: {one.shards} shards, {one.size / 1e6:.1f} MB")
    for lora in loras:
        typer.echo(f"unfinished LoRA {lora.base}+{lora.name}: {lora.size / 1e6:.1f} MB")
    if not found.unnamed and not loras:
        typer.echo("nothing to remove")
    elif delete:
        typer.echo(f"removed {size / 1e6:.1f} MB")
    else:
        typer.echo(f"{size / 1e6:.1f} MB that nothing names; rjepa gc --delete removes them")
