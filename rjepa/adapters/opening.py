"""The R-JEPA of a student and a dataset, wherever it comes from: trained on the student's own latents (native), or on
another student's and carried over by an adapter.

Both may be there; which one is meant where none is named is said in `rjepa.adapters.in_use`. What was carried lies in
one folder, laid out as in a release bundle, with the source's files copied: the source may be trained again, or go, and
what was carried stays what it was.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from rjepa.adapters.adapter import Adapter, AdapterFacts, read_facts
from rjepa.adapters.in_use import carried_folder, in_use
from rjepa.device import best_device
from rjepa.errors import CorruptError, InvalidInputError
from rjepa.files import sha256_file, sha256_json
from rjepa.home import Home
from rjepa.jepa.checkpoint import MODEL_FILE, load_model
from rjepa.jepa.model import RJepa
from rjepa.jepa.reader import Reader
from rjepa.jepa.stage import model_folder, normalizer_file
from rjepa.latents.normalizer import load_normalizer
from rjepa.latents.shards import latent_fingerprint
from rjepa.parts import ADAPTER_FOLDER, MODEL_FOLDER, NORMALIZER

_CURE: Final = "materialise adapter again, or rjepa_checkpoint to train on the student's own latents"


@dataclass(frozen=True)
class WorldModelFiles:
    """Where the files of one R-JEPA lie: `model` and `adapter` are folders; no adapter for a native one."""

    model: Path
    normalizer: Path
    adapter: Path | None = None

    @classmethod
    def laid_out(cls, folder: Path) -> "WorldModelFiles":
        """Those of a release bundle, or of a folder laid out like one."""
        adapter = folder / ADAPTER_FOLDER
        return cls(folder / MODEL_FOLDER, folder / NORMALIZER, adapter if adapter.is_dir() else None)

    def open(self, device: torch.device | str | None = None) -> tuple[RJepa, Reader]:
        """The model, on the best device there is or the one named, and what it reads latents through.

        Raises:
            NotFoundError: a file is missing.
            CorruptError: a file is not what it should be, or the adapter was fitted for another R-JEPA.
        """
        adapter = None if self.adapter is None else Adapter.load(self.adapter)
        if adapter is not None:
            self._check(adapter.facts)
        model = load_model(self.model, best_device() if device is None else device)
        return model, Reader.of(model.config, load_normalizer(self.normalizer), adapter)

    def carried(self) -> AdapterFacts | None:
        """What the adapter says of itself; None for a native R-JEPA.

        Raises:
            NotFoundError, CorruptError: its files are not all there, or do not belong together.
        """
        return None if self.adapter is None else read_facts(self.adapter)

    def sha256(self) -> str:
        """What names this R-JEPA: a hash over its weights, its normaliser, and its adapter where it has one.

        Raises:
            OSError: a file is missing.
        """
        hashes = [sha256_file(self.model / MODEL_FILE), sha256_file(self.normalizer)]
        facts = self.carried()
        return sha256_json(hashes if facts is None else [*hashes, facts.model_dump(mode="json")])

    def _check(self, facts: AdapterFacts) -> None:
        found = sha256_file(self.model / MODEL_FILE), sha256_file(self.normalizer)
        if found != (facts.model_sha256, facts.normalizer_sha256):
            raise CorruptError(
                f"the adapter in {self.adapter} was fitted for another R-JEPA of {facts.source.llm_tag} than the one "
                "beside it",
                cure=_CURE,
            )


def files_in_use(home: Home, llm_tag: str, dataset: str) -> WorldModelFiles:
    """The files of the R-JEPA in use. Whether they are there is not looked at."""
    if in_use(home, llm_tag, dataset) == "carried":
        folder = carried_folder(home, llm_tag, dataset)
        return WorldModelFiles(folder / MODEL_FOLDER, folder / NORMALIZER, folder / ADAPTER_FOLDER)
    return WorldModelFiles(model_folder(home, llm_tag, dataset), normalizer_file(home, llm_tag, dataset))


def open_world_model(home: Home, llm_tag: str, dataset: str) -> tuple[RJepa, Reader]:
    """The R-JEPA in use for a student and dataset, on the best device there is, and what it reads latents through.

    Raises:
        NotFoundError: there is none yet.
        CorruptError: a file is not what it should be.
        InvalidInputError: it was carried to a student with other weights than those that made the latents.
    """
    files = files_in_use(home, llm_tag, dataset)
    facts = files.carried()
    if facts is not None:
        check_target(facts, latent_fingerprint(home, llm_tag, dataset))
    return files.open()


def check_target(facts: AdapterFacts, fingerprint: str) -> None:
    """Refuse an adapter for another student than that of this fingerprint.

    Raises:
        InvalidInputError: so it is.
    """
    if facts.target.fingerprint != fingerprint:
        raise InvalidInputError(
            f"the adapter from {facts.source.llm_tag} was fitted for {facts.target.llm_tag} as it was "
            f"({facts.target.fingerprint[:12]}), {facts.target.llm_tag} is {fingerprint[:12]} now",
            cure="materialise adapter again",
        )
