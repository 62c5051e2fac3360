"""A grown R-JEPA is the trained one on mapped latents, until it is trained."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rjepa.errors import InvalidInputError
from rjepa.inference.scoring import segment_energies
from rjepa.jepa.batches import Assembler
from rjepa.jepa.checkpoint import load_model
from rjepa.jepa.growing import Between, Grown, grow
from rjepa.jepa.model import build_model
from rjepa.jepa.reader import Reader
from rjepa.jepa.trainer import train
from rjepa.latents.normalizer import Normalizer, fit_normalizer
from rjepa.latents.sets import LatentSet
from tests.jepa.synthetic import synthetic_set, tiny_config

SOURCE = synthetic_set(24, seed=3)
READER = Reader.of(tiny_config(), fit_normalizer(SOURCE))
WIDER = 2 * SOURCE.width
"""Columns of the other student: those of the source, turned, and as many again that say the same."""


def read_by_another(change: Callable[[np.ndarray], np.ndarray]) -> LatentSet:
    """The same chains and sentences, with other rows: what another student makes of them."""
    assert SOURCE.prompts is not None
    prompts = replace(SOURCE.prompts, sentences=change(SOURCE.prompts.sentences))
    return replace(SOURCE, latents=change(SOURCE.latents), prompts=prompts)


def wider() -> tuple[LatentSet, Between, Between]:
    """The source's standardised latents, turned into a wider space, and the maps between the two."""
    random = np.random.default_rng(0)
    turned = np.linalg.qr(random.normal(size=(SOURCE.width, SOURCE.width)))[0]
    out = (np.hstack([turned, turned]) / np.sqrt(2)).astype(np.float32)
    other = read_by_another(lambda rows: READER.normalizer.apply(rows) @ out)
    into = Between(np.ascontiguousarray(out.T), np.zeros(SOURCE.width, np.float32))
    return other, into, Between(out, np.zeros(WIDER, np.float32))


def test_states_predictions_and_latent_energies_are_those_of_the_trained_model() -> None:
    other, into, back = wider()
    trained = build_model(tiny_config(), SOURCE.width, SOURCE.domain_names).eval()
    torch.nn.init.normal_(trained.predictor.to_raw.bias)  # type: ignore[union-attr]
    config = tiny_config(poolings=("mean",), use=None)
    grown = grow(trained, config, WIDER, into, back)
    plain = Normalizer(np.zeros(WIDER, np.float32), np.ones(WIDER, np.float32))
    ours = Assembler(other, Reader.of(config, plain), config, grown.domain_names).gather(np.arange(24))
    theirs = Assembler(SOURCE, READER, trained.config, trained.domain_names).gather(np.arange(24))
    assert torch.allclose(grown.forward_target(ours), trained.forward_target(theirs), atol=1e-4)
    assert torch.allclose(grown.energies(ours, "latent"), trained.energies(theirs, "latent"), atol=1e-4)
    mapped = trained.expectation(theirs).raw @ torch.from_numpy(back.weight)  # type: ignore[operator]
    expected = grown.expectation(ours).raw
    assert expected is not None and torch.allclose(expected[ours.valid], mapped[theirs.valid], atol=1e-4)


def test_where_the_columns_are_the_same_ones_in_another_order_every_energy_is_the_same() -> None:
    order = np.random.default_rng(1).permutation(SOURCE.width)
    back = Between(np.eye(SOURCE.width, dtype=np.float32)[:, order], np.zeros(SOURCE.width, np.float32))
    into = Between(np.ascontiguousarray(back.weight.T), back.bias)
    trained = build_model(tiny_config(use=None), SOURCE.width, SOURCE.domain_names).eval()
    grown = grow(trained, trained.config, SOURCE.width, into, back)
    other = read_by_another(lambda rows: rows[:, order])
    normalizer = Normalizer(READER.normalizer.location[order], READER.normalizer.scale[order])
    before = segment_energies(trained, Reader.of(trained.config, READER.normalizer), SOURCE, energy="raw")
    after = segment_energies(grown, Reader.of(grown.config, normalizer), other, energy="raw")
    for one, same in zip(before, after, strict=True):
        np.testing.assert_allclose(one, same, atol=1e-4)


def test_a_ranking_head_is_not_grown() -> None:
    ranked = build_model(tiny_config(loss={"raw": 1.0, "rank": 1.0}, energy="rank"), SOURCE.width, ("math",))
    with pytest.raises(InvalidInputError, match="ranking head") as refused:
        grow(ranked, ranked.config, WIDER, *wider()[1:])
    assert "calibration" in refused.value.cure


def test_a_run_begins_with_the_grown_weights_and_learns_from_its_problems_alone(tmp_path: Path) -> None:
    other, into, back = wider()
    trained = build_model(tiny_config(), SOURCE.width, ("algebra",)).eval()
    config = tiny_config(poolings=("mean",), use=None)
    problems = frozenset(list(dict.fromkeys(other.problem_ids))[:8])
    grown = Grown("elsewhere", grow(trained, config, WIDER, into, back), problems, 0.5)
    learnt = grown.chosen(other)
    assert set(learnt.problem_ids) == problems
    normalizer = fit_normalizer(other)
    run = tiny_config(name="transfer", optim={"updates": 0})
    report = train(run, learnt, other, normalizer, tmp_path / "none", grown=grown)
    begun = load_model(tmp_path / "none")
    # Domains that are new to it begin as an unknown one; all else is the grown model's.
    assert begun.domain_names == ("algebra", *sorted(SOURCE.domain_names))
    ours, theirs = begun.state_dict(), grown.model.state_dict()
    assert all(torch.equal(ours[name][: len(value)], value) for name, value in theirs.items() if value.ndim)
    assert begun.config.name == "transfer" and begun.config.encoder == trained.config.encoder
    assert report.start_energy is not None and report.start_energy > 0
    longer = tiny_config(name="transfer", optim={"updates": 6, "checkpoint_every": 3})
    whole = train(longer, learnt, other, normalizer, tmp_path / "whole", grown=grown)
    assert train(longer, learnt, other, normalizer, tmp_path / "whole", grown=grown) == whole
    assert not torch.equal(load_model(tmp_path / "whole").context.project.weight, begun.context.project.weight)
