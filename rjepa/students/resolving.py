"""From a record to the files of a student: find them, refuse what is unsafe or unusable, fingerprint them.

Weights are safetensors or GGUF, or they are refused; code inside a model folder is never run. What weight files hold
belongs to `rjepa.students.weights`, loading them to `rjepa.students.loading`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.files import read_json, sha256_json
from rjepa.home import Home
from rjepa.progress import Progress, silent
from rjepa.students.catalog import StudentRecord
from rjepa.students.gguf_files import GGUF, check_gguf, unpacked_folder
from rjepa.students.hashing import hash_files
from rjepa.students.lora.files import Lora, open_lora
from rjepa.students.prompts import FIXED_DATE
from rjepa.students.quantisation import check_agreement
from rjepa.students.templates import TEMPLATE_FILES
from rjepa.students.weights import weight_files

BUNDLED = Path(__file__).resolve().parent / "bundled"
RECIPE = "recipe:"
"""A model named `recipe:NAME` is trained here, from configs/students/recipes/NAME.yaml."""

_HASHED = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    *TEMPLATE_FILES,
)
_PATTERNS = [*_HASHED, "*.safetensors", "*.safetensors.index.json", "*.model"]
_NOT_WANTED = ["*/*", "consolidated*"]
"""What some models keep a second time: other formats in folders, the makers' own one beside Hugging Face's."""


@dataclass(frozen=True)
class ResolvedStudent:
    """A student whose files were found and fingerprinted, not yet loaded. `path` is their folder; `unpacked` that where
    the weights of a GGUF file lie once they are unpacked, None for all others; `lora` what is put onto the weights.
    """

    record: StudentRecord
    path: Path
    fingerprint: str
    weights: tuple[Path, ...]
    unpacked: Path | None = None
    lora: Lora | None = None

    @property
    def weight_bytes(self) -> int:
        """Size of the weight files."""
        return sum(file.stat().st_size for file in self.weights)


def resolve_student(home: Home, record: StudentRecord, progress: Progress = silent) -> ResolvedStudent:
    """Find a student's files and fingerprint them: weights, tokenizer, configuration, quantisation, precision, layer,
    poolings, prompt and segmentation, and its LoRA where it has one. Neither its tag nor where it lies enters.

    A file is hashed once, and again when it changes (`rjepa.students.hashing`); a LoRA, which is small, every time.

    Raises:
        NotFoundError: no such bundled student, recipe, folder, hub model or LoRA.
        InvalidInputError: the folder has no safetensors weights, no tokenizer, wants its own code run, or is quantised
            otherwise than the record says; the LoRA was made for other weights.
        CorruptError: a .safetensors or .gguf file holds something else.
    """
    source = _locate(home, record)
    weights, others = _checked_files(source, record)
    hashes = hash_files(home, sorted([*weights, *others]), progress)
    path, unpacked = source, None
    if source.suffix == GGUF:
        path, unpacked = source.parent, unpacked_folder(home, hashes[source.name], record.dtype)
        hashes = {"model.gguf": hashes[source.name]}
    fingerprint, lora = sha256_json(_identity(record, hashes)), None
    if record.lora is not None:
        lora = open_lora(home, record.lora.base, record.lora.name)
        fingerprint = _with_lora(record, fingerprint, lora)
    return ResolvedStudent(record, path, fingerprint, tuple(weights), unpacked, lora)


def check_student(reader: str, fingerprint: str, student: ResolvedStudent) -> None:
    """Refuse a student whose latents mean nothing to `reader`, which was made for the student with this fingerprint.

    Raises:
        InvalidInputError: it is another one.
    """
    if student.fingerprint != fingerprint:
        tag = student.record.llm_tag
        raise InvalidInputError(
            f"{reader} was made for student {fingerprint[:12]}, {tag} is now {student.fingerprint[:12]}",
            cure=f"rjepa backfill --llm {tag}, or put back the weights and record of that student",
        )


def _identity(record: StudentRecord, hashes: dict[str, str]) -> dict[str, Any]:
    """All that shapes latents. What came later is left out where it has its default: fingerprints stay as they were."""
    prompt = record.prompt.model_dump(mode="json")
    if record.prompt.thinking is None:
        del prompt["thinking"]
    if record.prompt.date == FIXED_DATE:
        del prompt["date"]
    identity = {
        "files": hashes,
        "quantisation": record.quantisation,
        "dtype": record.dtype,
        "layer_idx": record.layer_idx,
        "poolings": list(record.poolings),
        "prompt": prompt,
    }
    return identity if record.segmentation == "guided" else identity | {"segmentation": record.segmentation}


def _with_lora(record: StudentRecord, base_fingerprint: str, lora: Lora) -> str:
    """The fingerprint of a student with a LoRA: its base's, and the LoRA's hash."""
    base, made_for = lora.manifest.base, lora.manifest.base_fingerprint
    if made_for != base_fingerprint:
        raise InvalidInputError(
            f"the LoRA {lora.name} was made for {base} {made_for[:12]}, {base} of {record.llm_tag} is now "
            f"{base_fingerprint[:12]}",
            cure=f"train it again (rjepa lora train --llm {base} --name {lora.name}), or put back what {base} was",
        )
    return sha256_json({"base": base_fingerprint, "lora": lora.sha256})


def _locate(home: Home, record: StudentRecord) -> Path:
    """The folder or the .gguf file."""
    if record.model.startswith(RECIPE):
        folder = trained_folder(home, record.weights_tag)
        if not folder.is_dir():
            raise NotFoundError(
                f"{record.weights_tag} was not trained yet from {record.model}",
                cure=f"materialise its student asset: rjepa backfill --llm {record.weights_tag}",
            )
        return folder
    if record.model.startswith("bundled:"):
        path = BUNDLED / record.model.removeprefix("bundled:")
        if not path.is_dir() or path.parent != BUNDLED:
            names = ", ".join(sorted(folder.name for folder in BUNDLED.glob("*/"))) or "none"
            raise NotFoundError(
                f"no student is bundled as {record.model!r} (bundled: {names})",
                cure="choose one of them, or train it from its recipe: rjepa student train NAME",
            )
        return path
    local = Path(record.model).expanduser()
    if local.is_dir() or (local.is_file() and local.suffix == GGUF):
        return local.resolve()
    if not is_hub_name(record.model):
        raise NotFoundError(
            f"the model {record.model} of {record.llm_tag} does not exist",
            cure="give an existing folder in Hugging Face layout, a .gguf file, or a hub id such as Qwen/Qwen3-0.6B",
        )
    return _download(record)


def is_hub_name(model: str) -> bool:
    """Whether a model is named as on the hub: owner/name, or owner/name/file.gguf."""
    slashes = 2 if model.endswith(GGUF) else 1
    return model.count("/") == slashes and not model.startswith((".", "~", "/"))


def trained_folder(home: Home, llm_tag: str) -> Path:
    """Where the student stage leaves a student that it trained from a recipe."""
    return home.student(llm_tag) / "weights"


def _download(record: StudentRecord) -> Path:
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        if record.model.endswith(GGUF):
            name, _, file = record.model.rpartition("/")
            return Path(hf_hub_download(name, file, revision=record.revision))
        return Path(
            snapshot_download(
                record.model, revision=record.revision, allow_patterns=_PATTERNS, ignore_patterns=_NOT_WANTED
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise NotFoundError(
            f"{record.model} is neither a local folder nor a model that could be fetched ({type(error).__name__})",
            cure="check the spelling and the network (HF_TOKEN for gated models), or give a local folder",
        ) from error


def _checked_files(source: Path, record: StudentRecord) -> tuple[list[Path], list[Path]]:
    """The weight files of a student, and the others that make it what it is."""
    if source.suffix == GGUF:
        check_gguf(source)
        _check_gguf_record(source, record)
        return [source], []
    if not (source / "config.json").is_file():
        raise InvalidInputError(
            f"{source} is not a Hugging Face model folder: it has no config.json",
            cure=f"point the student {record.llm_tag} at the folder that holds config.json and model.safetensors",
        )
    config = read_json(source / "config.json")
    _check_own_code(source, config)
    check_agreement(record, config)
    weights = weight_files(source)
    if not (source / "tokenizer.json").is_file() and not list(source.glob("*.model")):
        raise InvalidInputError(
            f"{source} has no tokenizer (tokenizer.json)", cure="save the model's tokenizer into the same folder"
        )
    others = [source / name for name in _HASHED if (source / name).is_file()]
    return weights, [*others, *source.glob("*.model")]


def _check_own_code(folder: Path, config: dict[str, Any]) -> None:
    """Phi and others ship code beside an architecture that transformers has itself: theirs is not needed, nor run."""
    if "auto_map" not in config:
        return
    from transformers import CONFIG_MAPPING

    if config.get("model_type") not in CONFIG_MAPPING:
        raise InvalidInputError(
            f"{folder} wants its own Python code run (auto_map in config.json), which is never done",
            cure="use a model whose architecture transformers itself knows, or convert the folder to one",
        )


def _check_gguf_record(file: Path, record: StudentRecord) -> None:
    if record.quantisation != "gguf":
        raise InvalidInputError(
            f"{file} is GGUF, the record of {record.llm_tag} says {record.quantisation}",
            cure=f"rjepa llm remove {record.llm_tag}, and add it again without --quantization",
        )
