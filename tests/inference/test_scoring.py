import dataclasses

import numpy as np
import pytest

from rjepa.errors import InvalidInputError
from rjepa.inference.scoring import segment_energies
from rjepa.jepa.batches import Assembler
from rjepa.jepa.config import Energy
from rjepa.jepa.model import build_model
from rjepa.jepa.reader import Reader
from rjepa.latents.normalizer import fit_normalizer
from tests.jepa.synthetic import synthetic_set, tiny_config

CHAINS = synthetic_set(20, seed=0)
NORMALIZER = fit_normalizer(CHAINS)
MODEL = build_model(tiny_config(), CHAINS.width, CHAINS.domain_names).eval()
READER = Reader.of(MODEL.config, NORMALIZER)


def test_every_segment_after_the_prompt_gets_an_energy() -> None:
    energies = segment_energies(MODEL, READER, CHAINS)
    assert [len(each) for each in energies] == (CHAINS.lengths - 1).tolist()
    assert all(each.dtype == np.float32 and (each > 0).all() for each in energies)


def test_energies_do_not_depend_on_the_batch_or_on_the_order() -> None:
    whole = segment_energies(MODEL, READER, CHAINS)
    one_by_one = segment_energies(MODEL, READER, CHAINS, batch_size=1)
    order = np.random.default_rng(0).permutation(len(CHAINS))
    shuffled = segment_energies(MODEL, READER, CHAINS.select(order), batch_size=7)
    for index in range(len(CHAINS)):
        assert np.allclose(whole[index], one_by_one[index], atol=1e-5)
    for place, index in enumerate(order):
        assert np.allclose(whole[index], shuffled[place], atol=1e-5)


@pytest.mark.parametrize("energy", ["raw", "latent", "rank"])
def test_candidates_that_share_a_row_have_the_energies_they_have_alone(energy: Energy) -> None:
    config = tiny_config(loss={"rank": 1.0})
    model = build_model(config, CHAINS.width, CHAINS.domain_names).eval()
    # Candidates as sampled: two that are equal, one that goes astray after a few steps, one that is cut short.
    many = CHAINS.select([0, 0, 1, 0, 2, 3, 2, 2] * 2)
    rows = many.latents.copy()
    rows[many.offsets[3] + 2 : many.offsets[4]] += 1
    many = dataclasses.replace(many, latents=rows, domains=np.zeros_like(many.domains))
    alone = Assembler(many, Reader.of(config, NORMALIZER), config, model.domain_names)
    for index, found in enumerate(segment_energies(model, Reader.of(config, NORMALIZER), many, energy=energy)):
        expected = model.energies(alone.gather(np.array([index])), energy)[0, 1:].numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_candidates_begin_with_is_read_once() -> None:
    twice = CHAINS.select([0, 0, 2])
    batch, paths = Assembler(twice, READER, MODEL.config, MODEL.domain_names).gather_side_by_side(
        [np.array([0, 1]), np.array([2])]
    )
    lengths = twice.lengths
    assert batch.valid.sum(1).tolist() == [lengths[0], lengths[2]]
    assert paths[0].tolist() == paths[1].tolist() == list(range(lengths[0]))


def test_a_chain_cut_short_keeps_the_energies_of_what_is_left() -> None:
    whole = segment_energies(MODEL, READER, CHAINS)
    for index in range(len(CHAINS)):
        one = CHAINS.select([index])
        cut = dataclasses.replace(one, latents=one.latents[:-1], types=one.types[:-1], offsets=one.offsets - [0, 1])
        assert np.allclose(segment_energies(MODEL, READER, cut)[0], whole[index][:-1], atol=1e-5)


def test_a_candidate_without_any_step_has_no_energy_and_none_to_score_is_none() -> None:
    one = CHAINS.select([0])
    only_prompt = dataclasses.replace(one, latents=one.latents[:1], types=one.types[:1], offsets=np.array([0, 1]))
    assert [len(each) for each in segment_energies(MODEL, READER, only_prompt)] == [0]
    assert segment_energies(MODEL, READER, CHAINS.select([])) == []


def test_latents_of_another_width_are_refused_with_a_cure() -> None:
    wide = dataclasses.replace(CHAINS, latents=np.zeros((len(CHAINS.latents), 30), dtype=np.float16))
    with pytest.raises(InvalidInputError, match="30 wide.*24"):
        segment_energies(MODEL, READER, wide)
