"""Rerank that decides on the way: how many candidates, which are given up, and whether there is an answer at all."""

import pytest

from rjepa.engine import Engine
from rjepa.errors import InvalidInputError
from rjepa.inference.risk import RiskPoint, RiskTable
from rjepa.reasoning.changes import Pruned
from rjepa.reasoning.events import CandidateStep, Done, StepWritten, Text
from rjepa.reasoning.question import ask
from tests.tiny_release import STATEMENT

from .conftest import Change


def test_auto_stops_as_soon_as_it_is_sure_enough(engine: Engine) -> None:
    few = engine.answer(ask(STATEMENT, options={"num_candidates": "auto", "target": 0.01}))
    many = engine.answer(ask(STATEMENT, options={"num_candidates": "auto", "target": 1.0, "max_candidates": 5}))
    assert few.explanation is not None and few.explanation.stopped == "sure_enough"
    assert few.p_correct is not None and few.p_correct >= 0.01 and len(few.candidates) < 5
    assert many.explanation is not None and many.explanation.stopped == "all_drawn" and len(many.candidates) == 5
    # Drawn one by one they are the chains that are drawn together.
    together = engine.answer(ask(STATEMENT, options={"num_candidates": 5}))
    assert [one.text for one in many.candidates] == [one.text for one in together.candidates]
    assert many.text == together.text and many.p_correct == pytest.approx(together.p_correct, abs=1e-3)


def test_auto_keeps_to_its_budget_and_streams_its_candidates(engine: Engine) -> None:
    options = {"num_candidates": "auto", "target": 1.0, "budget": 50}
    events = list(engine.run(ask(STATEMENT, options=options)))
    assert isinstance(events[-1], Done)
    answer = events[-1].answer
    assert answer.cost.tokens_generated <= 50
    assert answer.explanation is not None and answer.explanation.stopped == "out_of_budget"
    assert {event.candidate for event in events if isinstance(event, CandidateStep)} <= set(
        range(len(answer.candidates))
    )


def test_a_chain_is_given_up_at_a_surprising_step_and_never_chosen(engine: Engine) -> None:
    events = list(engine.run(ask(STATEMENT, options={"num_candidates": 8, "drop": 0.3}, seed=2)))
    assert isinstance(events[-1], Done)
    answer, pruned = events[-1].answer, [event for event in events if isinstance(event, Pruned)]
    assert pruned and answer.explanation is not None and list(answer.explanation.pruned) == pruned
    gone = {event.candidate for event in pruned}
    assert len(gone) == 8 or not any(answer.candidates[number].chosen for number in gone)
    for event in pruned:
        assert event.share_below is not None and event.share_below > 0.3 and event.energy is not None
    whole = engine.answer(ask(STATEMENT, options={"num_candidates": 8}, seed=2))
    assert answer.cost.tokens_generated < whole.cost.tokens_generated


def _table(threshold: float) -> RiskTable:
    return RiskTable(points=(RiskPoint(threshold=threshold, domain="math", answered=500, wrong=5),), candidates=4)


def test_the_dial_answers_where_it_is_sure_and_says_no_where_it_is_not(engine: Engine, recalibrate: Change) -> None:
    recalibrate(risk=_table(0.01))
    given = engine.answer(ask(STATEMENT, options={"max_error": 0.1}))
    assert not given.abstained and given.final_answer is not None
    recalibrate(risk=_table(0.999))
    events = list(engine.run(ask(STATEMENT, options={"max_error": 0.1})))
    assert isinstance(events[-1], Done)
    refused = events[-1].answer
    assert refused.abstained and refused.final_answer is None and refused.steps == []
    assert refused.text.startswith("No answer") and len(refused.candidates) == 4
    assert "".join(event.text for event in events if isinstance(event, Text | StepWritten)) == refused.text
    assert refused.explanation is not None and refused.explanation.stopped == "all_drawn"


def test_the_dial_never_answers_what_r_jepa_does_not_know(engine: Engine, recalibrate: Change) -> None:
    recalibrate(risk=_table(0.01), familiar_energy=(-99.0,))
    answer = engine.answer(ask(STATEMENT, options={"max_error": 0.1}))
    assert answer.abstained and "knows no problems like this one" in answer.text


def test_what_a_release_cannot_promise_is_refused_with_what_it_can(engine: Engine, recalibrate: Change) -> None:
    with pytest.raises(InvalidInputError, match="too few validation problems"):
        engine.check(ask(STATEMENT, options={"max_error": 0.1}))
    recalibrate(risk=_table(0.5))
    with pytest.raises(InvalidInputError, match=r"0\.0\d\d is the smallest"):
        engine.check(ask(STATEMENT, options={"max_error": 0.001}))
