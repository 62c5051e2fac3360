"""Repair: what is cut and written again, what is kept, and that it costs no more than it is given."""

import pytest

from rjepa.engine import Engine
from rjepa.errors import InvalidInputError
from rjepa.reasoning.answer import Answer
from rjepa.reasoning.changes import Branch, Repaired
from rjepa.reasoning.events import CandidateStep, CandidateWritten, Done, Event, StepWritten, Text
from rjepa.reasoning.question import InvalidQuestionError, ask
from tests.tiny_release import STATEMENT

from .conftest import Change


def watch(engine: Engine, mode: str = "repair", **options: object) -> tuple[list[Event], Answer]:
    events = list(engine.run(ask(STATEMENT, mode, options)))
    assert isinstance(events[-1], Done)
    return events, events[-1].answer


def segments(events: list[Event]) -> dict[int, list[str]]:
    """The texts of each candidate's steps, those that it shares with its parent first."""
    found: dict[int, list[str]] = {}
    for event in events:
        if isinstance(event, Branch):
            found[event.candidate] = [] if event.parent is None else found[event.parent][: event.step]
        elif isinstance(event, CandidateStep):
            found[event.candidate][event.step - 1 :] = [event.text]
    return found


def test_a_surprising_step_is_cut_and_what_stands_before_it_is_kept(engine: Engine) -> None:
    events, answer = watch(engine, surprise=0.3, rounds=6, chains=2)
    assert answer.explanation is not None and answer.explanation.repaired
    assert [event for event in events if isinstance(event, Repaired)] == list(answer.explanation.repaired)
    texts = segments(events)
    for one in answer.explanation.repaired:
        old, new = answer.candidates[one.candidate], answer.candidates[one.rewritten]
        kept = "".join(texts[one.candidate][: one.step - 1])
        assert old.text.startswith(kept) and new.text.startswith(kept)
        assert one.old in texts[one.candidate][one.step - 1]
        if one.accepted:
            assert new.score is not None and old.score is not None and new.score > old.score
    best = max(answer.candidates, key=lambda one: (one.final_answer is not None, one.score or 0.0))
    assert best.score == next(one.score for one in answer.candidates if one.chosen)


def test_every_step_of_every_candidate_is_streamed_once_with_its_energy(engine: Engine) -> None:
    events, answer = watch(engine, surprise=0.3, rounds=4)
    texts = segments(events)
    assert {number: "".join(parts) for number, parts in texts.items()} == {
        candidate.index: candidate.text for candidate in answer.candidates
    }
    assert all(event.energy is not None for event in events if isinstance(event, CandidateStep))
    written = [event.index for event in events if isinstance(event, CandidateWritten)]
    repeats = {event.rewritten for event in events if isinstance(event, Repaired) and "before" in event.why}
    assert sorted(written) == [one.index for one in answer.candidates if one.index not in repeats]
    assert "".join(event.text for event in events if isinstance(event, Text | StepWritten)) == answer.text


def test_a_rewrite_that_begins_as_one_before_it_is_given_up_at_once(engine: Engine) -> None:
    events, answer = watch(engine, surprise=0.1, rounds=16)
    texts, seen = segments(events), {}
    assert answer.explanation is not None
    for one in answer.explanation.repaired:
        place = "".join(texts[one.rewritten][: one.step - 1])
        seen.setdefault(place, {texts[one.candidate][one.step - 1]})
        new = texts[one.rewritten][one.step - 1 :]
        if new and new[0] in seen[place] and "before" in one.why:
            assert len(new) == 1 and not one.accepted
        seen[place] |= set(new[:1])
    assert any("before" in one.why for one in answer.explanation.repaired)


def test_a_control_cuts_anywhere(engine: Engine) -> None:
    _, answer = watch(engine, surprise=0.999, rounds=4)
    _, control = watch(engine, surprise=0.999, rounds=4, cut="random")
    assert answer.explanation is not None and control.explanation is not None
    assert len(control.explanation.repaired) == 4 > len(answer.explanation.repaired)


def test_kept_steps_cost_nothing(engine: Engine) -> None:
    _, answer = watch(engine, surprise=0.3, rounds=6)
    assert answer.cost.tokens_generated < sum(one.tokens for one in answer.candidates)
    assert answer.cost.tokens_read == answer.prompt_tokens


@pytest.mark.parametrize("budget", [10, 40, 70])
def test_no_more_tokens_are_drawn_than_the_budget_has(engine: Engine, budget: int) -> None:
    _, answer = watch(engine, surprise=0.1, rounds=32, chains=3, budget=budget)
    assert 0 < answer.cost.tokens_generated <= budget
    assert answer.explanation is not None


def test_equal_questions_have_equal_answers_alone_and_together(engine: Engine) -> None:
    question = ask(STATEMENT, "repair", {"surprise": 0.3, "rounds": 3})
    others = [ask(STATEMENT.replace("3", "2"), "repair", {"surprise": 0.2}), ask(STATEMENT, "off")]
    alone, together = engine.answer(question), engine.answer_many([others[0], question, others[1]])[1]
    assert [one.text for one in alone.candidates] == [one.text for one in together.candidates]
    assert alone.text == together.text


def test_what_r_jepa_does_not_know_is_not_repaired(engine: Engine, recalibrate: Change) -> None:
    recalibrate(familiar_energy=(-99.0,))
    _, answer = watch(engine, surprise=0.1, chains=2)
    assert answer.p_correct is None and answer.explanation is not None
    assert not answer.explanation.familiar and not answer.explanation.repaired
    assert "knows no problems like this" in answer.explanation.text


def test_greedy_chains_and_releases_without_right_steps_are_refused(engine: Engine, recalibrate: Change) -> None:
    with pytest.raises(InvalidQuestionError, match="temperature 0"):
        ask(STATEMENT, "repair", temperature=0)
    recalibrate(step_quantiles=())
    with pytest.raises(InvalidInputError, match="does not know how surprising right ones are"):
        engine.check(ask(STATEMENT, "repair"))
