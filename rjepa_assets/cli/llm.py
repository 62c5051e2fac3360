"""`rjepa llm`: which students there are. Adding one gives it its partition at once."""

import json
from pathlib import Path
from typing import Annotated

import typer

from rjepa.home import Home
from rjepa.students.catalog import StudentRecord
from rjepa.students.known import KnownModel
from rjepa_assets.cli.llm_migrate import migrate

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Tag = Annotated[str, typer.Argument(help="llm_tag: a-z, 0-9, '.', '_', '-'.")]


def register(app: typer.Typer) -> None:
    """Mount the noun."""
    noun = typer.Typer(help="The LLMs under study: list, show, add, migrate, remove, quantize.", no_args_is_help=True)
    noun.command("list")(list_students)
    noun.command("show")(show)
    noun.command("add")(add)
    noun.command("migrate")(migrate)
    noun.command("remove")(remove)
    noun.command("quantize")(quantize)
    app.add_typer(noun, name="llm")


def list_students(
    catalog: Annotated[
        bool, typer.Option("--catalog", help="The public models that have a short name, and the memory they need.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Name every student, bundled or added; or the models of the catalogue.

    Example: rjepa llm list --catalog
    """
    from rjepa.students.catalog import list_records
    from rjepa.students.known import list_known
    from rjepa_assets.cli.llm_tables import catalogue_text, catalogue_values
    from rjepa_assets.cli.materialising import open_home

    if catalog:
        models = list_known()
        typer.echo(json.dumps(catalogue_values(models), indent=2) if as_json else catalogue_text(models))
        return
    records = list_records(open_home())
    if as_json:
        typer.echo(json.dumps([record.model_dump(mode="json") for record in records], indent=2))
        return
    width = max((len(record.llm_tag) for record in records), default=0)
    for record in records:
        model = record.model if record.lora is None else f"{record.model} + {record.lora.name}"
        typer.echo(f"{record.llm_tag:{width}}  {model}  {record.quantisation}".rstrip())


def show(
    name: Annotated[str, typer.Argument(help="A student's llm_tag, or a model of the catalogue.")],
    as_json: _Json = False,
) -> None:
    """Everything that is known of one student or model: its record, the memory it needs, whether that is here.

    Example: rjepa llm show qwen3-8b
    """
    import yaml

    from rjepa.students.devices import present_devices
    from rjepa.students.fitting import known_shape, memory_rows
    from rjepa.students.memory import gigabytes
    from rjepa_assets.cli.llm_tables import memory_text, memory_values
    from rjepa_assets.cli.materialising import open_home

    found, devices = _student_or_model(open_home(), name), present_devices()
    values = found.model_dump(mode="json")
    shape = known_shape(found) if isinstance(found, StudentRecord) else found.shape
    rows = []
    if shape is not None:
        dtype = found.dtype if isinstance(found, StudentRecord) else "bfloat16"
        rows = memory_rows(shape, found.quantisation, dtype, devices)
    if as_json:
        typer.echo(json.dumps(values | {"memory": memory_values(rows)}, indent=2))
        return
    typer.echo(yaml.safe_dump(values, sort_keys=False).rstrip())
    if rows:
        here = ", ".join(f"{device.name} has {gigabytes(device.free)} free" for device in devices)
        typer.echo(f"\n{memory_text(rows, here)}")


def add(
    tag: _Tag,
    model: Annotated[
        str,
        typer.Option(
            help="A name of the catalogue (rjepa llm list --catalog), a local folder or .gguf file, an id of the "
            "Hugging Face hub, `bundled`, `bundled:NAME` or `recipe:NAME`."
        ),
    ],
    quantization: Annotated[
        str | None, typer.Option(help="none, awq, gptq, bnb8, bnb4 or gguf; by default what the files say.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")] = None,
    layer: Annotated[
        int | None, typer.Option(help="The layer whose hidden states are read; -2 is before the last one.")
    ] = None,
    pooling: Annotated[
        list[str] | None, typer.Option(help="mean, last, end or number; repeat it for several side by side.")
    ] = None,
    segmentation: Annotated[
        str | None, typer.Option(help="What begins a step: guided, punctuation, connectives or paragraph.")
    ] = None,
    thinking: Annotated[
        bool | None, typer.Option(help="Let the chat template open a thinking block, where it has one.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = None,
    revision: Annotated[str | None, typer.Option(help="Commit or branch on the hub.")] = None,
    even_if_too_large: Annotated[
        bool, typer.Option("--even-if-too-large", help="Register it though it does not fit this machine.")
    ] = False,
    environment: Annotated[
        str | None, typer.Option(help="Python interpreter, or folder of a venv, that it runs in [default: this one].")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="OpenAI-compatible server that writes its chains: http://127.0.0.1:9000/v1.")
    ] = None,
    served_model: Annotated[str | None, typer.Option(help="The endpoint's name for it, if it serves several.")] = None,
) -> None:
    """Register a student, and give it its partition in Dagster.

    Example: rjepa llm add qwen --model qwen3-0.6b
    """
    from rjepa.home import check_tag
    from rjepa.students.catalog import find_record, save_record
    from rjepa.students.devices import present_devices
    from rjepa.students.fitting import fit_here, with_dtype_for_here
    from rjepa.students.known import find_known
    from rjepa.students.registering import leaves_dtype_open, new_record, placed
    from rjepa_assets.cli.materialising import open_home

    home, devices = open_home(), present_devices()
    changes = {
        "dtype": dtype,
        "layer_idx": layer,
        "poolings": tuple(pooling) if pooling else None,
        "segmentation": segmentation,
        "thinking": thinking,
        "device": device,
        "revision": revision,
    }
    record = new_record(check_tag(tag), model, quantization, changes=changes)
    record = placed(record, environment, endpoint, served_model)
    if dtype is None and leaves_dtype_open(record):
        record = with_dtype_for_here(record, devices, find_record(home, tag))
    save_record(home, record if even_if_too_large else fit_here(record, devices))
    _unpack(home, record)
    from rjepa_assets.requests import llm_was_added

    llm_was_added(home, tag)
    if (known := find_known(record.model)) is not None and known.gated:
        typer.echo(f"accept its conditions at https://huggingface.co/{known.hub_id} and set HF_TOKEN", err=True)
    if record.dtype_reason is not None:
        typer.echo(f"computes in {record.dtype}: {record.dtype_reason}", err=True)
    typer.echo(
        f"added {tag}\nTrain an R-JEPA for it: rjepa backfill --llm {tag}\n"
        f"or take another LLM's over: rjepa llm migrate --to {tag}"
    )


def remove(tag: _Tag) -> None:
    """Take a student that was added out of the registry and out of Dagster's partitions. Its files stay.

    Example: rjepa llm remove tiny-b
    """
    from rjepa.students.registering import remove_record
    from rjepa_assets.cli.materialising import open_home

    home = open_home()
    remove_record(home, tag)
    from rjepa_assets.requests import llm_was_removed

    llm_was_removed(home, tag)
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


def _unpack(home: Home, record: StudentRecord) -> None:
    """Unpack a local GGUF file now, so that later no one waits for it. One on the hub is fetched when it is needed."""
    if record.quantisation != "gguf" or record.environment is not None or not Path(record.model).expanduser().is_file():
        return
    from rjepa.cli.bars import progress_bar
    from rjepa.students.loading import loadable_folder
    from rjepa.students.resolving import resolve_student

    with progress_bar(f"weights of {record.llm_tag}") as progress:
        loadable_folder(resolve_student(home, record, progress), progress)


def _student_or_model(home: Home, name: str) -> StudentRecord | KnownModel:
    """The student of this tag; where there is none, the model of the catalogue."""
    from rjepa.errors import NotFoundError
    from rjepa.students.catalog import load_record
    from rjepa.students.known import find_known

    try:
        return load_record(home, name)
    except NotFoundError:
        known = find_known(name)
        if known is None:
            raise
        return known
