"""A run is a function of its config and data: killed, resumed or repeated, it ends in the same bits."""

import dataclasses
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from rjepa.errors import CorruptError, InvalidInputError, NotFoundError
from rjepa.inference.scoring import segment_energies
from rjepa.jepa.batches import Assembler
from rjepa.jepa.checkpoint import MODEL_FILE, TRAINING_FILE, load_model
from rjepa.jepa.config import EncoderConfig, JepaConfig, LossConfig, load_jepa_config
from rjepa.jepa.diagnostics import diagnose
from rjepa.jepa.identity import fingerprint_of
from rjepa.jepa.losses import raw_error
from rjepa.jepa.masks import causal_view
from rjepa.jepa.reader import Reader
from rjepa.jepa.runs import REPORT_FILE
from rjepa.jepa.trainer import TrainReport, train
from rjepa.latents.normalizer import Normalizer, fit_normalizer
from rjepa.latents.sets import LatentSet
from tests.jepa.synthetic import synthetic_set, tiny_config

pytestmark = pytest.mark.slow

TRAIN = synthetic_set(100, seed=1)
VALIDATION = synthetic_set(20, seed=2, split="validation")
NORMALIZER = fit_normalizer(TRAIN)
RANK = LossConfig(infonce=0.1, rank=1.0)


class Stop(Exception):
    """Raised by a progress callback to end a run in the middle."""


SAMPLED = synthetic_set(30, seed=3)
"""What a student wrote: right and wrong chains, of problems that need not be in the training set."""


def run(
    folder: Path,
    config: JepaConfig,
    data: LatentSet = TRAIN,
    stop_at: int | None = None,
    sampled: LatentSet | None = None,
    trunk: Path | None = None,
) -> TrainReport:
    def watch(done: int, total: int, note: str = "") -> None:
        if done == stop_at:
            raise Stop

    return train(config, data, VALIDATION, NORMALIZER, folder, watch, sampled=sampled, trunk=trunk)


@pytest.mark.parametrize(("loss", "stop_at"), [(LossConfig(), 7), (RANK, 5), (RANK, 11)])
def test_resumed_training_equals_uninterrupted(tmp_path: Path, loss: LossConfig, stop_at: int) -> None:
    config = tiny_config(loss=loss, optim={"bf16": True})
    whole = run(tmp_path / "whole", config)
    with pytest.raises(Stop):
        run(tmp_path / "cut", config, stop_at=stop_at)
    assert not (tmp_path / "cut" / MODEL_FILE).exists()
    resumed = run(tmp_path / "cut", config)
    assert (tmp_path / "cut" / MODEL_FILE).read_bytes() == (tmp_path / "whole" / MODEL_FILE).read_bytes()
    assert dataclasses.replace(resumed, seconds=0) == dataclasses.replace(whole, seconds=0)


def test_a_students_own_wrong_chains_are_negatives_and_a_resumed_run_draws_the_same(tmp_path: Path) -> None:
    config = tiny_config(loss=RANK)
    whole = run(tmp_path / "whole", config, sampled=SAMPLED)
    assert whole.wrong_chains == 100 + 30
    without = run(tmp_path / "without", config)
    assert whole.fingerprint != without.fingerprint and whole.data_version != without.data_version
    with pytest.raises(Stop):
        run(tmp_path / "cut", config, stop_at=7, sampled=SAMPLED)
    assert run(tmp_path / "cut", config, sampled=SAMPLED).data_version == whole.data_version


def test_labels_can_come_from_the_students_own_chains_alone(tmp_path: Path) -> None:
    right = TRAIN.select(TRAIN.first_error < 0)
    config = tiny_config(loss=RANK)
    with pytest.raises(InvalidInputError, match="nor did the student write one"):
        run(tmp_path / "none", config, data=right)
    with pytest.raises(InvalidInputError, match="nor did the student write one"):
        run(tmp_path / "no-wrong-one", config, data=right, sampled=right)
    report = run(tmp_path / "own", config, data=right, sampled=SAMPLED)
    assert report.wrong_chains == 30 and "rank" in report.curve[-1] and report.unmoved == []


def test_a_head_on_a_trained_trunk_leaves_the_trunk_as_it_was(tmp_path: Path) -> None:
    run(tmp_path / "trunk", tiny_config())
    config = tiny_config(name="head", trunk="trunk", loss=LossConfig(rank=1.0), energy="rank")
    report = run(tmp_path / "whole", config, sampled=SAMPLED, trunk=tmp_path / "trunk")
    assert report.unmoved == [] and set(report.curve[-1]) == {"update", "total", "rank", "gradient_norm"}
    trunk, head = load_model(tmp_path / "trunk"), load_model(tmp_path / "whole")
    learnt = head.state_dict()
    assert all(torch.equal(tensor, learnt[name]) for name, tensor in trunk.state_dict().items())
    assert {name.split(".")[0] for name in learnt} - {"rank_head"} == {"context", "predictor", "target"}
    reader = Reader.of(head.config, NORMALIZER)
    ours, theirs = (segment_energies(model, reader, VALIDATION, energy="raw") for model in (head, trunk))
    assert all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))

    with pytest.raises(Stop):
        run(tmp_path / "cut", config, stop_at=7, sampled=SAMPLED, trunk=tmp_path / "trunk")
    assert run(tmp_path / "cut", config, sampled=SAMPLED, trunk=tmp_path / "trunk").data_version == report.data_version

    run(tmp_path / "trunk", tiny_config(seed=5))
    other = run(tmp_path / "cut", config, sampled=SAMPLED, trunk=tmp_path / "trunk")
    assert other.data_version != report.data_version, "a trunk that was trained again makes another run"
    wider = config.model_copy(update={"encoder": config.encoder.model_copy(update={"width": 48})})
    with pytest.raises(InvalidInputError, match="shape of its trunk 'trunk'"):
        run(tmp_path / "wider", wider, sampled=SAMPLED, trunk=tmp_path / "trunk")
    with pytest.raises(NotFoundError):
        run(tmp_path / "alone", config, sampled=SAMPLED, trunk=tmp_path / "nothing")


def test_a_head_is_trained_on_updates_that_draw_no_wrong_chain_too(tmp_path: Path) -> None:
    few = TRAIN.select(
        np.concatenate([np.flatnonzero(TRAIN.first_error < 0), np.flatnonzero(TRAIN.first_error >= 0)[:1]])
    )
    run(tmp_path / "trunk", tiny_config(), data=few)
    config = tiny_config(name="head", trunk="trunk", loss=LossConfig(rank=1.0), energy="rank", optim={"batch_size": 8})
    report = run(tmp_path / "head", config, data=few, trunk=tmp_path / "trunk")
    assert report.wrong_chains == 1 and report.updates == 12 and report.unmoved == []


def test_a_config_without_labels_does_not_look_at_them(tmp_path: Path) -> None:
    alone = run(tmp_path / "alone", tiny_config())
    assert run(tmp_path / "beside", tiny_config(), sampled=SAMPLED).data_version == alone.data_version


def _train_slowly(folder: str) -> None:
    torch.set_num_threads(1)
    config = tiny_config(loss=RANK, optim={"updates": 40})
    train(config, TRAIN, VALIDATION, NORMALIZER, Path(folder), lambda done, total, note="": time.sleep(0.05))


def test_a_run_that_was_killed_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    config = tiny_config(loss=RANK, optim={"updates": 40})
    whole = run(tmp_path / "whole", config)
    child = multiprocessing.get_context("spawn").Process(target=_train_slowly, args=(str(tmp_path / "cut"),))
    child.start()
    deadline = time.monotonic() + 60
    while not (tmp_path / "cut" / TRAINING_FILE).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert not (tmp_path / "cut" / REPORT_FILE).exists(), "it was killed before its end"
    first: list[int] = []
    report = train(
        config, TRAIN, VALIDATION, NORMALIZER, tmp_path / "cut", lambda done, total, note="": first.append(done)
    )
    assert first[0] > 1, "finished updates are not repeated"
    assert report.data_version == whole.data_version
    assert not list((tmp_path / "cut").glob(".*.tmp"))
    torch.set_num_threads(threads)


def test_a_finished_run_is_not_repeated(tmp_path: Path) -> None:
    config = tiny_config()
    first = run(tmp_path, config)
    stamp = (tmp_path / MODEL_FILE).stat().st_mtime_ns
    assert run(tmp_path, config) == first
    assert (tmp_path / MODEL_FILE).stat().st_mtime_ns == stamp


def test_other_data_or_another_config_starts_over(tmp_path: Path) -> None:
    first = run(tmp_path, tiny_config())
    other_seed = run(tmp_path, tiny_config(seed=1))
    other_data = run(tmp_path, tiny_config(seed=1), synthetic_set(100, seed=9))
    assert len({first.data_version, other_seed.data_version, other_data.data_version}) == 3
    assert other_data.curve[-1]["update"] == 12


def test_training_reads_memory_mapped_latents(tmp_path: Path) -> None:
    np.save(tmp_path / "latents.npy", TRAIN.latents)
    mapped = dataclasses.replace(TRAIN, latents=np.load(tmp_path / "latents.npy", mmap_mode="r"))
    config = tiny_config()
    assert run(tmp_path / "mapped", config, mapped).data_version == run(tmp_path / "plain", config).data_version


def test_without_updates_the_target_equals_the_context_encoder(tmp_path: Path) -> None:
    report = run(tmp_path, tiny_config(optim={"updates": 0}))
    model = load_model(tmp_path)
    for context, target in zip(model.context.parameters(), model.target.parameters(), strict=True):
        assert torch.equal(context, target)
    trainable = [*model.context.parameters(), *model.predictor.parameters()]
    assert len(report.unmoved) == len(trainable)


def test_wrong_chains_never_enter_the_pure_variant(tmp_path: Path) -> None:
    right = TRAIN.select(TRAIN.first_error < 0)
    spoilt = dataclasses.replace(TRAIN, latents=TRAIN.latents.copy())
    for chain in np.flatnonzero(TRAIN.first_error >= 0):
        spoilt.latents[TRAIN.offsets[chain] : TRAIN.offsets[chain + 1]] = 99.0
    config = tiny_config()
    runs = [run(tmp_path / name, config, data) for name, data in (("spoilt", spoilt), ("right", right))]
    assert runs[0].data_version == runs[1].data_version


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainReport, Normalizer, LatentSet, LatentSet]:
    """The rank variant on 1 500 synthetic problems."""
    folder, data = tmp_path_factory.mktemp("trained"), synthetic_set(1500, seed=4)
    normalizer, held_out = fit_normalizer(data), synthetic_set(150, seed=5, split="test")
    optim = {"updates": 350, "batch_size": 64, "negatives": 32, "learning_rate": 4e-3, "checkpoint_every": 350}
    config = tiny_config(loss=RANK, energy="rank", optim=optim)
    return folder, train(config, data, held_out, normalizer, folder), normalizer, data, held_out


def test_training_on_learnable_chains_gives_skill_without_collapse(trained) -> None:
    folder, report, normalizer, data, held_out = trained
    assert report.curve[-1]["total"] < report.curve[0]["total"]
    assert report.unmoved == [], "every trainable parameter moved"
    found = diagnose(load_model(folder), Reader.of(tiny_config(), normalizer), held_out, data)
    assert found.skill_over_mean > 0.4 and found.skill_over_copy > 0.4, found
    assert found.skilful and found.skill_over_ridge > 0.1, found
    assert not found.collapsed and not found.leaks and not found.target_has_gradient, found
    assert json.dumps(found.metadata())


@pytest.mark.parametrize(("energy", "least"), [("raw", 0.85), ("rank", 0.85), ("latent", 0.75)])
def test_a_wrong_step_is_more_surprising_than_a_right_one(trained, energy: str, least: float) -> None:
    folder, _, normalizer, _, held_out = trained
    energies = segment_energies(load_model(folder), Reader.of(tiny_config(), normalizer), held_out, energy=energy)
    right, wrong = np.flatnonzero(held_out.first_error < 0), np.flatnonzero(held_out.first_error >= 0)
    steps = held_out.first_error[wrong]
    pairs = [energies[w][at - 1] > energies[r][at - 1] for r, w, at in zip(right, wrong, steps, strict=True)]
    assert np.mean(pairs) > least


def test_heads_learn_the_type_of_a_step_and_its_change(trained, tmp_path: Path) -> None:
    _, _, normalizer, data, held_out = trained
    optim = {"updates": 250, "batch_size": 64, "learning_rate": 4e-3}
    encoder = EncoderConfig(width=32, depth=2, heads=2, sentences=True, step_types=True)
    config = tiny_config(encoder=encoder, loss=LossConfig(delta=1.0, step_type=1.0), optim=optim)
    report = train(config, data, held_out, normalizer, tmp_path)
    assert report.unmoved == []
    model = load_model(tmp_path)
    assembler = Assembler(held_out, Reader.of(config, normalizer), config, model.domain_names)
    batch = assembler.gather(assembler.right_chains())
    found, steps = model.predict(batch, causal_view(batch.valid))[0], batch.valid[:, 1:]
    assert found.delta is not None and found.step_type is not None
    types = batch.types[:, 1:][steps]
    most_frequent = max(float((types == kind).float().mean()) for kind in (1, 2))
    named = float((found.step_type[:, 1:].argmax(-1)[steps] == types).float().mean())
    assert named > 0.9 > most_frequent + 0.1
    change = (batch.latents[:, 1:] - batch.latents[:, :-1])[steps]
    assert (
        raw_error(found.delta[:, 1:][steps], change).mean()
        < 0.6 * raw_error(change.mean(0).expand_as(change), change).mean()
    )


def test_a_run_without_step_types_is_named_as_it_was_before_there_were_any() -> None:
    untyped = [dataclasses.replace(chains, types=None) for chains in (TRAIN, VALIDATION)]
    config = tiny_config()
    plain = fingerprint_of(config, TRAIN, VALIDATION, NORMALIZER)
    assert plain == fingerprint_of(config, *untyped, NORMALIZER)
    told = tiny_config(encoder={**config.encoder.model_dump(), "step_types": True})
    asked = tiny_config(loss={"step_type": 0.1})
    changed = tiny_config(loss={"delta": 0.1})
    assert len({plain, *(fingerprint_of(run, TRAIN, VALIDATION, NORMALIZER) for run in (told, asked, changed))}) == 4


def test_an_untrained_model_has_no_skill_and_says_so(trained, tmp_path: Path) -> None:
    _, _, normalizer, data, held_out = trained
    train(tiny_config(optim={"updates": 0}), data, held_out, normalizer, tmp_path)
    assert not diagnose(load_model(tmp_path), Reader.of(tiny_config(), normalizer), held_out).skilful


def test_a_collapsed_encoder_is_seen(trained) -> None:
    folder, _, normalizer, _, held_out = trained
    model = load_model(folder)
    with torch.no_grad():
        model.target.project.weight.zero_()
        for block in model.target.blocks:
            block.out.weight.zero_()
            block.down.weight.zero_()
        model.target.domain.weight[:] = model.target.domain.weight[0] * 1000
    assert diagnose(model, Reader.of(model.config, normalizer), held_out).collapsed


def test_a_cut_file_is_refused_with_a_cure(tmp_path: Path) -> None:
    run(tmp_path, tiny_config())
    for name in (MODEL_FILE, TRAINING_FILE):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-100])
    with pytest.raises(CorruptError, match="delete"):
        load_model(tmp_path)
    with pytest.raises(CorruptError, match="delete"):
        run(tmp_path, tiny_config())


def test_a_model_file_that_was_changed_is_trained_again_from_its_last_state(tmp_path: Path) -> None:
    first = run(tmp_path, tiny_config())
    content = bytearray((tmp_path / MODEL_FILE).read_bytes())
    content[-1] ^= 1
    (tmp_path / MODEL_FILE).write_bytes(content)
    assert run(tmp_path, tiny_config()).data_version == first.data_version
    load_model(tmp_path)


def test_a_folder_without_a_model_is_refused_with_a_cure(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="materialise"):
        load_model(tmp_path)


def test_data_that_cannot_be_trained_on_is_refused_with_a_cure(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="validated chains"):
        run(tmp_path, tiny_config(), TRAIN.select(TRAIN.first_error >= 0))
    with pytest.raises(InvalidInputError, match="wrong chains"):
        run(tmp_path, tiny_config(loss=RANK), TRAIN.select(TRAIN.first_error < 0))
    narrow = Normalizer(NORMALIZER.location[:6], NORMALIZER.scale[:6])
    with pytest.raises(InvalidInputError, match="24 wide"):
        train(tiny_config(), TRAIN, VALIDATION, narrow, tmp_path)


@pytest.mark.parametrize(("name", "variant"), [("demo", "pure"), ("rank", "rank"), ("textbook", "textbook")])
def test_shipped_configs_load(name: str, variant: str) -> None:
    config = load_jepa_config(name)
    assert config.name == variant
    assert config.loss.uses_negatives == (variant == "rank")


@pytest.mark.parametrize(
    "changes",
    [
        {"predictor": {"width": 64}},
        {"energy": "rank"},
        {"encoder": {"width": 32, "heads": 2, "causal": False}},
        {"encoder": {"width": 33, "heads": 2}},
        {"use": ("middle",)},
        {"use": ()},
        {"use": ("mean", "mean")},
        {"poolings": ("mean", "mean")},
    ],
)
def test_a_config_that_does_not_fit_together_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        tiny_config(**changes)


def test_few_chains_are_passed_over_so_often_and_no_more(tmp_path: Path) -> None:
    right = int((TRAIN.first_error < 0).sum())
    epoch = right // 32
    capped = run(tmp_path / "capped", tiny_config(optim={"updates": 1000, "passes": 2}))
    assert capped.updates == 2 * epoch
    assert load_model(tmp_path / "capped").config.optim.updates == 2 * epoch
    assert run(tmp_path / "short", tiny_config(optim={"updates": 5, "passes": 50})).updates == 5


def test_adamw_alone_trains_too_and_is_another_run(tmp_path: Path) -> None:
    muon = run(tmp_path / "muon", tiny_config())
    adamw = run(tmp_path / "adamw", tiny_config(optim={"matrix_rate": None}))
    assert not muon.unmoved and not adamw.unmoved
    assert muon.fingerprint != adamw.fingerprint and muon.data_version != adamw.data_version
