"""`rjepa llm`: which students there are. Adding one gives it its partition at once."""

import json
from pathlib import Path
from typing import Annotated

import typer

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Tag = Annotated[str, typer.Argument(help="llm_tag: a-z, 0-9, '.', '_', '-'.")]


def register(app: typer.Typer) -> None:
    """Mount the noun."""
    noun = typer.Typer(help="The LLMs under study: list, show, add, remove, quantize.", no_args_is_help=True)
    noun.command("list")(list_students)
    noun.command("show")(show)
    noun.command("add")(add)
    noun.command("remove")(remove)
    noun.command("quantize")(quantize)
    app.add_typer(noun, name="llm")


def list_students(as_json: _Json = False) -> None:
    """Name every student, bundled or added.

    Example: rjepa llm list
    """
    from rjepa.students.catalog import list_records
    from rjepa_assets.cli.materialising import open_home

    records = list_records(open_home())
    if as_json:
        typer.echo(json.dumps([record.model_dump(mode="json") for record in records], indent=2))
        return
    width = max((len(record.llm_tag) for record in records), default=0)
    for record in records:
        typer.echo(f"{record.llm_tag:{width}}  {record.model}  {record.quantisation}".rstrip())


def show(tag: _Tag, as_json: _Json = False) -> None:
    """Everything the registry knows of one student.

    Example: rjepa llm show tiny-a
    """
    import yaml

    from rjepa.students.catalog import load_record
    from rjepa_assets.cli.materialising import open_home

    values = load_record(open_home(), tag).model_dump(mode="json")
    typer.echo(json.dumps(values, indent=2) if as_json else yaml.safe_dump(values, sort_keys=False).rstrip())


def add(
    tag: _Tag,
    model: Annotated[
        str,
        typer.Option(
            help="`bundled`, `bundled:NAME`, `recipe:NAME`, a local folder, or an id of the Hugging Face hub."
        ),
    ],
    quantization: Annotated[str, typer.Option(help="How its weights are quantised.")] = "none",
    environment: Annotated[
        str | None, typer.Option(help="Python interpreter, or folder of a venv, that it runs in [default: this one].")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="OpenAI-compatible server that writes its chains: http://127.0.0.1:9000/v1.")
    ] = None,
    served_model: Annotated[str | None, typer.Option(help="The endpoint's name for it, if it serves several.")] = None,
) -> None:
    """Register a student, and give it its partition in Dagster.

    Example: rjepa llm add tiny-b --model bundled
    """
    from rjepa.home import check_tag
    from rjepa.students.catalog import save_record
    from rjepa.students.registering import new_record, placed
    from rjepa_assets.cli.materialising import open_home

    home = open_home()
    save_record(home, placed(new_record(check_tag(tag), model, quantization), environment, endpoint, served_model))
    from rjepa_assets.defs.partitions import LLM
    from rjepa_assets.instance import open_instance

    with open_instance(home) as instance:
        instance.add_dynamic_partitions(LLM, [tag])
    typer.echo(f"added {tag}\nMaterialise it: rjepa backfill --llm {tag}")


def remove(tag: _Tag) -> None:
    """Take a student that was added out of the registry and out of Dagster's partitions. Its files stay.

    Example: rjepa llm remove tiny-b
    """
    from rjepa.students.registering import remove_record
    from rjepa_assets.cli.materialising import open_home

    home = open_home()
    remove_record(home, tag)
    from rjepa_assets.defs.partitions import LLM
    from rjepa_assets.instance import open_instance

    with open_instance(home) as instance:
        if tag in instance.get_dynamic_partitions(LLM):
            instance.delete_dynamic_partition(LLM, tag)
    typer.echo(f"removed {tag}; what was made for it stays on the disk")


def quantize(
    source: Annotated[str, typer.Argument(help="llm_tag, or a local folder in Hugging Face layout.")],
    out: Annotated[Path, typer.Option(help="New folder for the weights.")],
    method: Annotated[str, typer.Option(help="How: awq (4 bits).")] = "awq",
    dataset: Annotated[str, typer.Option(help="Dataset version whose train split calibrates.")] = "v1.0.0",
    environment: Annotated[
        str | None, typer.Option(help="Python interpreter, or folder of a venv, that has AutoAWQ [default: this one].")
    ] = None,
    blocks: Annotated[
        int, typer.Option(min=1, help="Blocks of 512 tokens to calibrate on; fewer are faster on a CPU.")
    ] = 128,
    as_json: _Json = False,
) -> None:
    """Make 4-bit weights of a student, on a card or on the CPU. What calibrates them is train text alone.

    Example: rjepa llm quantize tiny-a --out ./tiny-a-awq
    """
    from rjepa.errors import InvalidInputError
    from rjepa.students.quantizing import quantize_elsewhere
    from rjepa_assets.cli.materialising import open_home

    if method != "awq":
        raise InvalidInputError(f"{method!r} is no method that is known here", cure="choose --method awq")
    done = quantize_elsewhere(open_home(), source, out, dataset, environment, blocks)
    if as_json:
        typer.echo(json.dumps(done, indent=2))
        return
    typer.echo(f"{done['megabytes_before']} MB -> {done['megabytes']} MB in {done['out']}")
    where = environment or "FOLDER_OF_A_VENV"
    typer.echo(f"Add it: rjepa llm add TAG --model {done['out']} --quantization awq --environment {where}")
