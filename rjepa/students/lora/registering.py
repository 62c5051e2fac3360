"""A student with a LoRA as a student of its own: its tag, its record, taking in a LoRA that was trained elsewhere, and
taking one out again. Its weights are its base's; what was made for the base does not hold for it.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rjepa.errors import InvalidInputError
from rjepa.home import Home, check_tag
from rjepa.students.catalog import LoraOf, StudentRecord, list_records, load_record, save_record
from rjepa.students.lora.files import Lora, LoraManifest, lora_folder, open_lora, seal_lora
from rjepa.students.registering import remove_record
from rjepa.students.resolving import ResolvedStudent, resolve_student

if TYPE_CHECKING:
    from rjepa.students.loading import Student

JOINT: Final = "--"
"""Between base and LoRA in a tag: a tag takes no `+`, which is what a client writes."""


def lora_tag(base: str, name: str) -> str:
    """The tag of a student with a LoRA, `tiny-a--night-3`; clients call it `tiny-a+night-3`.

    Raises:
        InvalidInputError: the two do not make a tag.
    """
    return check_tag(f"{check_tag(base)}{JOINT}{check_tag(name, 'name of a LoRA')}")


def client_name(record: StudentRecord) -> str:
    """What clients call a student: `BASE+NAME` where it has a LoRA."""
    return record.llm_tag if record.lora is None else f"{record.lora.base}+{record.lora.name}"


def resolve_base(home: Home, base: str) -> ResolvedStudent:
    """The student that a LoRA is put onto.

    Raises:
        RjepaError: as `load_record` and `resolve_student`.
        InvalidInputError: it has a LoRA itself.
    """
    record = load_record(home, base)
    if record.lora is not None:
        raise InvalidInputError(
            f"{base} has a LoRA itself",
            cure=f"train on {record.lora.base}, with a dataset version that holds what {base} has learnt from too",
        )
    return resolve_student(home, record)


def describe_lora(base: "ResolvedStudent | Student", name: str, **more: Any) -> LoraManifest:
    """The manifest of a new LoRA of a student; its files are added when it is sealed."""
    record = base.record
    values = {
        "name": name,
        "base": record.llm_tag,
        "base_fingerprint": base.fingerprint,
        "base_model": record.model,
        "files": {},
    }
    return LoraManifest.model_validate(values | more)


def register_lora(home: Home, lora: Lora) -> StudentRecord:
    """Register the student with this LoRA: its base's record under its own tag. Where an endpoint writes the base's
    chains, it does not write these: the new student runs here.

    Raises:
        InvalidInputError: the base is no student any more, or a student of this tag is another one.
    """
    base = load_record(home, lora.manifest.base)
    values = base.model_dump() | {
        "llm_tag": lora_tag(base.llm_tag, lora.name),
        "lora": LoraOf(base=base.llm_tag, name=lora.name),
        "recipe": None,
        "endpoint": None,
        "served_model": None,
    }
    record = StudentRecord.model_validate(values)
    save_record(home, record)
    return record


def import_lora(home: Home, base: str, name: str, source: Path) -> Lora:
    """Take in a LoRA that peft, or what writes its format, has saved elsewhere, and register the student with it. It
    is loaded onto the base once, so that one of another model is refused here.

    Raises:
        RjepaError: the base is no student; the folder holds no plain LoRA, or one of another model; the name is taken.
    """
    from rjepa.students.loading import load_student
    from rjepa.students.lora.loading import load_lora

    tag, folder = lora_tag(base, name), lora_folder(home, base, name)
    resolved = resolve_base(home, base)
    if folder.exists():
        raise InvalidInputError(
            f"{base} has a LoRA {name!r} already", cure=f"choose another name, or rjepa lora remove {tag}"
        )
    trial = folder.parent / f".{name}.trial"
    try:
        seal_lora(source, trial, describe_lora(resolved, name, origin="imported"))
        load_lora(load_student(resolved).model, trial, merge=False)
        trial.rename(folder)
    finally:
        shutil.rmtree(trial, ignore_errors=True)
    lora = open_lora(home, base, name)
    register_lora(home, lora)
    return lora


def remove_lora(home: Home, base: str, name: str) -> str:
    """Take a LoRA out: its student's record and its folder. What was made of that student stays. Returns its tag.

    Raises:
        NotFoundError: there is no such LoRA.
    """
    folder, tag = lora_folder(home, base, name), lora_tag(base, name)
    if not folder.is_dir():
        open_lora(home, base, name)  # says which there are
    if tag in {record.llm_tag for record in list_records(home)}:
        remove_record(home, tag)
    shutil.rmtree(folder)
    return tag
