"""Mode nudge over a real student, a real release and a real, small decoder."""

from dataclasses import replace

import pytest

from rjepa.engine import Engine
from rjepa.errors import InvalidInputError
from rjepa.reasoning.answer import Answer
from rjepa.reasoning.events import CandidateStep, Done, StepWritten
from rjepa.reasoning.question import InvalidQuestionError, ask
from tests.tiny_release import STATEMENT


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
    with pytest.raises(InvalidQuestionError, match="nothing to choose from"):
        ask(STATEMENT, "nudge", {"num_candidates": 2}, temperature=0.0)
