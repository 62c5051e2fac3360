"""The student stage: find a registered student's weights, or train them from its recipe, fingerprint them, and say what
it is. Loading is `loading`'s.
"""

from typing import Final

from rjepa.errors import CorruptError, NotFoundError
from rjepa.files import read_json, write_json
from rjepa.home import Home
from rjepa.progress import Progress, silent
from rjepa.stages import StageReport
from rjepa.students.catalog import load_record
from rjepa.students.loading import Student, load_student, loadable_folder, place_student, read_config
from rjepa.students.recipe import load_student_recipe
from rjepa.students.resolving import RECIPE, ResolvedStudent, resolve_student, trained_folder
from rjepa.students.training import train_student

RESOLVED_FILE: Final = "resolved.json"
"""A file in the folder of a student: which files it was resolved to, and their fingerprint."""


def resolve_and_record(home: Home, llm_tag: str, progress: Progress = silent) -> StageReport:
    """Resolve the student of a tag, trained first where it comes from a recipe. Its fingerprint is the data version.

    Raises:
        RjepaError: as `load_record` and `resolve_student`.
    """
    record = load_record(home, llm_tag)
    if record.model.startswith(RECIPE) and record.lora is None:
        # Here and nowhere else: a service or a command that only wants to read never starts a training.
        train_student(load_student_recipe(record.model.removeprefix(RECIPE)), trained_folder(home, llm_tag), progress)
    resolved = resolve_student(home, record, progress)
    loadable_folder(resolved, progress)
    _note(home, resolved)
    config = read_config(resolved)
    text = config.get("text_config") or config
    choice, need = place_student(resolved)
    metadata: dict[str, int | float | str] = {
        "model": resolved.record.model,
        "path": str(resolved.path),
        "architecture": ", ".join(config.get("architectures") or ["unknown"]),
        "weight_megabytes": round(resolved.weight_bytes / 1e6, 3),
        "layer_idx": resolved.record.layer_idx,
        "quantisation": resolved.record.quantisation,
        "dtype": resolved.record.dtype,
        "segmentation": resolved.record.segmentation,
        "device": choice.device,
        "device_reason": choice.reason,
        "memory_megabytes": round(need.total / 1e6, 3),
    }
    if resolved.lora is not None:
        metadata |= {"lora": f"{resolved.lora.manifest.base}+{resolved.lora.name}", "lora_rank": resolved.lora.rank}
    if resolved.record.dtype_reason is not None:
        metadata["dtype_reason"] = resolved.record.dtype_reason
    for name in ("hidden_size", "num_hidden_layers", "vocab_size"):
        if isinstance(text.get(name), int):
            metadata[name] = text[name]
    return StageReport(resolved.fingerprint, metadata)


def _note(home: Home, resolved: ResolvedStudent) -> None:
    """Keep beside the student which files it was resolved to; a file that says so already stays as it is."""
    path = home.student(resolved.record.llm_tag) / RESOLVED_FILE
    files = [file.name for file in resolved.weights]
    value = {"fingerprint": resolved.fingerprint, "path": str(resolved.path), "weights": files}
    try:
        if read_json(path) == value:
            return
    except (NotFoundError, CorruptError):
        pass  # there is none yet, or it was damaged: it is written anew
    write_json(path, value)


def open_student(home: Home, llm_tag: str, progress: Progress = silent) -> Student:
    """The student of a tag, loaded on the best device there is.

    Raises:
        RjepaError: as `load_record`, `resolve_student` and `load_student`.
    """
    return load_student(resolve_student(home, load_record(home, llm_tag), progress), progress=progress)


def student_fingerprint(home: Home, llm_tag: str) -> str:
    """What a tag's student is now: hex SHA-256 of all that shapes its latents."""
    return resolve_student(home, load_record(home, llm_tag)).fingerprint
