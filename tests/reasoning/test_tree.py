"""Tree: every search ends in a whole chain within its bounds, and says what it gave up."""

import pytest

from rjepa.engine import Engine
from rjepa.reasoning.changes import Branch, Pruned
from rjepa.reasoning.events import CandidateStep, Done, StepWritten, Text
from rjepa.reasoning.question import ask
from tests.tiny_release import STATEMENT

from .conftest import Change

SEARCHES = ["depth_first", "beam", "best_first", "particles"]


@pytest.mark.parametrize("search", SEARCHES)
def test_a_search_ends_in_a_whole_chain_and_tells_what_it_gave_up(engine: Engine, search: str) -> None:
    options = {"search": search, "width": 2, "branching": 3, "nodes": 24, "surprise": 0.4}
    events = list(engine.run(ask(STATEMENT, "tree", options)))
    assert isinstance(events[-1], Done)
    answer = events[-1].answer
    assert answer.explanation is not None and answer.candidates
    chosen = next(one for one in answer.candidates if one.chosen)
    assert (
        "".join(event.text for event in events if isinstance(event, Text | StepWritten)) == answer.text == chosen.text
    )
    assert [event for event in events if isinstance(event, Pruned)] == list(answer.explanation.pruned)
    assert sum(isinstance(event, Branch) for event in events) == len(answer.candidates)
    written = sum(isinstance(event, CandidateStep) for event in events)
    assert written <= 24 * 2 + 100
    assert answer == engine.answer(ask(STATEMENT, "tree", options)).model_copy(update={"cost": answer.cost})


def test_depth_first_goes_back_before_a_surprising_step(engine: Engine) -> None:
    events = list(engine.run(ask(STATEMENT, "tree", {"surprise": 0.3, "branching": 3})))
    pruned = [event for event in events if isinstance(event, Pruned)]
    branches = {event.candidate: event for event in events if isinstance(event, Branch)}
    assert pruned
    for one in pruned:
        assert one.share_below is not None and one.share_below > 0.3
    forks = [one for one in branches.values() if one.parent is not None]
    assert forks and all(one.step <= gone.step for one, gone in zip(forks, pruned, strict=False))


@pytest.mark.parametrize("search", SEARCHES)
def test_a_search_keeps_to_its_budget(engine: Engine, search: str) -> None:
    answer = engine.answer(
        ask(STATEMENT, "tree", {"search": search, "width": 4, "branching": 4, "surprise": 0.1, "budget": 60})
    )
    assert 0 < answer.cost.tokens_generated <= 60


def test_of_a_problem_that_r_jepa_does_not_know_the_answer_is_that_of_mode_off(
    engine: Engine, recalibrate: Change
) -> None:
    recalibrate(familiar_energy=(-99.0,))
    off = engine.answer(ask(STATEMENT, "off"))
    for mode in ("tree", "repair"):
        answer = engine.answer(ask(STATEMENT, mode, {"surprise": 0.1}))
        assert answer.text == off.text and answer.p_correct is None
        assert answer.explanation is not None and "R-JEPA knows no problems like this one" in answer.explanation.text
