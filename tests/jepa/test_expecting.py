"""What is expected segment by segment is what the whole pass over a finished chain compares it with."""

import numpy as np
import pytest
import torch

from rjepa.errors import InvalidInputError
from rjepa.jepa import expecting
from rjepa.jepa.batches import Assembler
from rjepa.jepa.config import EncoderConfig, LossConfig, MaskConfig
from rjepa.jepa.expecting import Expectation
from rjepa.jepa.model import RJepa, build_model
from rjepa.jepa.reader import Reader
from rjepa.latents.normalizer import fit_normalizer
from tests.jepa.synthetic import synthetic_set, tiny_config

LATENTS = synthetic_set(12, seed=3).without_domains()
NORMALIZER = fit_normalizer(LATENTS)
SENTENCES = EncoderConfig(width=32, depth=2, heads=2, sentences=True)


def model_of(energy: str = "raw", **changes: object) -> RJepa:
    return build_model(tiny_config(energy=energy, **changes), LATENTS.width, ("math", "logic")).eval()


def begin(model: RJepa, chain: int) -> Expectation:
    start = LATENTS.offsets[chain]
    sentences = LATENTS.prompts.sentences[slice(*LATENTS.prompts.offsets[LATENTS.prompt_of[chain] :][:2])]
    return Expectation.begin(model, Reader.of(model.config, NORMALIZER), LATENTS.latents[start : start + 1], sentences)


@pytest.mark.parametrize("energy", ["raw", "latent", "rank"])
@pytest.mark.parametrize("encoder", [SENTENCES, EncoderConfig(width=32, depth=2, heads=2)])
def test_energies_and_expectations_grow_to_those_of_the_whole_chain(energy: str, encoder: EncoderConfig) -> None:
    model = model_of(energy, encoder=encoder, loss=LossConfig(infonce=0.1, rank=1.0))
    assembler = Assembler(LATENTS, Reader.of(model.config, NORMALIZER), model.config, model.domain_names)
    for chain in range(6):
        batch = assembler.gather(np.array([chain]))
        whole, expected = model.energies(batch), model.expectation(batch).raw
        grown = begin(model, chain)
        for segment in range(1, int(LATENTS.lengths[chain])):
            torch.testing.assert_close(grown.next, expected[:, segment], atol=1e-5, rtol=1e-4)
            row = LATENTS.offsets[chain] + segment
            grown = grown.append(LATENTS.latents[row : row + 1])
            torch.testing.assert_close(grown.energies, whole[:, segment], atol=1e-5, rtol=1e-4)
        assert grown.segments == LATENTS.lengths[chain]


def test_without_numba_the_same_is_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("latent", encoder=SENTENCES)
    compiled = begin(model, 0)
    assert compiled._native is not None
    monkeypatch.setattr(expecting, "_native", lambda model: None)
    plain = begin(model, 0)
    for row in range(1, 4):
        compiled, plain = (one.append(LATENTS.latents[row : row + 1]) for one in (compiled, plain))
        torch.testing.assert_close(compiled.next, plain.next, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(compiled.energies, plain.energies, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("energy", ["raw", "latent"])
@pytest.mark.parametrize("compiles", [True, False])
def test_chains_of_other_problems_and_lengths_are_read_together_as_each_alone(
    energy: str, compiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiles:
        monkeypatch.setattr(expecting, "_native", lambda model: None)
    model = model_of(energy, encoder=SENTENCES)
    grown = [begin(model, chain) for chain in (0, 4, 7)]
    grown[1] = grown[1].append(LATENTS.latents[1:2])
    for row in range(2, 5):
        latents = LATENTS.latents[row : row + 3]
        alone = [one.append(latents[place : place + 1]) for place, one in enumerate(grown)]
        grown = Expectation.append_each(grown, latents)
        for one, other in zip(grown, alone, strict=True):
            assert one.segments == other.segments
            torch.testing.assert_close(one.next, other.next, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(one.energies, other.energies, atol=1e-5, rtol=1e-4)


def test_a_fork_goes_on_from_what_was_read_and_leaves_the_other_alone() -> None:
    grown = begin(model_of(encoder=SENTENCES), 0)
    both = grown.rows(torch.tensor([0, 0]))
    other = LATENTS.latents[5:6]
    forked = both.append(np.concatenate([LATENTS.latents[1:2], other]))
    alone = grown.append(other)
    torch.testing.assert_close(forked.next[1:], alone.next)
    torch.testing.assert_close(forked.energies[1:], alone.energies)
    assert not torch.allclose(forked.next[0], forked.next[1])


def test_what_is_expected_comes_back_in_the_space_of_the_student() -> None:
    grown = begin(model_of(), 0)
    latents = grown.next_latents()
    assert latents.shape == (1, LATENTS.width)
    np.testing.assert_allclose(NORMALIZER.apply(latents), grown.next.clamp(-8, 8).numpy(), atol=1e-4)


def test_a_model_that_reads_both_ways_is_not_asked_step_by_step() -> None:
    both_ways = model_of(
        "latent", encoder=EncoderConfig(width=32, depth=2, heads=2, causal=False), masks=MaskConfig(causal=0)
    )
    with pytest.raises(InvalidInputError, match="causal"):
        begin(both_ways, 0)
