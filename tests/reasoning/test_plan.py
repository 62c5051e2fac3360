"""Mode plan over a real student, a real release and a real, small decoder."""

from dataclasses import replace

import pytest
import torch

from rjepa.engine import Engine
from rjepa.errors import InvalidInputError
from rjepa.reasoning.answer import Answer
from rjepa.reasoning.changes import Planned
from rjepa.reasoning.events import Done, StepWritten, Text
from rjepa.reasoning.planning import Planner, read_steps
from rjepa.reasoning.question import InvalidQuestionError, ask
from rjepa.verbalizer.speaking import Verbalizer
from tests.tiny_release import STATEMENT

KNOWN = "Step 1: ?\nStep 2: so 7 apples"


def plan(engine: Engine, seed: int = 0, **options: object) -> Answer:
    return engine.answer(ask(STATEMENT, "plan", options, seed=seed))


def test_steps_are_read_with_and_without_labels_and_gaps_and_answers_are_told_apart() -> None:
    assert read_steps("Step 1: a = 1\n\n ? \n  **Step 3.** c = 2 \nAnswer: 3\n") == ["a = 1", None, "c = 2"]
    assert read_steps("x\n?") == ["x", None] and read_steps("  \n") == []


def test_a_gap_is_filled_in_words_before_the_student_goes_on(speaking_engine: Engine) -> None:
    events = list(speaking_engine.run(ask(STATEMENT, "plan", {"steps": KNOWN, "verb": "complete"})))
    (planned,) = [event for event in events if isinstance(event, Planned)]
    done = events[-1]
    assert isinstance(done, Done)
    answer = done.answer
    assert planned.step == 1 and planned.expected and planned.written is None
    assert answer.steps[:2] == [planned.expected, "so 7 apples"]
    assert "".join(event.text for event in events if isinstance(event, StepWritten | Text)) == answer.text
    assert answer.explanation is not None and answer.explanation.planned == (planned,)
    (candidate,) = answer.candidates
    given = sum(len(ids) for ids in speaking_engine.source.reader.tokenize(answer.text.splitlines(keepends=True)[:2]))
    assert answer.cost.tokens_generated == candidate.tokens - given and answer.cost.tokens_read > 0


def test_what_is_spoken_depends_on_the_latent(speaking_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = speaking_engine._parts
    assert parts.verbalizer is not None
    usual = plan(speaking_engine, steps=KNOWN, verb="complete").steps[0]
    asked: list[int] = []

    def other(latent: torch.Tensor, statement: str, segment: int) -> torch.Tensor:
        asked.append(segment)
        assert statement == STATEMENT
        return -3 * latent

    voice = Verbalizer(parts.verbalizer.decoder, other)
    monkeypatch.setattr(speaking_engine, "_parts", replace(parts, verbalizer=voice))
    assert plan(speaking_engine, steps=KNOWN, verb="complete").steps[0] != usual and asked == [1]


def test_refining_keeps_what_scores_better_and_says_what_was_expected(speaking_engine: Engine) -> None:
    found = 0
    for seed in range(4):
        answer = plan(speaking_engine, seed, rounds=3, surprise=0.3)
        assert answer.explanation is not None
        for planned in answer.explanation.planned:
            found += 1
            assert planned.expected != planned.written and "stands" in planned.why
        scores = [candidate.score or 0.0 for candidate in answer.candidates]
        assert next(one for one in answer.candidates if one.chosen).score == max(scores)
        assert len(answer.candidates) == 1 + len(answer.explanation.planned)
    assert found


def test_on_an_unfamiliar_problem_nothing_is_mended_and_the_answer_is_that_of_mode_off(
    speaking_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[list[str]] = []

    def mend(planner: Planner, steps: list[str], limit: float, rounds: int) -> list[str]:
        looked_at.append(steps)
        return steps

    monkeypatch.setattr(Planner, "mend", mend)
    parts = speaking_engine._parts
    for limits in ((), (-1e9,)):
        calibration = parts.calibration.model_copy(update={"familiar_energy": limits})
        monkeypatch.setattr(speaking_engine, "_parts", replace(parts, calibration=calibration))
        answer = plan(speaking_engine, steps="so 9 pears", verb="find")
        assert answer.explanation is not None and answer.explanation.familiar == (not limits)
        assert looked_at == [["so 9 pears"]]
    assert plan(speaking_engine, seed=1, surprise=0.05).text == speaking_engine.answer(ask(STATEMENT, "off")).text


def test_equal_questions_are_answered_equally_and_together_as_alone(speaking_engine: Engine) -> None:
    questions = [ask(STATEMENT, "plan", {"rounds": 2, "surprise": 0.3}, seed=seed, temperature=0.8) for seed in (0, 1)]
    together = speaking_engine.answer_many(questions)
    assert [answer.text for answer in together] == [speaking_engine.answer(one).text for one in questions]


def test_nothing_to_complete_is_refused_with_a_cure() -> None:
    with pytest.raises(InvalidQuestionError, match="no gap") as caught:
        ask(STATEMENT, "plan", {"steps": "Step 1: a", "verb": "complete"})
    assert "one a line" in caught.value.cure and caught.value.field == "options.steps"


def test_a_release_without_a_verbaliser_refuses_and_says_what_would_give_it(bare_engine: Engine) -> None:
    with pytest.raises(InvalidInputError, match="needs the part verbalizer") as caught:
        bare_engine.answer(ask(STATEMENT, "plan"))
    assert "latent_decoder" in caught.value.cure


def test_an_answer_says_what_was_expected_where_a_step_surprised(
    speaking_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = speaking_engine._parts
    calm = replace(parts, calibration=parts.calibration.model_copy(update={"step_threshold": 0.0}))
    monkeypatch.setattr(speaking_engine, "_parts", calm)
    question = ask(STATEMENT, "nudge", {"unfamiliar": "guide"}, seed=3)
    explanation = speaking_engine.answer(question).explanation
    assert explanation is not None and len(explanation.surprises) == 1
    for one in explanation.surprises:
        assert one.text == f'expected "{one.expected}", wrote "{one.written}"' and one.expected != one.written
        assert one.energy > 0 and one.written in speaking_engine.answer(question).text
    mute = replace(calm, verbalizer=None)
    monkeypatch.setattr(speaking_engine, "_parts", mute)
    silent = speaking_engine.answer(question).explanation
    assert silent is not None and silent.surprises == ()
