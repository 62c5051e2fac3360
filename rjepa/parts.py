"""What a released or trained R-JEPA is made of: named, typed parts, each with the hashes of its files.

An evaluation names what it judged by the content described here, and a release bundle is named by the same content, so
that the two can be told to be about the same bytes. Copying parts into a bundle and verifying them lives in
`rjepa.releases.bundle`; reading a part lives in the room that writes it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.files import sha256_file, sha256_json

PartName = Literal["reader", "world_model", "calibration", "verbalizer", "guidance", "adapter", "student_lora"]
"""What a part does. A release has at most one part of each name."""

PartKind = Literal[
    "normalizer", "rjepa", "score_calibration", "latent_decoder", "logit_guidance", "latent_adapter", "lora"
]
"""How a part's files are read. A second implementation of a part is another kind under the same name."""

NORMALIZER: Final = "normalizer.safetensors"
CALIBRATION: Final = "calibration.json"
MODEL_FOLDER: Final = "model"
MODEL_FILES: Final = ("config.json", "model.safetensors")
"""What `rjepa.jepa.checkpoint` reads back. Optimiser state and logs stay with the checkpoint: they are not served."""

ADAPTER_FOLDER: Final = "adapter"
ADAPTER_FILES: Final = ("adapter.safetensors", "adapter.json")
"""What `rjepa.adapters.adapter` reads back, for an R-JEPA that was trained on another student's latents."""

LORA_FOLDER: Final = "lora"
LORA_FILES: Final = ("adapter_config.json", "adapter_model.safetensors", "lora.json")
"""What `rjepa.students.lora.files` reads back. The student is loaded from the home all the same; a release keeps the
LoRA that it was made for, should the home's be trained again."""

VERBALIZER_FOLDER: Final = "verbalizer"
VERBALIZER_FILES: Final = ("model.safetensors",)
GUIDANCE_FOLDER: Final = "guidance"
GUIDANCE_FILES: Final = ("model.safetensors", "guidance.json", "familiar.safetensors")
"""What `rjepa.verbalizer` reads back of a decoder, and of a decoder that guides."""
GUIDED_CALIBRATION: Final = f"{GUIDANCE_FOLDER}/{CALIBRATION}"
"""Fitted to guided chains; not there where validation problems were too few to fit on, nor in older releases."""

_GIVEN_BY: Final[Mapping[PartName, str]] = {
    "reader": "materialise latent_normalizer",
    "world_model": "materialise rjepa_checkpoint",
    "calibration": "materialise score_calibration",
    "verbalizer": "materialise latent_decoder (rjepa backfill --decoders)",
    "guidance": "materialise logit_guidance (rjepa backfill --decoders)",
    "adapter": "materialise adapter",
    "student_lora": "materialise student_lora",
}

_SPEAKING: Final[frozenset[PartName]] = frozenset({"verbalizer", "guidance"})
"""Parts that a choice among candidates does not depend on."""

_SHA256: Final = r"^[0-9a-f]{64}$"


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Value):
    """Size in bytes and hex SHA-256 of one file."""

    size: int = Field(ge=0)
    sha256: str = Field(pattern=_SHA256)


class Part(_Value):
    """One part: `files` by their path inside a bundle, and one hash over all of them."""

    name: PartName
    kind: PartKind
    files: dict[str, FileEntry] = Field(min_length=1)
    sha256: str = Field(pattern=_SHA256)

    @model_validator(mode="after")
    def _check_hash(self) -> Self:
        if self.sha256 != _hash_files(self.files):
            raise ValueError(f"the hash of part {self.name} is not that of its files")
        return self


class Content(_Value):
    """What decides how an R-JEPA answers: its parts, the student they were made for, the dataset they come from."""

    llm_tag: str
    dataset: str = Field(description="dataset version that the parts were fitted on")
    dataset_hash: str = Field(description="data_hash of that dataset's manifest")
    student_fingerprint: str = Field(description="SHA-256 of weights, tokenizer, config, layer, poolings and prompt")
    parts: tuple[Part, ...]

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = [part.name for part in self.parts]
        if len(set(names)) < len(names):
            raise ValueError(f"every part may be there once, found {names}")
        return self

    @property
    def files(self) -> dict[str, FileEntry]:
        """Every file of every part, by its path inside a bundle."""
        return {name: entry for part in self.parts for name, entry in part.files.items()}

    @property
    def sha256(self) -> str:
        """Content id: equal parts for the same student and dataset are one content, wherever and whenever made."""
        return sha256_json(
            {
                "files": {name: entry.sha256 for name, entry in self.files.items()},
                "llm": self.llm_tag,
                "dataset": self.dataset,
                "data": self.dataset_hash,
                "student": self.student_fingerprint,
            }
        )

    def part(self, name: PartName) -> Part | None:
        """The part of this name; None where there is none."""
        return next((part for part in self.parts if part.name == name), None)

    def chooses_as(self, other: "Content") -> bool:
        """Whether it chooses the same of the same candidates: what speaks and guides may differ."""
        mine, others = (
            (
                one.dataset_hash,
                one.student_fingerprint,
                {part.name: part.sha256 for part in one.parts if part.name not in _SPEAKING},
            )
            for one in (self, other)
        )
        return mine == others

    def has(self, names: Collection[PartName]) -> bool:
        """Whether these parts are there."""
        return all(self.part(name) is not None for name in names)

    def require(self, names: Collection[PartName], what: str) -> None:
        """Refuse to do what needs a part that is not there.

        Raises:
            InvalidInputError: one is missing; the cure says what would give it.
        """
        missing = sorted(name for name in names if self.part(name) is None)
        if missing:
            raise InvalidInputError(
                f"{what} needs the part {', '.join(missing)}, which the release of {self.llm_tag} does not have",
                cure=f"{', '.join(_GIVEN_BY[name] for name in missing)}, then release again",
            )


@dataclass(frozen=True)
class PartSource:
    """The files of one part, wherever their assets wrote them, by the path that they get inside a bundle."""

    name: PartName
    kind: PartKind
    files: Mapping[str, Path]


def reranking_parts(model: Path, normalizer: Path, calibration: Path) -> tuple[PartSource, ...]:
    """The three parts that mode `rerank` needs.

    Args:
        model: folder with `config.json` and `model.safetensors`.
        normalizer: file of the reader's location and scale.
        calibration: file of the fitted scores and P(correct).
    """
    return (
        PartSource("reader", "normalizer", {NORMALIZER: normalizer}),
        PartSource("world_model", "rjepa", {f"{MODEL_FOLDER}/{name}": model / name for name in MODEL_FILES}),
        PartSource("calibration", "score_calibration", {CALIBRATION: calibration}),
    )


def lora_part(folder: Path) -> PartSource:
    """The LoRA of the student that all other parts were made for."""
    return PartSource("student_lora", "lora", {f"{LORA_FOLDER}/{name}": folder / name for name in LORA_FILES})


def adapter_part(folder: Path) -> PartSource:
    """The part by which an R-JEPA of another student reads this one's latents, from the folder that holds it."""
    files = {f"{ADAPTER_FOLDER}/{name}": folder / name for name in ADAPTER_FILES}
    return PartSource("adapter", "latent_adapter", files)


def verbalizer_part(folder: Path) -> PartSource:
    """The part that puts latents into words, from the folder that `latent_decoder` made."""
    files = {f"{VERBALIZER_FOLDER}/{name}": folder / name for name in VERBALIZER_FILES}
    return PartSource("verbalizer", "latent_decoder", files)


def guidance_part(folder: Path) -> PartSource:
    """The part that mode `nudge` needs besides, from the folder that `logit_guidance` made."""
    files = {f"{GUIDANCE_FOLDER}/{name}": folder / name for name in GUIDANCE_FILES}
    if (folder / CALIBRATION).is_file():
        files[GUIDED_CALIBRATION] = folder / CALIBRATION
    return PartSource("guidance", "logit_guidance", files)


def describe_parts(sources: Sequence[PartSource]) -> tuple[Part, ...]:
    """Hash the files of every part.

    Raises:
        NotFoundError: a file is missing.
    """
    parts = []
    for source in sources:
        for path in source.files.values():
            if not path.exists():
                raise NotFoundError(f"{path} does not exist", cure=_GIVEN_BY[source.name])
        files = {
            name: FileEntry(size=path.stat().st_size, sha256=sha256_file(path)) for name, path in source.files.items()
        }
        parts.append(Part(name=source.name, kind=source.kind, files=files, sha256=_hash_files(files)))
    return tuple(parts)


def _hash_files(files: Mapping[str, FileEntry]) -> str:
    return sha256_json({name: entry.sha256 for name, entry in files.items()})
