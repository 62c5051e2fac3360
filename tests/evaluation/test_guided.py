"""Choosing how strongly to guide, and the controls, on a real student and a small decoder."""

import numpy as np
import pytest
import torch

from rjepa.engine import Engine
from rjepa.evaluation.controls import OtherProblems, random_direction, zeroed
from rjepa.evaluation.guided import WEIGHTS, choose_settings, try_mode
from rjepa.evaluation.guided_fit import fit_guided, guided_pool
from rjepa.evaluation.planned import fill_gap, find_gap, make_gaps, write_alone
from rjepa.evaluation.pool import CandidatePool
from rjepa.reasoning.question import ask
from rjepa.schemas import Candidate, ChainOfThought, Problem, Split
from rjepa.validation.judge import judge
from rjepa.verbalizer.guiding import GuidanceSettings
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
    assert found.problems == 6 and len(WEIGHTS) <= len(found.tried) <= len(WEIGHTS) + 1
    assert found.tried[f"alpha {found.alpha}, anneal {found.anneal}"] == max(found.tried.values())


def test_guided_chains_are_those_of_the_mode_each_with_its_verdict(speaking_engine: Engine, material: Small) -> None:
    problems = material.problems[:5]
    pool = guided_pool(speaking_engine._student, speaking_engine._parts, problems, 3)
    assert [one.problem_id for one in pool.problems] == [one.problem_id for one in problems]
    for problem, row, greedy, energies in zip(problems, pool.candidates, pool.greedy, pool.energies, strict=True):
        answer = speaking_engine.answer(ask(problem.statement, "nudge", {"num_candidates": 3}))
        assert [one.text for one in row] == [one.text for one in answer.candidates]
        assert greedy == row[0]
        assert greedy.text == speaking_engine.answer(ask(problem.statement, "nudge", temperature=0.0)).text
        verdicts = [judge(problem, one.steps, one.final_answer) for one in row]
        assert [one.is_correct for one in row] == [one.is_correct for one in verdicts]
        assert [one.first_error_step for one in row] == [one.first_error_step for one in verdicts]
        assert [len(one) for one in energies] == [
            len(one.step_energies) + (one.answer_energy is not None) for one in answer.candidates
        ]


def _mixed_pool(problems: list[Problem], split: Split) -> CandidatePool:
    """Guided chains of which the one with more energy is wrong; all are as probable."""
    rng = np.random.default_rng(0)

    def chain(problem: Problem, index: int, right: bool) -> Candidate:
        gold = problem.answer_gold or ""
        return Candidate(
            problem_id=problem.problem_id,
            sample_index=index,
            text="",
            steps=["a step"],
            final_answer=gold if right else f"{gold}{index}",
            finished=True,
            token_logprobs=list(-rng.exponential(size=4)),
            is_correct=right,
        )

    many = [
        one.model_copy(update={"problem_id": f"{one.problem_id}-{turn}", "split": split})
        for turn in range(60)
        for one in problems
    ]
    right = rng.random((len(many), 4)) < 0.6
    return CandidatePool(
        many,
        [
            [chain(one, place, bool(is_right)) for place, is_right in enumerate(row)]
            for one, row in zip(many, right, strict=True)
        ],
        [chain(one, -1, True) for one in many],
        [[rng.exponential(size=2) * (0.1 if is_right else 1.0) for is_right in row] for row in right],
    )


def test_how_sure_a_guided_answer_is_is_fitted_to_guided_chains(speaking_engine: Engine, material: Small) -> None:
    alone, settings = speaking_engine._parts.calibration, GuidanceSettings(alpha=1.0, tried={"one": 0.5}, problems=3)
    pool = _mixed_pool(material.problems[:5], "validation")
    fit = fit_guided(settings, pool, alone)
    assert fit.calibration is not None and fit.calibration.problems == len(pool)
    assert fit.settings.choice == "energy" and fit.settings.tried["one"] == 0.5
    assert fit.settings.tried["4 candidates, by energy"] > fit.settings.tried["4 candidates, by logprob"] + 0.1
    assert fit.settings.alpha == 1.0
    told = fit.calibration.p_correct(pool.table.first(1))[:, 0]
    assert abs(told.mean() - pool.correct[:, 0].mean()) < 0.05
    # The energy of a guided step is shown against those of unguided right steps, as in every other mode.
    assert fit.calibration.step_threshold == alone.step_threshold
    assert fit.calibration.step_quantiles == alone.step_quantiles


def test_from_too_few_guided_chains_nothing_is_fitted_and_the_choice_is_still_found_out(
    speaking_engine: Engine, material: Small
) -> None:
    pool = _mixed_pool(material.problems[:5], "validation").select(np.arange(6))
    fit = fit_guided(GuidanceSettings(alpha=1.0), pool, speaking_engine._parts.calibration)
    assert fit.calibration is None
    assert set(fit.settings.tried) == {"4 candidates, by logprob", "4 candidates, by energy"}
    with pytest.raises(ValueError, match="validation problems only"):
        fit_guided(
            GuidanceSettings(alpha=1.0), _mixed_pool(material.problems[:2], "test"), speaking_engine._parts.calibration
        )


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
