"""A run that goes on from a trained model: it begins where that ended, and is resumed like any other."""

import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rjepa.errors import InvalidInputError
from rjepa.inference.scoring import segment_energies
from rjepa.jepa.checkpoint import MODEL_FILE, TRAINING_FILE, load_model
from rjepa.jepa.config import JepaConfig, OptimConfig, ReplayConfig
from rjepa.jepa.model import RJepa
from rjepa.jepa.reader import Reader
from rjepa.jepa.starting import Start, replay_order
from rjepa.jepa.trainer import TrainReport, train
from rjepa.latents.normalizer import fit_normalizer
from rjepa.latents.sets import LatentSet
from tests.jepa.synthetic import synthetic_set, tiny_config

pytestmark = pytest.mark.slow

OLD = synthetic_set(60, seed=1)
VALIDATION = synthetic_set(20, seed=2, split="validation")
NORMALIZER = fit_normalizer(OLD)


def joined(one: LatentSet, two: LatentSet) -> LatentSet:
    """The chains of both, those of the second in a domain of their own."""
    assert one.prompts is not None and two.prompts is not None
    assert one.prompt_of is not None and two.prompt_of is not None
    assert one.types is not None and two.types is not None
    sentences = np.concatenate([one.prompts.sentences, two.prompts.sentences])
    offsets = np.concatenate([one.prompts.offsets, two.prompts.offsets[1:] + one.prompts.offsets[-1]])
    return LatentSet(
        latents=np.concatenate([one.latents, two.latents]),
        offsets=np.concatenate([one.offsets, two.offsets[1:] + one.offsets[-1]]),
        domains=np.concatenate([one.domains, np.full(len(two), len(one.domain_names))]),
        domain_names=(*one.domain_names, "algebra"),
        first_error=np.concatenate([one.first_error, two.first_error]),
        problem_ids=[*one.problem_ids, *(f"new-{name}" for name in two.problem_ids)],
        chain_ids=[*one.chain_ids, *(f"new-{name}" for name in two.chain_ids)],
        splits=[*one.splits, *two.splits],
        prompts=replace(one.prompts, sentences=sentences, offsets=offsets),
        prompt_of=np.concatenate([one.prompt_of, two.prompt_of + len(one.prompts)]),
        types=np.concatenate([one.types, two.types]),
    )


BOTH = joined(OLD, synthetic_set(16, seed=5))


def nightly(updates: int = 12, ewc: float = 0.0) -> JepaConfig:
    optim = OptimConfig(updates=updates, batch_size=16, learning_rate=1e-3, checkpoint_every=5, bf16=False)
    replay = ReplayConfig(per_domain=20, ewc=ewc, ewc_chains=8)
    return JepaConfig(name="nightly", init_from="served", replay=replay, optim=optim, seed=4)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Start:
    folder = tmp_path_factory.mktemp("start")
    report = train(tiny_config(optim={"updates": 30}), OLD, VALIDATION, NORMALIZER, folder)
    return Start("20260101T000000Z-0123456789ab", load_model(folder), report.data_version, frozenset(OLD.problem_ids))


def go_on(folder: Path, start: Start, config: JepaConfig, data: LatentSet = BOTH) -> TrainReport:
    return train(config, data, VALIDATION, NORMALIZER, folder, start=start)


def test_without_an_update_every_energy_is_that_of_the_start(tmp_path: Path, start: Start) -> None:
    go_on(tmp_path, start, nightly(updates=0))
    for before, after in zip(
        segment_energies(start.model, Reader.of(start.model.config, NORMALIZER), BOTH),
        segment_energies(load_model(tmp_path), Reader.of(start.model.config, NORMALIZER), BOTH),
        strict=True,
    ):
        np.testing.assert_array_equal(before, after)


def test_it_learns_what_is_new_and_keeps_what_is_old(tmp_path: Path, start: Start) -> None:
    report = go_on(tmp_path, start, nightly(updates=40))
    assert report.new_chains == 16 and report.replayed_chains == 20
    model = load_model(tmp_path)
    assert model.config.init_from == start.release and model.domain_names == (*start.model.domain_names, "algebra")

    def mean(of: RJepa, chains: LatentSet) -> float:
        reader = Reader.of(of.config, NORMALIZER)
        return float(np.mean([energies.mean() for energies in segment_energies(of, reader, chains)]))

    right = BOTH.select(BOTH.first_error < 0)
    new = right.select(np.array([name.startswith("new-") for name in right.problem_ids]))
    assert mean(model, new) < mean(start.model, new)
    assert mean(model, VALIDATION) < 1.1 * mean(start.model, VALIDATION)


def test_a_strong_pull_leaves_the_weights_nearer_to_the_start(tmp_path: Path, start: Start) -> None:
    def moved(name: str, ewc: float) -> float:
        go_on(tmp_path / name, start, nightly(updates=20, ewc=ewc))
        ours, theirs = load_model(tmp_path / name).state_dict(), start.model.state_dict()
        return float(sum((ours[key] - theirs[key]).square().sum() for key in theirs if "domain" not in key))

    assert moved("held", 1e3) < moved("free", 0.0)


def _train_slowly(folder: Path, start: Start) -> None:
    torch.set_num_threads(1)

    def slowly(done: int, total: int, note: str = "") -> None:
        time.sleep(0.05)

    train(nightly(), BOTH, VALIDATION, NORMALIZER, folder, slowly, start=start)


def test_killed_in_the_middle_it_ends_in_the_same_bits(tmp_path: Path, start: Start) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the other process: more threads add in another order
    whole = go_on(tmp_path / "whole", start, nightly())
    process = multiprocessing.get_context("fork").Process(target=_train_slowly, args=(tmp_path / "killed", start))
    process.start()
    while not (tmp_path / "killed" / TRAINING_FILE).exists():
        assert process.is_alive()
        time.sleep(0.01)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert not (tmp_path / "killed" / MODEL_FILE).exists()
    assert go_on(tmp_path / "killed", start, nightly()).data_version == whole.data_version
    torch.set_num_threads(threads)


def test_latents_of_another_width_are_refused_with_a_cure(tmp_path: Path, start: Start) -> None:
    narrow = replace(BOTH, latents=BOTH.latents[:, :12].copy())
    with pytest.raises(InvalidInputError, match="24 wide, these are 12"):
        go_on(tmp_path, start, nightly(), narrow)


def test_another_start_is_another_run(tmp_path: Path, start: Start) -> None:
    first = go_on(tmp_path, start, nightly())
    knows_all = replace(start, learnt=frozenset(BOTH.problem_ids))
    assert go_on(tmp_path, knows_all, nightly()).fingerprint != first.fingerprint


def test_what_an_operator_weighs_more_is_shown_more_and_makes_another_run(tmp_path: Path, start: Start) -> None:
    new = next(problem for problem in BOTH.problem_ids if problem not in start.learnt)
    heavier = replace(start, weights={new: 4.0})
    config = heavier.config_for(nightly())
    assert config.replay is not None
    order = replay_order(heavier, BOTH, Reader.of(config, NORMALIZER), config, config.replay)
    seen = [BOTH.problem_ids[chain] for update in range(8 * order.per_epoch) for chain in order.chains(update)]
    others = [seen.count(other) for other in set(BOTH.problem_ids) - start.learnt - {new}]
    assert seen.count(new) > 2.5 * float(np.mean(others))
    assert go_on(tmp_path, heavier, nightly()).fingerprint != go_on(tmp_path, start, nightly()).fingerprint
