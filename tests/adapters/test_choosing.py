"""Which fit is chosen, on problems that it has not seen, and how far its pairs reach."""

import dataclasses

import numpy as np
import pytest

from rjepa.adapters.choosing import Choice, Fitter, Recipe, choose_maps, correlation
from rjepa.adapters.coverage import Reach
from rjepa.adapters.network import NetworkSettings
from rjepa.adapters.pairs import Matched, pairs_of
from rjepa.adapters.refining import RefineSettings
from rjepa.errors import InvalidInputError
from rjepa.jepa.model import build_model
from rjepa.latents.normalizer import normalizer_of
from tests.adapters.students import TARGET_WIDTH, matched_students
from tests.jepa.synthetic import WIDTH, tiny_config


def _fitter(matched: Matched) -> Fitter:
    model = build_model(tiny_config(), WIDTH, ("math", "logic")).eval().requires_grad_(False)
    return Fitter(
        model,
        normalizer_of(np.asarray(matched.source.latents, dtype=np.float32)),
        NetworkSettings(hidden=64, updates=300, batch=64, noise=0.0, rate=0.1),
        RefineSettings(updates=40, chains=24, rate=0.01),
    )


@pytest.fixture(scope="module")
def chosen() -> Choice:
    matched = matched_students(100, 0)
    return choose_maps(matched, _fitter(matched))


def test_where_students_differ_by_a_curve_a_network_is_chosen(chosen: Choice) -> None:
    assert chosen.best.recipe.method in ("mlp", "refined")
    assert chosen.into.residual is not None
    assert (chosen.into.width_in, chosen.into.width_out) == (TARGET_WIDTH, WIDTH)
    assert (chosen.back.width_in, chosen.back.width_out) == (WIDTH, TARGET_WIDTH)


def test_every_fit_that_can_be_made_is_tried_and_the_best_is_the_one_that_agrees_most(chosen: Choice) -> None:
    methods = {each.recipe.method for each in chosen.tried}
    assert methods == {"procrustes", "ridge", "reduced_rank", "mlp", "refined"}
    assert chosen.best.agreement == max(each.agreement for each in chosen.tried)
    of_method = {each.recipe.method: each for each in chosen.tried}
    assert of_method["procrustes"].r2 < max(each.r2 for each in chosen.tried if each.recipe.method == "ridge")


def test_fits_are_judged_on_problems_that_they_have_not_seen() -> None:
    matched = matched_students(8, 0, width=80)
    noise = np.random.default_rng(0).normal(size=matched.source.latents.shape).astype(np.float16)
    unrelated = dataclasses.replace(matched, source=dataclasses.replace(matched.source, latents=noise))
    choice = choose_maps(unrelated, _fitter(unrelated), ["ridge"])
    # So many columns explain any few pairs that they were fitted on.
    assert max(each.r2 for each in choice.tried) < 0.5


def test_the_way_back_gives_about_what_was_read(chosen: Choice) -> None:
    latents = pairs_of(matched_students(20, 5)).target
    back = chosen.back.apply(chosen.into.apply(latents))
    spread = np.square(latents - latents.mean(0)).sum()
    assert np.square(back - latents).sum() < 0.4 * spread
    assert 0.6 < chosen.r2_back <= 1


def test_columns_go_over_one_by_one_between_equal_widths_only() -> None:
    matched = matched_students(6, 0, width=WIDTH)
    assert choose_maps(matched, _fitter(matched), ["standardise"]).best.recipe == Recipe("standardise")
    other = matched_students(6, 0)
    with pytest.raises(InvalidInputError, match="none of the fits standardise"):
        choose_maps(other, _fitter(other), ["standardise"])


def test_two_problems_are_enough_and_one_is_not() -> None:
    matched = matched_students(2, 0)
    assert choose_maps(matched, _fitter(matched), ["ridge"]).best.recipe.method == "ridge"
    one = matched.of_problems(matched.problems[:1])
    with pytest.raises(ValueError, match="two problems"):
        choose_maps(one, _fitter(one))


def test_correlation_of_what_does_not_move_is_none() -> None:
    assert correlation(np.ones(5), np.arange(5.0)) == 0.0
    assert correlation(np.arange(5.0), 2 * np.arange(5.0)) == pytest.approx(1.0)


def test_latents_like_the_pairs_are_reached_and_strange_ones_are_not() -> None:
    random = np.random.default_rng(0)
    mix = random.normal(size=(6, 10))

    def rows(count: int, scale: float = 1.0) -> np.ndarray:
        return (scale * random.normal(size=(count, 6)) @ mix).astype(np.float32)

    fitted = rows(2000)
    reach = Reach.of(normalizer_of(fitted), fitted)
    assert reach.share(rows(2000)) == pytest.approx(0.99, abs=0.015)
    assert reach.share(rows(500, scale=4.0)) < 0.5
    # Off the plane that the pairs lie in, however near to their centre.
    assert reach.share(fitted[:200] + random.normal(size=(200, 10)).astype(np.float32)) < 0.5
    few = rows(8)
    assert Reach.of(normalizer_of(few), few).share(rows(500)) < reach.share(rows(500))
