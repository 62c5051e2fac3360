"""Choosing how strongly to guide, and the controls, on a real student and a small decoder."""

import pytest
import torch

from rjepa.engine import Engine
from rjepa.evaluation.controls import OtherProblems, random_direction, zeroed
from rjepa.evaluation.guided import WEIGHTS, choose_settings, try_mode
from rjepa.evaluation.planned import fill_gap, find_gap, make_gaps, write_alone
from rjepa.schemas import ChainOfThought
from tests.reasoning.conftest import speaking_engine
from tests.verbalizer.small import Small, small

__all__ = ["speaking_engine"]


@pytest.fixture(scope="module")
def material(speaking_engine: Engine) -> Small:
    return small(speaking_engine._student._student)  # type: ignore[attr-defined]


def test_settings_are_the_best_of_those_that_were_tried_on_the_given_problems(
    speaking_engine: Engine, material: Small
) -> None:
    found = choose_settings(speaking_engine._student, speaking_engine._parts, material.problems[:6])
    several = {name.split()[-1]: share for name, share in found.tried.items() if "candidates" in name}
    alone = {name: share for name, share in found.tried.items() if "candidates" not in name}
    assert found.problems == 6 and len(WEIGHTS) <= len(alone) <= len(WEIGHTS) + 1
    assert alone[f"alpha {found.alpha}, anneal {found.anneal}"] == max(alone.values())
    assert set(several) == {"logprob", "energy"} and several[found.choice] == max(several.values())


def test_a_mode_is_tried_with_the_same_noise_whatever_its_options(speaking_engine: Engine, material: Small) -> None:
    source, parts = speaking_engine._student, speaking_engine._parts
    first = try_mode(source, parts, material.problems[:4], "nudge", {"alpha": 0.0}, temperature=0.8, seed=1)
    again = try_mode(source, parts, material.problems[:4], "off", {}, temperature=0.8, seed=1)
    assert first.right == again.right and first.tokens == again.tokens and first.tokens_a_problem > 0


def test_controls_keep_the_length_say_nothing_or_say_something_else() -> None:
    latent = torch.randn(12)
    assert not zeroed(latent, "a", 1).any()
    drawn = random_direction(latent, "a", 1)
    assert drawn.norm() == pytest.approx(float(latent.norm()), rel=1e-5)
    assert torch.equal(drawn, random_direction(latent, "a", 1))
    assert not torch.equal(drawn, random_direction(latent, "b", 1))
    others = OtherProblems(torch.arange(6.0).view(3, 2), torch.tensor([1, 1, 2]))
    assert others(latent[:2], "a", 5).tolist() == [4.0, 5.0]
    assert {tuple(others(latent[:2], name, 1).tolist()) for name in "abcdefgh"} == {(0.0, 1.0), (2.0, 3.0)}


def test_gaps_are_made_filled_and_found(speaking_engine: Engine, material: Small) -> None:
    source, parts = speaking_engine._student, speaking_engine._parts
    chain = material.chains[0]
    longer = ChainOfThought.model_validate({**chain.model_dump(), "steps": [*chain.steps, "so it is"]})
    (gap,) = make_gaps(material.problems, [longer, *material.chains[1:]], 5)
    assert len(gap.known) == 2 and gap.place < 2
    assert fill_gap(source, parts, gap)
    place, energies = find_gap(source, parts, gap)
    assert place in (0, 1) and len(energies) == 2
    assert write_alone(source, parts, gap) == write_alone(source, parts, gap) != ""
