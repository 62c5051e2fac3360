"""The rival that learns from every approval and serves what comes of it: no selection, no limits, no gate.

It goes on from its own last model with the same replay, so that what it lacks is the only difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from rjepa.chains import render_chain
from rjepa.database import Database
from rjepa.evaluation.evaluating import calibrate
from rjepa.evaluation.frozen import energies_of
from rjepa.evaluation.pool import CandidatePool
from rjepa.evaluation.stage import open_split
from rjepa.feedback.interactions import list_interactions
from rjepa.feedback.votes import list_votes
from rjepa.files import sha256_file
from rjepa.home import Home
from rjepa.inference.calibration import ScoreCalibration
from rjepa.jepa.checkpoint import MODEL_FILE, load_model
from rjepa.jepa.config import load_jepa_config
from rjepa.jepa.model import RJepa
from rjepa.jepa.reader import Reader
from rjepa.jepa.starting import Start
from rjepa.jepa.trainer import train
from rjepa.latents.normalizer import Normalizer
from rjepa.latents.sets import LatentSet, Prompts
from rjepa.latents.shards import open_latents
from rjepa.step_types import chain_types
from rjepa.students.loading import Student
from rjepa.students.rereading import read_chains

DOMAIN: Final = "feedback"


@dataclass(frozen=True)
class Approved:
    """A question and the answer that somebody approved."""

    interaction_id: str
    statement: str
    text: str


def approvals(database: Database) -> list[Approved]:
    """Every approved answer that is kept, whoever approved it."""
    up = {vote.interaction_id for vote in list_votes(database) if vote.vote == "up"}
    return [
        Approved(
            one.interaction_id, one.content.statement, render_chain(list(one.content.steps), one.content.final_answer)
        )
        for one in list_interactions(database)
        if one.interaction_id in up and one.content is not None and one.content.steps and one.content.final_answer
    ]


def retrain_on_everything(
    home: Home,
    student: Student,
    start: Path,
    known: frozenset[str],
    approved: Sequence[Approved],
    folder: Path,
    normalizer: Normalizer,
    *,
    base: str,
    calibrated_on: str,
) -> tuple[RJepa, ScoreCalibration]:
    """One night of the rival: its next model, in `folder`, and its calibration.

    Args:
        start: folder of its last model.
        known: ids of interactions that this model has learnt already.
        base: dataset version of the first release, whose chains are replayed.
        calibrated_on: version whose validation rollouts are used.
    """
    llm_tag = student.record.llm_tag
    latents = open_latents(home, llm_tag, base)
    old = latents.split("train")
    learnt = frozenset(old.problem_ids) | known
    data = with_chains(old, student, approved)
    first = Start("unfiltered", load_model(start), sha256_file(start / MODEL_FILE), learnt)
    config = load_jepa_config("nightly")
    train(config, data, latents.split("validation"), normalizer, folder, start=first)
    model = load_model(folder)
    rollouts = open_split(home, llm_tag, calibrated_on, "validation")
    world_model = model, Reader.of(model.config, normalizer)
    pool = CandidatePool.from_rollouts(rollouts, energies_of(world_model, rollouts.latents))
    return model, calibrate(pool)


def with_chains(old: LatentSet, student: Student, approved: Sequence[Approved]) -> LatentSet:
    """A set and the approved chains after it, as right ones, in a domain of their own."""
    if not approved:
        return old
    read = read_chains(student, [one.statement for one in approved], [one.text for one in approved])
    chains = [chain.latents for chain in read if chain.latents is not None]
    sentences = [chain.sentences for chain in read if chain.sentences is not None]
    assert len(chains) == len(sentences) == len(read)  # both were asked for
    assert old.prompts is not None and old.prompt_of is not None  # latents that rjepa made hold them
    lengths = [len(chain) for chain in chains]
    prompts = Prompts(
        np.concatenate([old.prompts.sentences, *sentences]),
        np.concatenate([old.prompts.offsets, old.prompts.offsets[-1] + np.cumsum([len(rows) for rows in sentences])]),
    )
    names = (*old.domain_names, *([] if DOMAIN in old.domain_names else [DOMAIN]))
    types = None
    if old.types is not None:
        types = np.concatenate([old.types, chain_types([one.text for one in approved], lengths, read[0].segmentation)])
    count = len(approved)
    return LatentSet(
        latents=np.concatenate([old.latents, *chains]),
        offsets=np.concatenate([old.offsets, old.offsets[-1] + np.cumsum(lengths)]).astype(np.int64),
        domains=np.concatenate([old.domains, np.full(count, names.index(DOMAIN))]),
        domain_names=names,
        first_error=np.concatenate([old.first_error, np.full(count, -1)]),
        problem_ids=[*old.problem_ids, *(one.interaction_id for one in approved)],  # type: ignore[arg-type]
        chain_ids=[*old.chain_ids, *(one.interaction_id for one in approved)],  # type: ignore[arg-type]
        splits=[*old.splits, *(["train"] * count)],  # type: ignore[arg-type]
        prompts=prompts,
        prompt_of=np.concatenate([old.prompt_of, len(old.prompts) + np.arange(count)]),
        types=types,
    )
