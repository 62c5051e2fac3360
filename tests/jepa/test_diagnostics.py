"""Each diagnostic sees the fault it is there for."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from rjepa.jepa.batches import Batch
from rjepa.jepa.checkpoint import load_model
from rjepa.jepa.config import LossConfig
from rjepa.jepa.diagnostics import Diagnostics, diagnose, target_has_gradient, unmoved_parameters
from rjepa.jepa.held_out import gather_steps
from rjepa.jepa.model import RJepa
from rjepa.jepa.probes import probe_accuracy
from rjepa.jepa.reader import Reader
from rjepa.jepa.trainer import train
from rjepa.latents.normalizer import fit_normalizer
from rjepa.latents.sets import LatentSet
from tests.jepa.synthetic import synthetic_set, tiny_config

pytestmark = pytest.mark.slow

FIT, HELD_OUT = synthetic_set(1200, seed=4, wrong=False), synthetic_set(150, seed=5, wrong=False, split="test")
NORMALIZER = fit_normalizer(FIT)
READER = Reader.of(tiny_config(), NORMALIZER)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RJepa:
    folder = tmp_path_factory.mktemp("trained")
    optim = {"updates": 350, "batch_size": 64, "learning_rate": 4e-3, "checkpoint_every": 350}
    train(tiny_config(optim=optim), FIT, HELD_OUT, NORMALIZER, folder)
    return load_model(folder)


def test_a_sound_model_passes_all_and_its_figures_survive_json(trained: RJepa) -> None:
    found = diagnose(trained, READER, HELD_OUT, FIT)
    assert found.skilful and not found.collapsed and not found.leaks, found
    assert found.unmoved == 0 and not found.target_has_gradient
    assert Diagnostics.from_json(json.loads(json.dumps(asdict(found)))) == found
    assert found.metadata()["step_probe"] == found.step_probe.accuracy


def test_chains_that_ridge_predicts_as_well_leave_no_skill_over_ridge(tmp_path: Path) -> None:
    """Planted: each step is a linear function of the one before, plus noise that nobody can foresee."""
    linear, held_out = _linear_set(300, seed=1), _linear_set(60, seed=2)
    normalizer = fit_normalizer(linear)
    train(tiny_config(optim={"updates": 40}), linear, held_out, normalizer, tmp_path)
    found = diagnose(load_model(tmp_path), Reader.of(tiny_config(), normalizer), held_out, linear)
    assert found.skill_over_ridge < 0 and not found.skilful, found


def test_parameters_that_nothing_moved_are_named(tmp_path: Path) -> None:
    """Planted: so little weight on the raw head's loss that its gradient is lost in rounding."""
    optim = {"updates": 3, "weight_decay": (0.0, 0.0)}
    train(tiny_config(loss=LossConfig(raw=1e-40), optim=optim), FIT, HELD_OUT, NORMALIZER, tmp_path)
    model = load_model(tmp_path)
    assert unmoved_parameters(model) == ["predictor.to_raw.weight", "predictor.to_raw.bias"]
    assert diagnose(model, READER, HELD_OUT, FIT).unmoved == 2


class TargetLearns(RJepa):
    """The planted fault: the target's states are not cut from the graph."""

    def forward_target(self, batch: Batch) -> torch.Tensor:
        return self._read(self.target, batch, batch.valid)[0]


def test_a_target_that_the_loss_pushes_on_is_seen() -> None:
    model = TargetLearns(tiny_config(), FIT.width, FIT.domain_names).eval()
    probe = gather_steps(model, READER, HELD_OUT).probe
    assert target_has_gradient(model, probe)


def test_states_that_leave_most_directions_unused_are_a_collapse(trained: RJepa) -> None:
    class Flat(RJepa):
        def forward_target(self, batch: Batch) -> torch.Tensor:
            states = super().forward_target(batch)
            return torch.cat([states[..., :1].tanh() * 3, torch.zeros_like(states[..., 1:])], dim=-1)

    flat = Flat(trained.config, trained.width, trained.domain_names).eval()
    found = diagnose(flat, READER, HELD_OUT, FIT)
    assert found.rankme < 2 and found.collapsed, found


def test_probes_read_what_is_there_and_nothing_that_is_not(trained: RJepa) -> None:
    """The synthetic domains are drawn regardless of the latents; the number of the step is told to every encoder."""
    parts = [(gather_steps(trained, READER, FIT), gather_steps(trained, READER, HELD_OUT))]
    domain, step = probe_accuracy(parts, "domains"), probe_accuracy(parts, "places")
    assert domain.accuracy == pytest.approx(domain.chance, abs=0.12), domain
    assert step.accuracy > step.chance + 0.2 and step.untrained > step.chance + 0.2, step


def _linear_set(problems: int, seed: int) -> LatentSet:
    base, random = synthetic_set(problems, seed, wrong=False), np.random.default_rng(seed)
    step = np.linalg.qr(np.random.default_rng(0).standard_normal((base.width, base.width)))[0]
    values = random.standard_normal(base.latents.shape)
    for first, last in zip(base.offsets[:-1], base.offsets[1:], strict=True):
        for row in range(first + 1, last):
            values[row] = values[row - 1] @ step + 0.3 * values[row]
    return LatentSet(**{**vars(base), "latents": values.astype(np.float16)})
