"""`rjepa lora`: students that learn. Training is Dagster's asset `student_lora`; serving is the service's matter."""

import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from rjepa.home import Home

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Llm = Annotated[str, typer.Option(help="The student that learns: `rjepa llm list` names them.")]
_Tag = Annotated[str, typer.Argument(help="A LoRA as BASE+NAME, or the llm_tag of the student that has it.")]

_NOT_PASSED: Final = 1
"""Exit code where the gate does not agree, as of a check that fails."""


def register(app: typer.Typer) -> None:
    """Mount the noun."""
    noun = typer.Typer(
        help="LoRAs, by which a student learns: train, judge, list, show, add, merge, remove.", no_args_is_help=True
    )
    noun.command("train")(train)
    noun.command("gate")(gate)
    noun.command("list")(list_all)
    noun.command("show")(show)
    noun.command("add")(add)
    noun.command("merge")(merge)
    noun.command("remove")(remove)
    app.add_typer(noun, name="lora")


def train(
    llm: _Llm,
    dataset: Annotated[str, typer.Option(help="Dataset version whose right chains it learns from.")],
    recipe: Annotated[str, typer.Option(help="Training run: a file of configs/lora/.")] = "night",
    name: Annotated[str, typer.Option(help="Of the LoRA; clients say LLM+NAME [default: the dataset version].")] = "",
    as_json: _Json = False,
) -> None:
    """Train a LoRA of a student and register the student with it. Killed, it goes on when it is run again.

    Example: rjepa lora train --llm tiny-a --dataset v1.1.0 --name night-1
    """
    from rjepa.students.lora.registering import lora_tag
    from rjepa_assets.cli.materialising import materialise_lora, open_home

    home, tag = open_home(), lora_tag(llm, name or dataset)
    materialise_lora(home, dataset, llm, recipe, name or dataset)
    found = _described(home, llm, name or dataset)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    typer.echo(_text(found))
    typer.echo(f"Judge it against {llm}: rjepa lora gate {tag} --dataset {dataset}")


def gate(
    lora: _Tag,
    dataset: Annotated[str, typer.Option(help="Dataset version whose test problems decide.")],
    claim: Annotated[
        list[str] | None,
        typer.Option(help="Domain in which it has to be better; repeat it for several [default: what it learnt]."),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Judge a student with a LoRA against its base on the same test problems, which both answer first if they have not
    yet. Passes if it is better where it claims to be and a loss is excluded elsewhere; exit code 1 if not.

    Example: rjepa lora gate tiny-a+night-1 --dataset v1.1.0
    """
    from rjepa.releases.student_gate import judge_student
    from rjepa_assets.cli.materialising import materialise_rollouts, open_home

    home = open_home()
    base, name = _find(home, lora)
    from rjepa.students.lora.registering import lora_tag

    tag = lora_tag(base, name)
    materialise_rollouts(home, dataset, [base, tag])
    decision = judge_student(home, tag, dataset, tuple(claim or ()))
    if as_json:
        typer.echo(decision.model_dump_json(indent=2))
    else:
        for finding in decision.findings:
            typer.echo(finding.describe())
        typer.echo(f"{'passed' if decision.passed else 'not passed'}: {decision.reason}")
    if not decision.passed:
        raise typer.Exit(_NOT_PASSED)


def list_all(
    llm: Annotated[str | None, typer.Option(help="Of this student alone.")] = None, as_json: _Json = False
) -> None:
    """Every LoRA, what it learnt from, and what the gate said of it.

    Example: rjepa lora list
    """
    from rjepa.students.lora.files import list_loras
    from rjepa_assets.cli.materialising import open_home

    home = open_home()
    rows = [_described(home, *each) for each in list_loras(home, llm)]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        verdict = {True: "passed", False: "not passed", None: "not judged"}[row["gate"] and row["gate"]["passed"]]
        typer.echo(f"{row['lora']:<32} rank {row['rank']:<4} {row['dataset'] or row['origin']:<16} {verdict}")


def show(lora: _Tag, as_json: _Json = False) -> None:
    """What a LoRA is: its files verified, its recipe, its figures, what the gate said.

    Example: rjepa lora show tiny-a+night-1
    """
    from rjepa_assets.cli.materialising import open_home

    home = open_home()
    found = _described(home, *_find(home, lora))
    typer.echo(json.dumps(found, indent=2) if as_json else _text(found))


def add(
    name: Annotated[str, typer.Argument(help="What to call it: a-z, 0-9, '.', '_', '-'.")],
    llm: Annotated[str, typer.Option(help="The student that it was trained on.")],
    source: Annotated[Path, typer.Option("--from", help="Folder that peft, or what writes its format, has saved.")],
    as_json: _Json = False,
) -> None:
    """Take in a LoRA that was trained elsewhere, and register the student with it.

    Example: rjepa lora add tuned --llm tiny-a --from ./outputs/checkpoint-300
    """
    from rjepa.students.lora.registering import import_lora
    from rjepa_assets.cli.materialising import open_home
    from rjepa_assets.requests import llm_was_named

    home = open_home()
    import_lora(home, llm, name, source)
    found = _described(home, llm, name)
    llm_was_named(home, found["llm_tag"])
    typer.echo(json.dumps(found, indent=2) if as_json else _text(found))


def merge(lora: _Tag, out: Annotated[Path, typer.Option(help="New folder for the weights.")]) -> None:
    """Write a student's weights with its LoRA added into them, as a model folder like any other.

    Example: rjepa lora merge tiny-a+night-1 --out ./tiny-a-night-1
    """
    from rjepa.students.catalog import load_record
    from rjepa.students.lora.merging import write_merged
    from rjepa.students.lora.registering import lora_tag
    from rjepa.students.resolving import resolve_student
    from rjepa_assets.cli.materialising import open_home

    home = open_home()
    record = load_record(home, lora_tag(*_find(home, lora)))
    typer.echo(write_merged(resolve_student(home, record), out))


def remove(lora: _Tag) -> None:
    """Take a LoRA out, with the record of the student that has it. What was made of that student stays on the disk.

    Example: rjepa lora remove tiny-a+night-1
    """
    from rjepa.students.lora.registering import remove_lora
    from rjepa_assets.cli.materialising import open_home
    from rjepa_assets.requests import llm_was_removed

    home = open_home()
    tag = remove_lora(home, *_find(home, lora))
    llm_was_removed(home, tag)
    typer.echo(f"removed {tag}; what was made of it stays on the disk")


def _find(home: Home, named: str) -> tuple[str, str]:
    """Base and name of a LoRA, named as clients do or by its student's tag."""
    from rjepa.errors import InvalidInputError
    from rjepa.students.catalog import load_record

    base, plus, name = named.partition("+")
    if plus:
        return base, name
    record = load_record(home, named)
    if record.lora is None:
        raise InvalidInputError(f"{named} has no LoRA", cure="name one as BASE+NAME: rjepa lora list")
    return record.lora.base, record.lora.name


def _described(home: Home, base: str, name: str) -> dict[str, Any]:
    from rjepa.releases.student_gate import read_verdict
    from rjepa.students.lora.files import open_lora
    from rjepa.students.lora.registering import lora_tag

    found = open_lora(home, base, name)
    manifest = found.manifest.model_dump(mode="json")
    verdict = read_verdict(home, base, name)
    return {
        "lora": f"{base}+{name}",
        "llm_tag": lora_tag(base, name),
        "path": str(found.folder),
        "rank": found.rank,
        "parameters": found.parameters,
        "sha256": found.sha256,
        **{key: manifest[key] for key in ("origin", "dataset", "recipe", "figures", "base_fingerprint")},
        "gate": None if verdict is None else verdict.model_dump(mode="json"),
    }


def _text(found: dict[str, Any]) -> str:
    import yaml

    verdict = found["gate"] and {"passed": found["gate"]["passed"], "text": found["gate"]["text"]}
    return str(yaml.safe_dump(found | {"gate": verdict}, sort_keys=False, width=100)).rstrip()
