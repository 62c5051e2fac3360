"""Modes that act on steps, where a server writes: llama.cpp's own, with the student's weights. What they say is what
they say where the weights are here.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rjepa.engine import Engine
from rjepa.errors import InvalidInputError
from rjepa.home import Home
from rjepa.reasoning.events import CandidateStep, Done, StepWritten
from rjepa.reasoning.question import Message, ask
from rjepa.sampling.endpoint import EndpointSource
from tests.speaking_release import publish_speaking
from tests.tiny_release import STATEMENT, TAG, move_to_endpoint, register_student, taught_folder

pytestmark = pytest.mark.slow
pytest.importorskip("xllamacpp")
pytest.importorskip("gguf")


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, Engine]]:
    """A release whose student's weights are here, and the same one whose chains llama.cpp writes."""
    from tests.sampling.llama_cpp import llama_cpp
    from tests.students.gguf_files import write_gguf

    root: Path = tmp_path_factory.mktemp("at-an-endpoint")
    home = Home(root / "home")
    student = register_student(home, taught_folder(tmp_path_factory))
    publish_speaking(home, student, root, guided=True)
    here = Engine.load(home, TAG, "cpu")
    with llama_cpp(write_gguf(root / "taught.gguf", student.model, student.tokenizer)) as url:
        move_to_endpoint(home, student.record, url)
        yield here, Engine.load(home, TAG, "cpu")


@pytest.mark.parametrize(
    ("mode", "options", "temperature"),
    [
        ("nudge", {}, None),
        ("nudge", {"alpha": 2.0, "num_candidates": 3}, 0.8),
        ("nudge", {"num_candidates": "auto", "max_candidates": 3, "target": 0.99}, None),
        ("repair", {"chains": 1, "rounds": 2, "surprise": 0.5}, None),
        ("tree", {"branching": 2, "width": 2}, None),
        ("plan", {"verb": "complete", "steps": "Mia has 3 + 4 = 7\n?"}, None),
        ("plan", {"verb": "refine"}, None),
        ("off", {}, 0.0),
    ],
)
def test_every_mode_answers_as_with_the_weights_here(
    engines: tuple[Engine, Engine], mode: str, options: dict[str, Any], temperature: float | None
) -> None:
    here, there = engines
    question = ask(STATEMENT, mode, options, temperature=temperature, seed=2)
    own, answer = here.answer(question), there.answer(question)
    assert (answer.text, answer.final_answer, answer.finished) == (own.text, own.final_answer, own.finished)
    # Of what is drawn in a thousandth of cases here, a server names nothing: long searches part ways there.
    assert [one.text for one in answer.candidates] == [one.text for one in own.candidates]
    assert answer.cost.tokens_generated == own.cost.tokens_generated
    if own.p_correct is not None:
        assert answer.p_correct == pytest.approx(own.p_correct, abs=0.02)


def test_the_release_offers_there_all_that_it_offers_here(engines: tuple[Engine, Engine]) -> None:
    here, there = engines
    assert isinstance(there.source, EndpointSource)
    assert there.modes == here.modes and {"nudge", "repair", "tree", "plan"} <= {*there.modes}


def test_steps_are_told_while_they_are_written(engines: tuple[Engine, Engine]) -> None:
    *events, last = engines[1].run(ask(STATEMENT, "nudge", {"num_candidates": 2}, seed=1))
    told = [event for event in events if isinstance(event, CandidateStep | StepWritten)]
    assert isinstance(last, Done) and len(told) >= len(last.answer.steps) > 0


def test_questions_of_several_modes_are_answered_together_as_each_alone(engines: tuple[Engine, Engine]) -> None:
    there = engines[1]
    questions = [
        ask(STATEMENT, "nudge", temperature=0.0),
        ask(STATEMENT, "off", temperature=0.0),
        ask(STATEMENT, "tree", seed=4),
    ]
    together = there.answer_many(questions)
    assert [one.text for one in together] == [there.answer(question).text for question in questions]


def test_states_cannot_be_blended_there_and_the_reason_is_told(engines: tuple[Engine, Engine]) -> None:
    question = ask(STATEMENT, "nudge", {"blend": 0.2})
    engines[0].check(question)
    with pytest.raises(InvalidInputError, match="are a server's") as error:
        engines[1].check(question)
    assert "leave blend out" in str(error.value)


def test_a_conversation_is_answered_by_every_mode(engines: tuple[Engine, Engine]) -> None:
    turns = [
        Message(role="system", content="You are kind."),
        Message(role="user", content="Hello!"),
        Message(role="assistant", content="Hello."),
        Message(role="user", content=STATEMENT),
    ]
    for mode in engines[1].modes:
        question = ask(turns, mode, seed=3)
        assert engines[1].check(question)
        assert engines[1].answer(question).text
