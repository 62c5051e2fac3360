"""From a record to the files of a student: find them, refuse what is unsafe or unusable, fingerprint them.

Weights are safetensors or they are refused; code inside a model folder is never run. Loading lives in
`rjepa.students.loading`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rjepa.errors import CorruptError, InvalidInputError, NotFoundError
from rjepa.files import read_json, sha256_file, sha256_json, write_json
from rjepa.home import Home
from rjepa.progress import Progress, silent
from rjepa.students.catalog import StudentRecord

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
    "chat_template.jinja",
)
_PATTERNS = [*_HASHED, "*.safetensors", "*.safetensors.index.json", "*.model"]


@dataclass(frozen=True)
class ResolvedStudent:
    """A student whose files were found and fingerprinted, not yet loaded."""

    record: StudentRecord
    path: Path
    fingerprint: str
    weight_bytes: int


def resolve_student(home: Home, record: StudentRecord, progress: Progress = silent) -> ResolvedStudent:
    """Find a student's files and fingerprint them: weights, tokenizer, configuration, quantisation, precision, layer,
    poolings and prompt.

    File hashes are remembered in `home.student(tag)/resolved.json` by size and time of change.

    Raises:
        NotFoundError: no such bundled student, recipe, folder or hub model.
        InvalidInputError: the folder has no safetensors weights, no tokenizer, or wants its own code run.
        CorruptError: a .safetensors file holds something else.
    """
    path = _locate(home, record)
    files = _checked_files(path, record)
    hashes = _hashes(home.student(record.llm_tag) / "resolved.json", files, progress)
    fingerprint = sha256_json(
        {
            "files": hashes,
            "quantisation": record.quantisation,
            "dtype": record.dtype,
            "layer_idx": record.layer_idx,
            "poolings": list(record.poolings),
            "prompt": record.prompt.model_dump(mode="json"),
        }
    )
    weight_bytes = sum(file.stat().st_size for file in files if file.suffix == ".safetensors")
    return ResolvedStudent(record, path, fingerprint, weight_bytes)


def _locate(home: Home, record: StudentRecord) -> Path:
    if record.model.startswith(RECIPE):
        folder = trained_folder(home, record.llm_tag)
        if not folder.is_dir():
            raise NotFoundError(
                f"{record.llm_tag} was not trained yet from {record.model}",
                cure=f"materialise its student asset: rjepa backfill --llm {record.llm_tag}",
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
    folder = Path(record.model).expanduser()
    if folder.is_dir():
        return folder.resolve()
    if folder.is_absolute() or record.model.startswith((".", "~")) or record.model.count("/") != 1:
        raise NotFoundError(
            f"the model folder {record.model} of {record.llm_tag} does not exist",
            cure="give an existing folder in Hugging Face layout, or a hub id such as Qwen/Qwen3-0.6B",
        )
    return _download(record)


def trained_folder(home: Home, llm_tag: str) -> Path:
    """Where the student stage leaves a student that it trained from a recipe."""
    return home.student(llm_tag) / "weights"


def _download(record: StudentRecord) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(record.model, revision=record.revision, allow_patterns=_PATTERNS))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise NotFoundError(
            f"{record.model} is neither a local folder nor a model that could be fetched ({type(error).__name__})",
            cure="check the spelling and the network (HF_TOKEN for gated models), or give a local folder",
        ) from error


def _checked_files(path: Path, record: StudentRecord) -> list[Path]:
    """The files that make a student what it is, sorted by name."""
    if not (path / "config.json").is_file():
        raise InvalidInputError(
            f"{path} is not a Hugging Face model folder: it has no config.json",
            cure=f"point the student {record.llm_tag} at the folder that holds config.json and model.safetensors",
        )
    config = read_json(path / "config.json")
    if "auto_map" in config:
        raise InvalidInputError(
            f"{path} wants its own Python code run (auto_map in config.json), which is never done",
            cure="use a model whose architecture transformers itself knows, or convert the folder to one",
        )
    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        unsafe = sorted(f.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for f in path.glob(pattern))
        found = f"only {', '.join(unsafe)}, which can run code when read" if unsafe else "no weights at all"
        raise InvalidInputError(
            f"{path} has no .safetensors weights: {found}",
            cure="convert it where you trust its source: AutoModelForCausalLM.from_pretrained(F).save_pretrained(F)",
        )
    for file in weights:
        _check_safetensors(file)
    if not (path / "tokenizer.json").is_file() and not list(path.glob("*.model")):
        raise InvalidInputError(
            f"{path} has no tokenizer (tokenizer.json)", cure="save the model's tokenizer into the same folder"
        )
    others = [path / name for name in _HASHED if (path / name).is_file()]
    return sorted([*weights, *others, *path.glob("*.model")])


def _check_safetensors(file: Path) -> None:
    with file.open("rb") as stream:
        head = stream.read(9)
    size = int.from_bytes(head[:8], "little")
    if len(head) == 9 and head[8:] == b"{" and 8 + size <= file.stat().st_size:
        return
    kind = "a PyTorch pickle" if head.startswith((b"PK", b"\x80")) else "damaged or another format"
    raise CorruptError(f"{file} is not safetensors: it is {kind}", cure="copy or convert the weights again")


def _hashes(cache: Path, files: list[Path], progress: Progress) -> dict[str, str]:
    try:
        known = read_json(cache)["files"] if cache.exists() else {}
    except (CorruptError, KeyError, TypeError):
        known = {}
    entries: dict[str, dict[str, Any]] = {}
    for number, file in enumerate(files):
        status = file.stat()
        identity = [str(file), status.st_size, status.st_mtime_ns]
        entry = known.get(file.name, {})
        digest = entry["sha256"] if entry.get("identity") == identity else sha256_file(file)
        entries[file.name] = {"identity": identity, "sha256": digest}
        progress(number + 1, len(files), f"hashed {file.name}")
    if entries != known:
        write_json(cache, {"files": entries})
    return {name: entry["sha256"] for name, entry in entries.items()}
