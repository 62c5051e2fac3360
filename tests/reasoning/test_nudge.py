"""Mode nudge over a real student, a real release and a real, small decoder."""

from dataclasses import replace
from pathlib import Path

import pytest

from rjepa.engine import Engine
from rjepa.errors import InvalidInputError
from rjepa.home import Home
from rjepa.inference.risk import RiskPoint, RiskTable
from rjepa.reasoning.answer import Answer
from rjepa.reasoning.events import CandidateStep, Done, StepWritten
from rjepa.reasoning.question import InvalidQuestionError, ask
from tests.speaking_release import publish_speaking
from tests.tiny_release import STATEMENT, TAG, register_student, taught_folder


@pytest.fixture
def engine(speaking_engine: Engine) -> Engine:
    return speaking_engine


def nudge(engine: Engine, temperature: float | None = None, seed: int = 0, **options: object) -> Answer:
    return engine.answer(ask(STATEMENT, "nudge", options, temperature=temperature, seed=seed))


def test_without_weight_the_chain_is_the_one_of_mode_off_to_the_token(engine: Engine) -> None:
    for seed in range(3):
        alone = engine.answer(ask(STATEMENT, "off", temperature=0.8, seed=seed))
        assert nudge(engine, 0.8, seed, alpha=0.0).text == alone.text
    assert nudge(engine, 0.0, alpha=0.0).text == engine.answer(ask(STATEMENT, "off", temperature=0.0)).text


def test_where_no_temperature_is_asked_for_the_first_candidate_is_the_greedy_chain_and_the_others_are_drawn(
    engine: Engine,
) -> None:
    greedy, together = nudge(engine, 0.0), nudge(engine, seed=3, num_candidates=4)
    assert nudge(engine, seed=3).text == nudge(engine, seed=4).text == greedy.text == together.candidates[0].text
    drawn = nudge(engine, engine._parts.sampling_temperature, 3, num_candidates=3)
    assert [one.text for one in together.candidates[1:]] == [one.text for one in drawn.candidates]


def test_guidance_changes_what_is_written_and_equal_questions_are_answered_equally(engine: Engine) -> None:
    alone = [nudge(engine, 0.8, seed, alpha=0.0).text for seed in range(4)]
    guided = [nudge(engine, 0.8, seed, alpha=2.0).text for seed in range(4)]
    assert alone != guided
    assert guided == [nudge(engine, 0.8, seed, alpha=2.0).text for seed in range(4)]


def test_the_releases_own_weight_is_used_where_none_is_named(engine: Engine) -> None:
    assert nudge(engine, 0.8, 1).text == nudge(engine, 0.8, 1, alpha=0.7).text


def test_questions_that_are_answered_together_are_answered_as_each_alone(engine: Engine) -> None:
    questions = [ask(STATEMENT, "nudge", {"alpha": 1.5}, seed=seed) for seed in range(3)]
    together = engine.answer_many([*questions, ask(STATEMENT, "off")])
    for question, answer in zip(questions, together, strict=False):
        assert answer.text == engine.answer(question).text


def test_a_single_chains_steps_come_as_they_are_written_and_make_its_text(engine: Engine) -> None:
    events = list(engine.run(ask(STATEMENT, "nudge", seed=2)))
    steps = [event for event in events if isinstance(event, StepWritten)]
    done = events[-1]
    assert isinstance(done, Done) and "".join(step.text for step in steps) == done.answer.text
    assert all(step.energy is not None for step in steps)
    assert done.answer.explanation is not None and "guided every step" in done.answer.explanation.text
    assert done.answer.p_correct is None and done.answer.cost.world_model_passes >= len(steps)


@pytest.mark.parametrize("choice", ["logprob", "energy"])
def test_several_guided_chains_are_chosen_among_by_what_is_asked_for(engine: Engine, choice: str) -> None:
    events = list(engine.run(ask(STATEMENT, "nudge", {"num_candidates": 5, "choice": choice}, seed=4)))
    answer = events[-1].answer if isinstance(events[-1], Done) else None
    assert answer is not None and len(answer.candidates) == 5 and answer.explanation is not None
    assert all(("energy" in one.contributions) == (choice == "energy") for one in answer.candidates)
    assert answer.p_correct is None and all(one.p_correct is None for one in answer.candidates)
    assert {event.candidate for event in events if isinstance(event, CandidateStep)} == set(range(5))
    assert "".join(event.text for event in events if isinstance(event, StepWritten)) == answer.text


@pytest.fixture
def sure_engine(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Of a release that says how sure a guided answer is; its dial promises one wrong answer in twenty."""
    risk = RiskTable(points=(RiskPoint(threshold=0.01, domain="math", answered=500, wrong=5),), candidates=4)
    told = engine._parts.calibration.model_copy(update={"risk": risk})
    monkeypatch.setattr(engine, "_parts", replace(engine._parts, guided_calibration=told))
    return engine


def test_a_guided_answer_says_how_sure_it_is_where_the_release_knows(sure_engine: Engine) -> None:
    events = list(sure_engine.run(ask(STATEMENT, "nudge", {"num_candidates": 3}, seed=2)))
    answer = events[-1].answer if isinstance(events[-1], Done) else None
    assert answer is not None and answer.p_correct is not None and 0 <= answer.p_correct <= 1
    assert all(one.p_correct is not None for one in answer.candidates)
    told = [event.p_correct for event in events if isinstance(event, StepWritten)]
    assert told[-1] == answer.p_correct
    assert answer.explanation is not None and "guided every step" in answer.explanation.text
    # Of chains that are guided or chosen in another way it says nothing.
    for options in ({"alpha": 0.3}, {"anneal": 0.1}, {"blend": 0.1}, {"choice": "energy"}):
        other = nudge(sure_engine, 0.8, 2, num_candidates=3, **options)
        assert other.p_correct is None and all(one.p_correct is None for one in other.candidates)


def test_guided_candidates_are_drawn_until_the_answer_is_sure_enough(sure_engine: Engine) -> None:
    few = nudge(sure_engine, num_candidates="auto", target=0.01)
    assert few.explanation is not None and few.explanation.stopped == "sure_enough" and len(few.candidates) < 5
    many = nudge(sure_engine, num_candidates="auto", target=1.0, max_candidates=5)
    assert many.explanation is not None and many.explanation.stopped == "all_drawn"
    assert "5 candidates were drawn, at most 5." in many.explanation.text
    together = nudge(sure_engine, num_candidates=5)
    assert [one.text for one in many.candidates] == [one.text for one in together.candidates]
    assert many.text == together.text and many.p_correct == pytest.approx(together.p_correct, abs=1e-3)
    waves = nudge(sure_engine, num_candidates="auto", target=1.0, max_candidates=5, wave=2)
    assert [one.text for one in waves.candidates] == [one.text for one in together.candidates]
    wide = nudge(sure_engine, num_candidates="auto", target=1.0, max_candidates=3, wave=9)
    assert [one.text for one in wide.candidates] == [one.text for one in together.candidates[:3]]
    spent = nudge(sure_engine, num_candidates="auto", target=1.0, budget=50)
    assert spent.cost.tokens_generated <= 50
    assert spent.explanation is not None and spent.explanation.stopped == "out_of_budget"


def test_the_dial_answers_by_guided_chains_too(sure_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not nudge(sure_engine, max_error=0.1).abstained
    parts = sure_engine._parts
    assert parts.guided_calibration is not None and parts.guidance is not None
    strict = RiskTable(points=(RiskPoint(threshold=0.999, domain="math", answered=500, wrong=5),), candidates=4)
    unsure = parts.guided_calibration.model_copy(update={"risk": strict})
    monkeypatch.setattr(sure_engine, "_parts", replace(parts, guided_calibration=unsure))
    refused = nudge(sure_engine, max_error=0.1)
    assert refused.abstained and len(refused.candidates) == 4 and "too low to keep errors at 10%" in refused.text
    assert parts.guidance.familiarity is not None
    knows_none = replace(parts.guidance, familiarity=replace(parts.guidance.familiarity, limit=-1.0))
    monkeypatch.setattr(sure_engine, "_parts", replace(parts, guidance=knows_none))
    unknown = nudge(sure_engine, max_error=0.1)
    assert unknown.abstained and unknown.p_correct is None and "knows no problems like this one" in unknown.text
    alone = nudge(sure_engine, num_candidates="auto")
    assert alone.text == sure_engine.answer(ask(STATEMENT, "off")).text and alone.p_correct is None


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"num_candidates": "auto", "alpha": 0.5}, "its own settings"),
        ({"max_error": 0.1, "choice": "energy"}, "its own settings"),
        ({"max_error": 0.1, "unfamiliar": "guide"}, "its own settings"),
        ({"max_error": 0.001}, "is the smallest"),
    ],
)
def test_a_stop_that_nothing_is_known_of_is_refused(
    sure_engine: Engine, options: dict[str, object], problem: str
) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        sure_engine.check(ask(STATEMENT, "nudge", options))


def test_a_release_that_does_not_know_how_sure_guided_answers_are_says_what_would_give_it(engine: Engine) -> None:
    for options in ({"num_candidates": "auto"}, {"max_error": 0.2}):
        with pytest.raises(InvalidInputError, match="how sure a guided answer is") as caught:
            engine.check(ask(STATEMENT, "nudge", options))
        assert "logit_guidance" in caught.value.cure


def test_what_was_fitted_to_guided_chains_is_released_with_the_guidance(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = Home(tmp_path / "home")
    student = register_student(home, taught_folder(tmp_path_factory))
    publish_speaking(home, student, tmp_path, updates=2, guided=True)
    engine = Engine.load(home, TAG, "cpu")
    part = engine.manifest.part("guidance")
    assert part is not None and "guidance/calibration.json" in part.files
    assert engine.answer(ask(STATEMENT, "nudge")).p_correct is not None


def test_a_pull_on_the_hidden_states_changes_the_chain_and_none_does_not(engine: Engine) -> None:
    plain = [nudge(engine, 0.8, seed, alpha=0.0).text for seed in range(4)]
    assert plain == [nudge(engine, 0.8, seed, alpha=0.0, blend=0.0, blend_gate="calm").text for seed in range(4)]
    assert plain != [nudge(engine, 0.8, seed, alpha=0.0, blend=0.9).text for seed in range(4)]


def test_on_an_unfamiliar_problem_the_student_writes_alone_and_the_answer_says_so(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    guidance = engine._parts.guidance
    assert guidance is not None and guidance.familiarity is not None
    strict = replace(guidance, familiarity=replace(guidance.familiarity, limit=-1.0))
    monkeypatch.setattr(engine, "_parts", replace(engine._parts, guidance=strict))
    for seed in range(3):
        answer = nudge(engine, 0.8, seed, alpha=2.0)
        assert answer.text == engine.answer(ask(STATEMENT, "off", temperature=0.8, seed=seed)).text
        assert answer.explanation is not None and not answer.explanation.familiar
        assert "guided no step" in answer.explanation.text
    off = engine.answer(ask(STATEMENT, "off"))
    assert [nudge(engine, seed=seed).text for seed in range(2)] == [off.text] * 2
    assert any(
        nudge(engine, 0.8, seed, alpha=2.0, unfamiliar="guide").text != nudge(engine, 0.8, seed, alpha=2.0).text
        for seed in range(3)
    )


def test_a_release_without_guidance_refuses_and_says_what_would_give_it(bare_engine: Engine) -> None:
    with pytest.raises(InvalidInputError, match="needs the part guidance") as caught:
        bare_engine.answer(ask(STATEMENT, "nudge"))
    assert "logit_guidance" in caught.value.cure and "backfill --decoders" in caught.value.cure


def test_the_same_chain_several_times_is_refused() -> None:
    for options in ({"num_candidates": 2}, {"num_candidates": "auto"}, {"max_error": 0.2}):
        with pytest.raises(InvalidQuestionError, match="nothing to choose from"):
            ask(STATEMENT, "nudge", options, temperature=0.0)
