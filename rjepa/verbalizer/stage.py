"""The verbaliser's stages for one student and one dataset: train a decoder, measure it, write what it says.

Reads latents, chains and the trained R-JEPA, calls, writes files. The alpha of guidance is chosen above, where modes
are run (`rjepa.evaluation.guided`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from transformers import AutoTokenizer

from rjepa.adapters.opening import open_world_model
from rjepa.datasets.reading import load_chains, load_problems
from rjepa.device import best_device
from rjepa.errors import InvalidInputError
from rjepa.files import sha256_file, sha256_json, write_json
from rjepa.home import Home
from rjepa.jepa.model import RJepa
from rjepa.jepa.reader import Reader
from rjepa.latents.sets import LatentSet
from rjepa.latents.shards import open_latents
from rjepa.latents.versions import MANIFEST
from rjepa.progress import Progress, silent
from rjepa.sampling.opening import open_source
from rjepa.sampling.protocol import ChainSource
from rjepa.schemas import ChainOfThought, Problem
from rjepa.stages import Made, StageReport
from rjepa.students.catalog import StudentRecord, load_record
from rjepa.students.loading import loadable_folder, read_config
from rjepa.students.resolving import check_student, resolve_student
from rjepa.students.segmentation import TokenPieces, token_pieces
from rjepa.verbalizer.checkpoint import load_decoder
from rjepa.verbalizer.config import DecoderConfig, load_decoder_config
from rjepa.verbalizer.familiar import Familiarity
from rjepa.verbalizer.made import current_world_model, verbalizer_folder
from rjepa.verbalizer.measuring import SpokenReport, measure_spoken, report_table
from rjepa.verbalizer.model import Decoder
from rjepa.verbalizer.texts import ChainTokens, Texts, known_tokens, right_chains
from rjepa.verbalizer.trainer import DecoderReport, train_decoder

MEASURES_FILE: Final = "measures.json"


@dataclass(frozen=True)
class Material:
    """All that decoders of one student and dataset are made from. Opened once, shared by several of them."""

    record: StudentRecord
    pieces: TokenPieces
    world_model: tuple[RJepa, Reader]
    problems: list[Problem]
    chains: list[ChainOfThought]
    train: LatentSet
    validation: LatentSet
    train_tokens: ChainTokens
    validation_tokens: ChainTokens
    inputs: str
    """a hash of what all of it comes from"""
    made_for: str
    """names the R-JEPA"""

    @property
    def columns(self) -> int:
        """Columns of the latents that R-JEPA reads."""
        return self.world_model[1].columns_read

    @classmethod
    def open(cls, home: Home, llm_tag: str, dataset: str, max_tokens: int) -> "Material":
        """Open latents, chains, R-JEPA and the student's tokenizer.

        Raises:
            NotFoundError: one of them is not made yet.
            InvalidInputError: the R-JEPA predicts no raw latents, or has another student than the tokenizer is of.
        """
        resolved = resolve_student(home, load_record(home, llm_tag))
        world_model = open_world_model(home, llm_tag, dataset)
        check_world_model(world_model[0])
        latents = open_latents(home, llm_tag, dataset, fingerprint=resolved.fingerprint)
        check_student(f"latents of {dataset}", resolved.fingerprint, resolved)
        tokenizer = AutoTokenizer.from_pretrained(
            loadable_folder(resolved), local_files_only=True, trust_remote_code=False
        )
        config = read_config(resolved)
        size = int((config.get("text_config") or config).get("vocab_size", len(tokenizer)))
        problems, chains = load_problems(home, dataset), load_chains(home, dataset, only_valid=True)
        train, validation = latents.split("train"), latents.split("validation")

        def tokens(latent_set: LatentSet) -> ChainTokens:
            return right_chains(latent_set, problems, chains, tokenizer, resolved.record, max_tokens=max_tokens)

        made_for = current_world_model(home, llm_tag, dataset)
        latents_hash = sha256_file(home.latents(llm_tag, dataset) / MANIFEST)
        return cls(
            record=resolved.record,
            pieces=token_pieces(tokenizer, size),
            world_model=world_model,
            problems=problems,
            chains=chains,
            train=train,
            validation=validation,
            train_tokens=tokens(train),
            validation_tokens=tokens(validation),
            inputs=sha256_json([made_for, latents_hash, resolved.fingerprint]),
            made_for=made_for,
        )

    def texts(self, config: DecoderConfig) -> tuple[Texts, Texts]:
        """Batches of the training and of the validation chains, for a decoder."""
        vocabulary = known_tokens(self.train_tokens, config.form, self.pieces.pieces)
        train = Texts(self.train_tokens, self.train, self.world_model, vocabulary, config)
        return train, Texts(self.validation_tokens, self.validation, self.world_model, vocabulary, config)

    def train_into(self, folder: Path, config: DecoderConfig, progress: Progress = silent) -> DecoderReport:
        """Train a decoder into a folder, or go on with it (errors as `train_decoder`)."""
        train, held_out = self.texts(config)
        return train_decoder(
            config, train, held_out, self.columns, folder, self.inputs, self.made_for, progress, best_device()
        )

    def familiarity(self) -> Familiarity:
        """Which problems are familiar, from the prompts of training and validation chains."""
        return Familiarity.fit(self._prompts(self.train), self._prompts(self.validation))

    def _prompts(self, latents: LatentSet) -> torch.Tensor:
        _, first = np.unique(latents.problem_ids.numbers(), return_index=True)
        rows = np.asarray(latents.latents[latents.offsets[:-1][np.sort(first)]])
        return torch.from_numpy(self.world_model[1].read(rows))


def check_world_model(model: RJepa) -> None:
    """Refuse an R-JEPA that expects no latents that could be spoken.

    Raises:
        InvalidInputError: so it is.
    """
    if model.config.loss.raw == 0 or not model.config.encoder.causal:
        raise InvalidInputError(
            f"config {model.config.name!r} expects no latent of the next step in the student's own space",
            cure="train a causal config with loss.raw above 0, such as full, and make the decoder again",
        )


def build_verbalizer(
    home: Home, llm_tag: str, dataset: str, recipe: str = "speaking", progress: Progress = silent
) -> Made:
    """Train the decoder `recipe` of configs/verbalizer/, or go on with it, and measure what it says."""
    config = load_decoder_config(recipe)
    material = Material.open(home, llm_tag, dataset, config.max_tokens)
    folder = verbalizer_folder(home, llm_tag, dataset)
    report = material.train_into(folder, config, progress)
    source = open_source(home, resolve_student(home, load_record(home, llm_tag)), "auto")
    try:
        found = measure_decoder(load_decoder(folder, best_device()), material, source)
    finally:
        source.close()
    write_json(folder / MEASURES_FILE, [one.model_dump(mode="json") for one in found])
    return Made(StageReport(report.data_version, _figures(recipe, report, found)), {"spoken": report_table(found)})


def measure_decoder(decoder: Decoder, material: Material, source: ChainSource) -> list[SpokenReport]:
    """What a decoder says of validation chains, from each kind of latent and under each control; and what the student
    says there by itself.
    """
    _, held_out = material.texts(decoder.config)
    student = source, material.world_model[1]
    return measure_spoken(decoder, held_out, material.problems, material.chains, material.validation, student)


def _figures(recipe: str, report: DecoderReport, found: Sequence[SpokenReport]) -> dict[str, int | float | str]:
    figures: dict[str, int | float | str] = {
        "recipe": recipe,
        "parameters": report.parameters,
        "updates": report.updates,
        "seconds": report.seconds,
        "chains": report.chains,
        "vocabulary": report.vocabulary,
        "loss": report.curve[-1]["total"] if report.curve else 0.0,
    }
    for one in found:
        if one.domain == "all":
            figures |= {f"exact_{one.source}": one.exact, f"last_number_{one.source}": one.last_number}
            figures |= {f"valid_{one.source}": one.valid}
            figures |= {} if one.round_trip is None else {f"round_trip_{one.source}": one.round_trip}
    return figures
