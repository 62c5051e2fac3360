"""Biases, pulls and the guard: their arithmetic."""

import math
from pathlib import Path

import pytest
import torch

from rjepa.errors import CorruptError, NotFoundError
from rjepa.verbalizer.blending import blend, expected_state
from rjepa.verbalizer.checkpoint import load_decoder
from rjepa.verbalizer.familiar import Familiarity
from rjepa.verbalizer.guiding import Guidance, GuidanceSettings, Guide, annealed, logit_bias
from rjepa.verbalizer.speaking import Speaker
from rjepa.verbalizer.vocabulary import Vocabulary
from tests.verbalizer.small import Small


def test_the_bias_is_exactly_alpha_times_the_clamped_log_probability() -> None:
    vocabulary = Vocabulary((1, 4), (b"a", b"b"), 6)
    log_probs = torch.tensor([-1.0, -2.0, -0.5, -30.0])
    bias = logit_bias(log_probs, vocabulary, 0.6, -12.0)
    assert bias.tolist() == pytest.approx([0.6 * value for value in (-12, -0.5, -12, -12, -12, -12)])
    assert logit_bias(log_probs, vocabulary, 0.6, -40.0).tolist()[4] == pytest.approx(-18.0)


def test_a_guide_adds_its_decoders_log_probabilities_after_the_label_and_nothing_before(
    material: Small, trained: Path
) -> None:
    decoder = load_decoder(trained)
    guidance = Guidance(decoder, GuidanceSettings(alpha=0.6))
    ids, bounds = material.tokens.tokens[0].tolist(), material.tokens.bounds[0]
    chain = ids[bounds[1] :]
    latent = torch.randn(material.latents.width)
    guide = Guide(guidance, "", ids[: bounds[1]], labelled=True)
    assert guide(chain[:0]) is None
    guide.expect(latent, 1, 0, 0.6)
    label = next(count for count in range(1, 20) if guide(chain[:count]) is not None)
    assert material.student.pieces.text(chain[:label]) == "Step 1:"
    speaker = Speaker(decoder)
    speaker.expect(latent, 0)
    again = Guide(guidance, "", ids[: bounds[1]], labelled=True)
    again.expect(latent, 1, 0, 0.6)
    for count in range(label, 2 * label):
        bias, log_probs = again(chain[:count]), speaker.log_probs(chain[:count])
        assert bias is not None
        known = bias[torch.tensor(decoder.vocabulary.tokens)]
        torch.testing.assert_close(known, 0.6 * log_probs[decoder.vocabulary.first :].clamp(min=-12))


def test_a_control_changes_the_latent_before_it_is_spoken(material: Small, trained: Path) -> None:
    asked: list[tuple[str, int]] = []

    def zeroed(latent: torch.Tensor, statement: str, segment: int) -> torch.Tensor:
        asked.append((statement, segment))
        return torch.zeros_like(latent)

    decoder = load_decoder(trained)
    tokens = material.tokens.tokens[0][material.tokens.bounds[0][1] :].tolist()
    biases = []
    for latent in (torch.randn(material.latents.width), torch.zeros(material.latents.width)):
        guide = Guide(Guidance(decoder, GuidanceSettings(alpha=1.0), alter=zeroed), "s", (), labelled=True)
        guide.expect(latent, 2, 0, 1.0)
        biases.append(guide(tokens[:6]))
    assert asked == [("s", 2)] * 2
    assert biases[0] is not None and biases[1] is not None and torch.equal(biases[0], biases[1])


def test_the_weight_falls_with_the_last_steps_energy_and_only_where_it_is_asked_to() -> None:
    assert annealed(0.6, 0.0, 3.0, 1.0) == 0.6
    assert annealed(0.6, 1.0, None, 1.0) == annealed(0.6, 1.0, 3.0, None) == 0.6
    assert annealed(0.6, 1.0, 1.0, 1.0) == pytest.approx(0.3)
    assert annealed(0.6, 2.0, 4.0, 2.0) == pytest.approx(0.6 / 5)


def test_a_pull_moves_a_state_by_its_share_and_none_leaves_it_alone() -> None:
    latent = torch.arange(6.0)
    assert expected_state(latent, ("last", "mean", "end")).tolist() == [2.0, 3.0]
    assert expected_state(latent, ("last", "end", "number")).tolist() == [0.0, 1.0]
    state, expected = torch.tensor([1.0, 1.0]), torch.tensor([2.0, 3.0])
    assert blend(expected, 0.25)(state).tolist() == [1.25, 1.5]
    assert torch.equal(blend(expected, 0.0)(state), state)
    with pytest.raises(ValueError, match="between 0 and 1"):
        blend(expected, 1.5)


def test_familiar_problems_lie_near_the_training_ones_and_others_do_not(tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(0)
    shape = torch.randn(6, 40, generator=random)

    def draw(count: int) -> torch.Tensor:
        return torch.randn(count, 6, generator=random) @ shape + 0.1 * torch.randn(count, 40, generator=random)

    found = Familiarity.fit(draw(400), draw(200))
    found.save(tmp_path)
    again = Familiarity.load(tmp_path)
    near = sum(again.knows(problem) for problem in draw(100))
    assert near >= 93 and not any(again.knows(problem) for problem in 3 * torch.randn(20, 40, generator=random))
    assert math.isclose(again.limit, found.limit)


def test_settings_that_are_missing_or_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        GuidanceSettings.load(tmp_path)
    GuidanceSettings(alpha=0.5, tried={"0.5": 0.7}).save(tmp_path)
    assert GuidanceSettings.load(tmp_path) == GuidanceSettings(alpha=0.5, tried={"0.5": 0.7})
    (tmp_path / "guidance.json").write_text('{"alpha": -1}')
    with pytest.raises(CorruptError, match="logit_guidance"):
        GuidanceSettings.load(tmp_path)
