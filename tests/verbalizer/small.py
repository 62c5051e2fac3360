"""A small decoder over the tiny student of `tests.tiny_release`: right chains, their latents, an R-JEPA for them."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rjepa.chains import parse_chain
from rjepa.jepa.config import EncoderConfig, JepaConfig, PredictorConfig
from rjepa.jepa.model import RJepa, build_model
from rjepa.jepa.reader import Reader
from rjepa.latents.normalizer import fit_normalizer
from rjepa.latents.sets import LatentSet
from rjepa.schemas import ChainOfThought, Problem
from rjepa.students.extraction import extract_latents
from rjepa.students.loading import Student
from rjepa.verbalizer.config import DecoderConfig, Form, Learns
from rjepa.verbalizer.texts import ChainTokens, Texts, known_tokens, right_chains
from rjepa.verbalizer.trainer import DecoderReport, train_decoder
from tests.tiny_release import addition


@dataclass(frozen=True)
class Small:
    """What decoders of the tiny student learn from."""

    problems: list[Problem]
    chains: list[ChainOfThought]
    latents: LatentSet
    tokens: ChainTokens
    world_model: tuple[RJepa, Reader]
    student: Student

    def texts(self, config: DecoderConfig) -> Texts:
        """Batches of all chains."""
        vocabulary = known_tokens(self.tokens, config.form, self.student.pieces.pieces)
        return Texts(self.tokens, self.latents, self.world_model, vocabulary, config)

    def train(self, config: DecoderConfig, folder: Path, made_for: str = "tests", **more: object) -> DecoderReport:
        """Train a decoder into a folder."""
        texts = self.texts(config)
        return train_decoder(config, texts, texts, self.world_model[1].columns_read, folder, "small", made_for, **more)  # type: ignore[arg-type]


def small(student: Student, world_model: tuple[RJepa, Reader] | None = None, count: int = 24) -> Small:
    """Additions in words, each with its right chain."""
    rng = random.Random(3)
    problems, chains, texts = [], [], []
    for number in range(count):
        statement, text, answer = addition(rng)
        problem_id = f"p{number}"
        problems.append(
            Problem(problem_id=problem_id, domain="math", source="test", statement=statement, answer_gold=answer)
        )
        parsed = parse_chain(text)
        chains.append(
            ChainOfThought(
                cot_id=f"c{number}", problem_id=problem_id, steps=parsed.steps, final_answer=answer, is_valid=True
            )
        )
        texts.append(text)
    found = [one for one in extract_latents(student, [one.statement for one in problems], texts) if one is not None]
    latents = LatentSet(
        latents=np.concatenate([one.latents for one in found]),
        offsets=np.concatenate([[0], np.cumsum([len(one.latents) for one in found])]).astype(np.int64),
        domains=np.zeros(count, dtype=np.int64),
        domain_names=("math",),
        first_error=np.full(count, -1, dtype=np.int64),
        problem_ids=[one.problem_id for one in problems],
        chain_ids=[one.cot_id for one in chains],
        splits=["train"] * count,
    )
    if world_model is None:
        config = JepaConfig(
            name="tiny", encoder=EncoderConfig(width=16, depth=1), predictor=PredictorConfig(width=8, depth=1)
        )
        model = build_model(config, student.width, ("math",)).eval()
        world_model = model, Reader.of(config, fit_normalizer(latents))
    tokens = right_chains(latents, problems, chains, student.tokenizer, student.record, max_tokens=200)
    return Small(problems, chains, latents, tokens, world_model, student)


def config(form: Form = "latent", learns: Learns = "both", updates: int = 30, **more: object) -> DecoderConfig:
    """A decoder that trains in a second or two."""
    optim = {"updates": updates, "batch_size": 12, "checkpoint_every": 5, "bf16": False, "learning_rate": 4e-3}
    return DecoderConfig.model_validate(
        {"name": "small", "form": form, "learns": learns, "width": 32, "depth": 2, "heads": 2, "optim": optim, **more}
    )
