"""A LoRA on the disk: peft's own two files in one folder, and `lora.json`, which says what they are and binds them.

    adapter_config.json         rank, alpha, targets: peft, vLLM and others read it
    adapter_model.safetensors   the small matrices
    lora.json                   whose LoRA it is (base and its fingerprint), where it comes from, hashes of both files

Reading verifies: a folder without `lora.json`, with another byte in a file, or with a LoRA that is more than added
low-rank matrices is refused. Putting it onto a model is `rjepa.students.lora.loading`'s.
"""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, ValidationError

from rjepa.errors import CorruptError, InvalidInputError, NotFoundError
from rjepa.files import atomic_folder, read_json, sha256_file, sha256_json, write_json
from rjepa.home import TAG_PATTERN, Home, check_tag
from rjepa.parts import FileEntry
from rjepa.safetensors_files import read_header
from rjepa.stages import Figures
from rjepa.values import FrozenValue

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
MANIFEST: Final = "lora.json"

FOLDER: Final = "loras"
"""Under $RJEPA_HOME: loras/BASE/NAME."""

_TAKEN: Final = frozenset(
    {
        "peft_type",
        "task_type",
        "base_model_name_or_path",
        "revision",
        "inference_mode",
        "r",
        "lora_alpha",
        "lora_dropout",
        "target_modules",
        "exclude_modules",
        "layers_to_transform",
        "layers_pattern",
        "rank_pattern",
        "alpha_pattern",
        "fan_in_fan_out",
        "use_rslora",
        "use_dora",
        "init_lora_weights",
    }
)
"""Fields of adapter_config.json that are handed to peft. All others have to say nothing."""

_IDLE: Final = frozenset({"auto_mapping", "peft_version", "megatron_core", "qalora_group_size", "runtime_config"})
"""Fields that change nothing as long as none of the fields that would use them is set; they are not handed to peft."""

_SAYS_NOTHING: Final[tuple[Any, ...]] = (None, False, "none", "", [], {})


class LoraManifest(FrozenValue):
    """What `lora.json` says. Equal trainings give equal bytes: it holds no date and no path."""

    format: Literal[1] = 1
    name: str = Field(pattern=TAG_PATTERN.pattern, max_length=64)
    base: str = Field(pattern=TAG_PATTERN.pattern, max_length=64, description="llm_tag of the student below it")
    base_fingerprint: str = Field(pattern=r"^[0-9a-f]{64}$", description="of that student, when the LoRA was made")
    base_model: str = Field(description="the base's model as its record names it")
    origin: Literal["trained", "imported"] = Field(description="whether it was trained here")
    dataset: str | None = Field(None, description="dataset version that it learnt from")
    dataset_sha256: str | None = Field(None, description="of that version's manifest")
    recipe: dict[str, Any] | None = Field(None, description="the recipe of configs/lora/, whole")
    figures: Figures = Field(default_factory=dict, description="what was measured while it was made")
    files: Mapping[str, FileEntry]

    @property
    def sha256(self) -> str:
        """Hash of what changes the student: the two files of peft, and nothing that is told of them."""
        return sha256_json({name: entry.sha256 for name, entry in self.files.items()})


@dataclass(frozen=True)
class Lora:
    """A LoRA whose files were verified when this was read. `config` is peft's, cut to the fields that are taken."""

    folder: Path
    manifest: LoraManifest
    config: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def name(self) -> str:
        """What it is called beside its base: `BASE+NAME` for clients."""
        return self.manifest.name

    @property
    def sha256(self) -> str:
        """Hash of peft's two files."""
        return self.manifest.sha256

    @property
    def rank(self) -> int:
        """The rank of its matrices, where they have no other in `rank_pattern`."""
        return int(self.config["r"])

    @property
    def parameters(self) -> int:
        """Numbers in its matrices."""
        return sum(_product(shape) for shape in self.shapes.values())


def lora_folder(home: Home, base: str, name: str) -> Path:
    """Where a LoRA of a student lies."""
    return home.root / FOLDER / check_tag(base) / check_tag(name, "name of a LoRA")


def list_loras(home: Home, base: str | None = None) -> list[tuple[str, str]]:
    """(base, name) of every LoRA of a home, sorted; of one student if `base` is given. Nothing is verified."""
    pattern = f"{'*' if base is None else check_tag(base)}/*/{MANIFEST}"
    folders = [path.parent for path in (home.root / FOLDER).glob(pattern)]
    # What is being written has a name that begins with a dot.
    return sorted((folder.parent.name, folder.name) for folder in folders if not folder.name.startswith("."))


def open_lora(home: Home, base: str, name: str) -> Lora:
    """A student's LoRA, verified.

    Raises:
        NotFoundError: it has none of this name; those that it has are named.
        RjepaError: as `read_lora`; the folder was put there under another name.
    """
    folder = lora_folder(home, base, name)
    if not folder.is_dir():
        known = ", ".join(other for _, other in list_loras(home, base)) or "none"
        raise NotFoundError(
            f"{base} has no LoRA {name!r} (known: {known})",
            cure=f"choose one of them, or train it: rjepa lora train --llm {base} --name {name}",
        )
    lora = read_lora(folder)
    if (lora.manifest.base, lora.name) != (base, name):
        raise CorruptError(
            f"{folder} holds the LoRA {lora.manifest.base}+{lora.name}, expected {base}+{name}",
            cure="move the folder back to where its lora.json says, or train it again",
        )
    return lora


def read_lora(folder: Path) -> Lora:
    """Read a LoRA's folder and verify it: both files are there and have the bytes that `lora.json` names, and they are
    nothing but added low-rank matrices.

    Raises:
        NotFoundError: the folder, or one of its files, is missing.
        CorruptError: a file is damaged, or not the one that was sealed.
        InvalidInputError: the LoRA is of a kind that is not served.
    """
    manifest = _read_manifest(folder)
    if sorted(manifest.files) != sorted((CONFIG, WEIGHTS)):
        raise CorruptError(
            f"{folder / MANIFEST} names {sorted(manifest.files)}, expected {CONFIG} and {WEIGHTS}",
            cure="train the LoRA again, or put back its folder as it was",
        )
    for name, entry in manifest.files.items():
        _check_file(folder / name, entry)
    return Lora(folder, manifest, read_config(folder), read_shapes(folder))


def seal_lora(source: Path, folder: Path, manifest: LoraManifest) -> Lora:
    """Put peft's two files of `source` into `folder`, at once, with the manifest; what was there is replaced.

    Args:
        manifest: its `files` are worked out here.

    Raises:
        RjepaError: as `read_lora`, of files that are not a plain LoRA. Nothing is written then.
    """
    read_config(source)
    read_shapes(source)
    with atomic_folder(folder) as temporary:
        entries = {}
        for name in (CONFIG, WEIGHTS):
            shutil.copyfile(source / name, temporary / name)
            path = temporary / name
            entries[name] = FileEntry(size=path.stat().st_size, sha256=sha256_file(path))
        write_json(temporary / MANIFEST, manifest.model_copy(update={"files": entries}).model_dump(mode="json"))
    return read_lora(folder)


def read_config(folder: Path) -> dict[str, Any]:
    """The fields of peft's adapter_config.json that are taken.

    Raises:
        NotFoundError: there is none.
        CorruptError: it is not JSON.
        InvalidInputError: it is no LoRA, or changes a model by more than added low-rank matrices.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise NotFoundError(f"{folder} is no LoRA: it has no {CONFIG}", cure="name a folder that peft has written")
    config = read_json(path)
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else None
        raise InvalidInputError(f"{path} says peft_type {kind!r}, expected 'LORA'", cure="train a LoRA with peft")
    if config.get("task_type") not in (None, "CAUSAL_LM"):
        raise InvalidInputError(
            f"{path} is for the task {config['task_type']}, students are CAUSAL_LM", cure="train it for CAUSAL_LM"
        )
    more = {name: value for name, value in config.items() if name not in _TAKEN | _IDLE}
    unwanted = sorted(name for name, value in more.items() if value not in _SAYS_NOTHING)
    if unwanted or not isinstance(config.get("init_lora_weights", True), bool | None):
        names = ", ".join(unwanted) or f"init_lora_weights={config['init_lora_weights']}"
        raise InvalidInputError(
            f"{path} changes more than a plain LoRA does: {names}",
            cure="train it without them: only low-rank matrices (rsLoRA and DoRA too) are added to a student",
        )
    rank = config.get("r")
    if not isinstance(rank, int) or rank < 1:
        raise InvalidInputError(f"{path} has the rank r = {rank!r}, expected 1 or more", cure="train it again")
    return {name: value for name, value in config.items() if name in _TAKEN}


def read_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of a LoRA's matrices by name.

    Raises:
        NotFoundError: there is no adapter_model.safetensors.
        CorruptError: it is another format, or holds nothing.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        unsafe = " (only a pickle, which can run code when read)" if (folder / "adapter_model.bin").is_file() else ""
        raise NotFoundError(
            f"{folder} has no {WEIGHTS}{unsafe}", cure="save it again: model.save_pretrained(FOLDER) of peft"
        )
    shapes = dict(read_header(path).shapes)
    if not shapes:
        raise CorruptError(f"{path} holds no matrices", cure="train the LoRA again")
    strange = sorted(name for name in shapes if not re.search(r"\.lora_(A|B|magnitude_vector)(\.|$)", name))
    if strange:
        raise InvalidInputError(
            f"{path} holds {len(strange)} tensors that are no low-rank matrices: {', '.join(strange[:3])}",
            cure="train it without modules_to_save and without new tokens",
        )
    return shapes


def _read_manifest(folder: Path) -> LoraManifest:
    path = folder / MANIFEST
    if not path.is_file():
        raise NotFoundError(
            f"{folder} has no {MANIFEST}",
            cure="a LoRA that was trained elsewhere is taken in with: rjepa lora add NAME --llm BASE --from FOLDER",
        )
    try:
        return LoraManifest.model_validate(read_json(path))
    except ValidationError as error:
        fields = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise CorruptError(f"{path} does not say what a LoRA is: {fields}", cure="train the LoRA again") from error


def _check_file(path: Path, entry: FileEntry) -> None:
    if not path.is_file():
        raise NotFoundError(f"{path} does not exist", cure="put the file back, or train the LoRA again")
    size = path.stat().st_size
    if size != entry.size or sha256_file(path) != entry.sha256:
        raise CorruptError(
            f"{path} is not the file that was sealed: {size} bytes, expected {entry.size} with another hash",
            cure="put back the LoRA's folder as it was, or train it again",
        )


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
