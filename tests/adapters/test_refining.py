"""Refining through a frozen R-JEPA: energies of mapped chains come nearer to the source's, and R-JEPA does not move."""

from dataclasses import replace

import numpy as np
import pytest

from rjepa.adapters.choosing import Front, correlation, log_energies
from rjepa.adapters.fitting import fit_ridge
from rjepa.adapters.maps import LatentMap
from rjepa.adapters.network import NetworkSettings, fit_network
from rjepa.adapters.pairs import Matched, pairs_of
from rjepa.adapters.refining import RefineSettings, can_refine, refine
from rjepa.jepa.model import RJepa, build_model
from rjepa.jepa.reader import Reader
from rjepa.latents.normalizer import normalizer_of
from tests.adapters.students import matched_students
from tests.jepa.synthetic import WIDTH, tiny_config

SETTINGS = RefineSettings(updates=40, chains=24, rate=0.01)


def _model(**changes: object) -> RJepa:
    return build_model(tiny_config(**changes), WIDTH, ("math", "logic")).eval().requires_grad_(False)


def _start(matched: Matched) -> LatentMap:
    pairs = pairs_of(matched)
    inputs, outputs = normalizer_of(pairs.target), normalizer_of(pairs.source)
    ridge = fit_ridge(inputs, outputs, pairs.target, pairs.source, 1e-2)
    return fit_network(ridge, pairs.target, pairs.source, NetworkSettings(hidden=24, updates=30, batch=64), seed=0)


def _agreement(model: RJepa, fitted: LatentMap, matched: Matched) -> float:
    through = Reader.of(model.config, fitted.outputs, Front(fitted, ("target",)))
    wanted = log_energies(model, Reader.of(model.config, fitted.outputs), matched.source)
    return correlation(log_energies(model, through, matched.target), wanted)


def test_energies_agree_better_after_refining_and_the_model_is_as_it_was() -> None:
    matched, model = matched_students(60, 0), _model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    start = _start(matched)
    refined = refine(start, matched, model, SETTINGS, seed=0)
    held_out = matched_students(40, 1)
    assert _agreement(model, refined, held_out) > _agreement(model, start, held_out)
    assert all((value == before[name]).all() for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_every_part_of_the_map_is_moved_by_finite_steps_and_equal_seeds_give_equal_maps() -> None:
    matched, model = matched_students(12, 0), _model()
    start, short = _start(matched), RefineSettings(updates=3, chains=8, own=0.5)
    one, two = (refine(start, matched, model, short, seed=3) for _ in range(2))
    for name, values in one.tensors().items():
        assert np.isfinite(values).all()
        assert np.array_equal(values, two.tensors()[name])
        if not name.startswith(("inputs", "outputs")):
            assert not np.array_equal(values, start.tensors()[name])


def test_a_model_that_reads_some_columns_and_no_sentences_is_refined_through_as_well() -> None:
    matched = matched_students(12, 0)
    config = tiny_config(poolings=("mean", "last", "end"), use=("end", "mean"))
    config = config.model_copy(update={"encoder": config.encoder.model_copy(update={"sentences": False})})
    model = build_model(config, WIDTH, ("math",)).eval().requires_grad_(False)
    refined = refine(_start(matched), matched, model, replace(SETTINGS, updates=2), seed=0)
    assert refined.width_out == WIDTH


def test_a_map_without_a_network_is_refused() -> None:
    matched = matched_students(4, 0)
    start = replace(_start(matched), residual=None)
    with pytest.raises(ValueError, match="no network"):
        refine(start, matched, _model(), SETTINGS, seed=0)


def test_a_model_that_predicts_no_raw_latents_cannot_be_refined_through() -> None:
    loss = tiny_config().loss.model_copy(update={"raw": 0.0})
    model = _model(loss=loss, energy="latent")
    assert not can_refine(model)
    matched = matched_students(4, 0)
    with pytest.raises(ValueError, match="no raw latents"):
        refine(_start(matched), matched, model, SETTINGS, seed=0)
