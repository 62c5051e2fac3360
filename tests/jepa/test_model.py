"""The invariants of the model: what an energy may and may not depend on."""

import dataclasses

import pytest
import torch

from rjepa.errors import InvalidInputError
from rjepa.inference.scoring import segment_energies
from rjepa.jepa.batches import UNKNOWN_DOMAIN, Assembler, Batch
from rjepa.jepa.config import EncoderConfig, LossConfig, MaskConfig
from rjepa.jepa.diagnostics import LEAK_TOLERANCE, measure_leak, rankme, target_has_gradient
from rjepa.jepa.masks import View, draw_view
from rjepa.jepa.model import RJepa, build_model
from rjepa.jepa.objective import objective
from rjepa.jepa.predictor import Prediction
from rjepa.jepa.reader import Reader
from rjepa.latents.normalizer import fit_normalizer
from tests.jepa.synthetic import synthetic_set, tiny_config

LATENTS = synthetic_set(24, seed=3)
NORMALIZER = fit_normalizer(LATENTS)
READER = Reader.of(tiny_config(), NORMALIZER)
RANK = LossConfig(infonce=0.1, rank=1.0)


def batch_of(model: RJepa, chains: slice = slice(0, 16)) -> Batch:
    assembler = Assembler(LATENTS, Reader.of(model.config, NORMALIZER), model.config, model.domain_names)
    return assembler.gather(torch.arange(len(LATENTS)).numpy()[chains])


def model_of(**changes: object) -> RJepa:
    return build_model(tiny_config(**changes), LATENTS.width, LATENTS.domain_names).eval()


def typed() -> RJepa:
    """A model that is told the types of steps, and asked for them and for changes."""
    encoder = EncoderConfig(width=32, depth=2, heads=2, sentences=True, step_types=True)
    return model_of(encoder=encoder, loss=LossConfig(delta=0.5, step_type=0.5))


def textbook() -> RJepa:
    return model_of(
        encoder=EncoderConfig(width=32, depth=2, heads=2, causal=False),
        masks=MaskConfig(causal=0),
        loss=LossConfig(raw=0),
        energy="latent",
        use=("mean",),
    )


@pytest.mark.parametrize("energy", ["raw", "latent", "rank"])
def test_energy_of_a_step_ignores_later_steps(energy: str) -> None:
    model = model_of(loss=RANK)
    batch = batch_of(model)
    before = model.energies(batch, energy)
    for position in range(1, batch.valid.shape[1] - 1):
        changed = batch.latents.clone()
        changed[:, position + 1 :] = 5.0
        after = model.energies(dataclasses.replace(batch, latents=changed), energy)
        assert torch.allclose(before[:, : position + 1], after[:, : position + 1], atol=1e-5)
        assert not torch.allclose(before[:, position + 1 :], after[:, position + 1 :], atol=1e-2)


def test_energy_of_a_step_ignores_how_many_steps_follow() -> None:
    model = model_of()
    batch = batch_of(model)
    cut = dataclasses.replace(batch, **{name: getattr(batch, name)[:, :3] for name in ("latents", "valid", "types")})
    assert torch.allclose(model.energies(batch)[:, :3], model.energies(cut), atol=1e-5)


def test_energy_depends_on_every_sentence_of_the_problem() -> None:
    model = model_of()
    batch = batch_of(model)
    for sentence in range(batch.sentences_valid.shape[1]):
        changed = batch.sentences.clone()
        changed[:, sentence] += 1.0
        moved = (model.energies(dataclasses.replace(batch, sentences=changed)) - model.energies(batch)).abs().amax(1)
        assert (moved[batch.sentences_valid[:, sentence]] > 1e-4).all()
        assert (moved[~batch.sentences_valid[:, sentence]] < 1e-5).all()


def test_a_step_is_expected_from_the_types_of_the_steps_before_it_alone() -> None:
    model = typed()
    batch = batch_of(model)
    before = model.energies(batch)
    for position in range(1, batch.valid.shape[1]):
        after = model.energies(dataclasses.replace(batch, types=batch.types.index_fill(1, torch.tensor(position), 7)))
        assert torch.allclose(before[:, : position + 1], after[:, : position + 1], atol=1e-5)
        later = batch.valid[:, position + 1 :]
        assert not torch.allclose(before[:, position + 1 :][later], after[:, position + 1 :][later]) or not later.any()


def test_a_model_that_is_told_the_types_of_steps_refuses_latents_without_them() -> None:
    untyped = dataclasses.replace(LATENTS, types=None)
    for changes in ({"loss": {"step_type": 1.0}}, {"encoder": {"step_types": True, "width": 32}}):
        with pytest.raises(InvalidInputError, match="types of steps"):
            Assembler(untyped, READER, tiny_config(**changes), LATENTS.domain_names)
    Assembler(untyped, READER, tiny_config(), LATENTS.domain_names)


def test_a_model_that_is_not_told_the_types_of_steps_is_what_it_was_without_them() -> None:
    model, batch = model_of(), batch_of(model_of())
    assert not batch.types.any()
    other = dataclasses.replace(batch, types=torch.full_like(batch.types, 5))
    assert torch.equal(model.energies(batch), model.energies(other))


def test_chains_with_types_side_by_side_have_the_energies_they_have_alone() -> None:
    model = typed()
    alone = [row[valid][1:] for row, valid in zip(model.energies(batch_of(model)), batch_of(model).valid, strict=True)]
    together = segment_energies(model, Reader.of(model.config, NORMALIZER), LATENTS)[:16]
    for one, other in zip(alone, together, strict=True):
        assert torch.allclose(one, torch.from_numpy(other), atol=1e-5)


def test_a_model_that_reads_sentences_refuses_latents_without_them() -> None:
    blind = dataclasses.replace(LATENTS, prompts=None, prompt_of=None)
    with pytest.raises(InvalidInputError, match="hold none"):
        Assembler(blind, READER, tiny_config(), LATENTS.domain_names)


@pytest.mark.parametrize("make", [model_of, typed, textbook])
def test_permuting_a_batch_changes_nothing(make) -> None:
    model = make()
    batch = batch_of(model)
    order = torch.randperm(len(batch.valid), generator=torch.Generator().manual_seed(0))
    assert torch.allclose(model.energies(batch)[order], model.energies(batch.rows(order)), atol=1e-5)


@pytest.mark.parametrize("make", [model_of, typed, textbook])
def test_padding_changes_nothing(make) -> None:
    model = make()
    batch = batch_of(model)
    size = batch.valid.shape[1]
    padded = dataclasses.replace(
        batch,
        latents=torch.nn.functional.pad(batch.latents, (0, 0, 0, 4), value=3.0),
        valid=torch.nn.functional.pad(batch.valid, (0, 4)),
        types=torch.nn.functional.pad(batch.types, (0, 4), value=3),
    )
    after = model.energies(padded)
    assert torch.allclose(model.energies(batch), after[:, :size], atol=1e-5)
    assert not after[:, size:].any()


@pytest.mark.parametrize("make", [model_of, typed, textbook])
def test_a_batch_of_one_equals_a_batch_of_many(make) -> None:
    model = make()
    batch = batch_of(model)
    alone = torch.cat([model.energies(batch.rows(torch.tensor([row]))) for row in range(len(batch.valid))])
    assert torch.allclose(model.energies(batch), alone, atol=1e-5)


def test_the_target_before_any_update_equals_the_context_encoder() -> None:
    model = model_of()
    batch = batch_of(model)
    assert torch.equal(model.forward_target(batch), model.forward_context(batch, batch.valid))
    model.update_target(0.5)
    assert torch.equal(model.forward_target(batch), model.forward_context(batch, batch.valid))


def test_the_target_follows_the_context_encoder_by_its_momentum() -> None:
    model = model_of()
    before = model.target.project.weight.clone()
    with torch.no_grad():
        model.context.project.weight += 1.0
    model.update_target(0.75)
    assert torch.allclose(model.target.project.weight, before + 0.25)


@pytest.mark.parametrize("kind", ["causal", "suffix", "random", "contiguous", "hierarchical"])
def test_a_prediction_in_training_does_not_see_what_its_view_hides(kind: str) -> None:
    weights = {name: 0.0 for name in ("causal", "suffix", "random", "contiguous", "hierarchical")} | {kind: 1.0}
    model = model_of(masks=MaskConfig(**weights))
    batch = batch_of(model)
    view = draw_view(batch.valid, model.config.masks, torch.Generator().manual_seed(0))
    before, _ = model.predict(batch, view)
    for position in range(1, batch.valid.shape[1]):
        rows = view.targets[:, position]
        # A causal target must not see itself or what follows; an infill target none of the hidden segments.
        hidden = torch.arange(batch.valid.shape[1]) >= position if kind == "causal" else view.targets[:, :]
        latents = torch.where((hidden & torch.ones_like(batch.valid))[:, :, None], 5.0, batch.latents)
        after, _ = model.predict(dataclasses.replace(batch, latents=latents), view)
        assert torch.allclose(before.latent[rows, position], after.latent[rows, position], atol=1e-5)


class SeesTarget(RJepa):
    """The planted leak: the predictor is given the target's own context state."""

    def predict(self, batch: Batch, view: View) -> tuple[Prediction, torch.Tensor]:
        leaky = view.visible | torch.eye(view.visible.shape[1], dtype=torch.bool)
        return super().predict(batch, dataclasses.replace(view, visible=leaky))


class ReadsAhead(RJepa):
    """The other one: a context encoder that forgot its causal mask."""

    def predict(self, batch: Batch, view: View) -> tuple[Prediction, torch.Tensor]:
        self.context.causal = False
        return super().predict(batch, view)


@pytest.mark.parametrize("leaky", [SeesTarget, ReadsAhead])
def test_a_planted_leak_is_caught(leaky: type[RJepa]) -> None:
    config = tiny_config()
    honest = model_of()
    assert measure_leak(honest, batch_of(honest)) < LEAK_TOLERANCE
    planted = leaky(config, LATENTS.width, LATENTS.domain_names).eval()
    assert measure_leak(planted, batch_of(planted)) > LEAK_TOLERANCE


def test_the_textbook_baseline_is_seen_to_read_later_steps() -> None:
    model = textbook()
    assert measure_leak(model, batch_of(model)) > LEAK_TOLERANCE


def test_the_loss_does_not_push_on_the_target() -> None:
    model = model_of()
    assert not target_has_gradient(model, batch_of(model))
    assert all(parameter.grad is None for parameter in model.parameters()), "the model itself is left untouched"


def test_wrong_chains_leave_the_trunk_alone_in_the_ranking_head() -> None:
    model = model_of(loss=LossConfig(latent=0, raw=1e-9, variance=0, covariance=0, rank=1.0), energy="rank")
    batch = batch_of(model)
    right, wrong = batch.rows(batch.first_error < 0), batch.rows(batch.first_error >= 0)
    owners = torch.arange(len(wrong.valid))
    objective(model, right, wrong, owners, torch.Generator().manual_seed(0))["total"].backward()
    assert model.rank_head.columns.weight.grad.abs().max() > 1e-4
    assert model.context.project.weight.grad.abs().max() < 1e-6


def test_what_follows_a_wrong_step_teaches_the_ranking_head_nothing() -> None:
    model = model_of(loss=LossConfig(rank=1.0), energy="rank")
    batch = batch_of(model)
    right, wrong = batch.rows(batch.first_error < 0), batch.rows(batch.first_error >= 0)
    place = torch.arange(wrong.valid.shape[1])

    def term(changed: torch.Tensor) -> float:
        noisy = dataclasses.replace(wrong, latents=torch.where(changed[..., None], 5.0, wrong.latents))
        terms = objective(model, right, noisy, torch.arange(len(noisy.valid)), torch.Generator().manual_seed(0))
        return terms["rank"].item()

    nothing = torch.zeros_like(wrong.valid)
    after, at = place > wrong.first_error[:, None], place == wrong.first_error[:, None]
    assert (after & wrong.valid).any() and term(after) == pytest.approx(term(nothing), rel=1e-5)
    assert term(at) != pytest.approx(term(nothing), rel=1e-3)


def test_negatives_of_infonce_reach_the_trunk_and_a_lone_batch_is_finite() -> None:
    model = model_of(loss=LossConfig(infonce=1.0))
    batch = batch_of(model)
    right, wrong = batch.rows(batch.first_error < 0), batch.rows(batch.first_error >= 0)
    terms = objective(model, right, wrong, torch.arange(len(wrong.valid)), torch.Generator().manual_seed(0))
    assert 0 < terms["infonce"].item() < 20
    (gradient,) = torch.autograd.grad(terms["infonce"], [model.context.project.weight])
    assert gradient.abs().max() > 0
    one = torch.tensor([0])
    lone = objective(model, right.rows(one), wrong.rows(one), one, torch.Generator().manual_seed(0))
    assert all(torch.isfinite(value) for value in lone.values())


def test_several_views_of_a_chain_may_be_drawn_in_one_update() -> None:
    model = model_of(masks=MaskConfig(per_sample=3), loss=RANK)
    batch = batch_of(model)
    right, wrong = batch.rows(batch.first_error < 0), batch.rows(batch.first_error >= 0)
    terms = objective(model, right, wrong, torch.arange(len(wrong.valid)), torch.Generator().manual_seed(0))
    assert all(torch.isfinite(value) for value in terms.values())


def test_a_domain_that_was_never_trained_on_is_unknown() -> None:
    model = model_of()
    foreign = dataclasses.replace(LATENTS, domain_names=("chemistry", "math"))
    assembler = Assembler(foreign, Reader.of(model.config, NORMALIZER), model.config, model.domain_names)
    assert assembler.gather(torch.arange(4).numpy()).domains.tolist() == [UNKNOWN_DOMAIN, 1, UNKNOWN_DOMAIN, 1]


def test_a_chain_longer_than_any_before_can_be_scored() -> None:
    model = model_of()
    batch = dataclasses.replace(
        batch_of(model).rows(torch.tensor([0])),
        latents=torch.randn(1, 300, 24),
        valid=torch.ones(1, 300).bool(),
        types=torch.zeros(1, 300, dtype=torch.int64),
    )
    assert torch.isfinite(model.energies(batch)).all()


def test_rankme_of_equal_singular_values_is_their_number() -> None:
    assert rankme(torch.eye(5).repeat(4, 1)) == pytest.approx(5.0, rel=1e-6)
    assert rankme(torch.ones(8, 5)) == pytest.approx(1.0, rel=1e-6)


def test_asking_for_a_head_that_was_not_built_is_an_error() -> None:
    model = model_of()
    with pytest.raises(ValueError, match="no energy 'rank'"):
        model.energies(batch_of(model), "rank")
