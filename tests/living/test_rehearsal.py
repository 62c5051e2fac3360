"""Rehearsal on a real student: real answers are kept, and another release chooses among their candidates again."""

import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rjepa.cli.main import build_app
from rjepa.database import open_database
from rjepa.engine import Engine
from rjepa.feedback.consent import opt_out, set_workspace
from rjepa.feedback.interactions import delete, keep
from rjepa.feedback.records import Content, Given, Owner
from rjepa.home import Home
from rjepa.reasoning.question import Message, ask
from rjepa.rehearsing import rehearse_release
from rjepa.releases.pointer import current_release
from rjepa.students.session import Session
from tests.tiny_release import TAG, addition, publish, register_student, taught_folder

pytestmark = pytest.mark.slow

OWNER = Owner("key:aaaaaaaaaaaa")
ANSWERS = 12


def keep_answer(home: Home, engine: Engine, statement: str, number: int, *, mode: str = "rerank") -> str:
    options = {"num_candidates": 4} if mode == "rerank" else {}
    answer = engine.answer(ask(statement, mode, options, seed=number))
    given = Given(
        interaction_id=f"chatcmpl-{number:032x}",
        owner=OWNER,
        llm_tag=TAG,
        release_id=engine.release_id,
        mode=mode,
        seed=number,
        p_correct=answer.p_correct,
        answered_at_ms=number,
        content=Content(
            messages=(Message(role="user", content=statement),),
            text=answer.text,
            steps=tuple(answer.steps),
            final_answer=answer.final_answer,
            finished=answer.finished,
            candidates=tuple(answer.candidates),
        ),
    )
    with open_database(home) as database:
        return keep(database, given).interaction_id


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, str, str]:
    """A home with two releases and answers of the first."""
    root = tmp_path_factory.mktemp("rehearsal")
    home = Home(root / "home")
    student = register_student(home, taught_folder(tmp_path_factory))
    first = publish(home, student, root / "one", seed=0)
    engine, rng = Engine.load(home, TAG, "cpu"), random.Random(11)
    for number in range(ANSWERS):
        keep_answer(home, engine, addition(rng)[0], number)
    return home, first, publish(home, student, root / "two", seed=7)


def test_the_release_that_answered_would_answer_the_same_again(lived: tuple[Home, str, str]) -> None:
    home, first, _ = lived
    found = rehearse_release(home, TAG, first)
    # Reading gives what writing gave: nearly every choice is reproduced, and then nothing differs.
    assert len(found.rehearsed) >= ANSWERS - 1
    assert not any(row.changes or not row.same_candidate for row in found.rehearsed)
    assert found.metadata()["answers_changed"] == 0


def test_another_release_s_changes_are_told_and_nothing_is_generated_or_served(
    lived: tuple[Home, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, first, second = lived
    served = current_release(home, TAG)

    def refuse(*arguments: object, **more: object) -> None:
        raise AssertionError("a rehearsal generates nothing")

    monkeypatch.setattr(Session, "run", refuse)
    found = rehearse_release(home, TAG, second)
    assert found.release == second and {row.release for row in found.rehearsed} == {first}
    assert any(not row.same_candidate for row in found.rehearsed)
    figures = found.metadata()
    assert figures["rehearsed"] == len(found.rehearsed) and "p_correct_after" in figures
    # Words of users are no metadata: what is deleted would live on in the orchestrator's log.
    assert all(isinstance(value, int | float) or value == second for value in figures.values())
    assert current_release(home, TAG) == served


def test_what_consent_or_exactness_forbids_is_left_out_and_counted(lived: tuple[Home, str, str]) -> None:
    home, first, second = lived
    engine = Engine.load(home, TAG, "cpu", release_id=first)
    other = keep_answer(home, engine, addition(random.Random(3))[0], 500, mode="off")
    gone = keep_answer(home, engine, addition(random.Random(4))[0], 501)
    with open_database(home) as database:
        delete(database, OWNER, gone)
    found = rehearse_release(home, TAG, second, most=5)
    assert found.left_out["mode"] == 1 and found.left_out["deleted"] == 1
    assert len(found.rehearsed) + found.not_reproduced == 5 and found.left_out["older"] == ANSWERS - 5
    with open_database(home) as database:
        set_workspace(database, "default", include_user_data=False, who="test")
    assert rehearse_release(home, TAG, second).left_out["no_consent"] >= ANSWERS
    with open_database(home) as database:
        set_workspace(database, "default", include_user_data=True, who="test")
        opt_out(database, Owner("key:bbbbbbbbbbbb"))
    assert len(rehearse_release(home, TAG, second).rehearsed) >= ANSWERS - 1
    with open_database(home) as database:
        delete(database, OWNER, other)


def test_the_command_shows_a_table(
    lived: tuple[Home, str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home, _, second = lived
    monkeypatch.setenv("RJEPA_HOME", str(home.root))
    done = CliRunner().invoke(build_app(), ["release", "rehearse", second, "--llm", TAG])
    assert done.exit_code == 0, done.output
    assert "answers_changed" in done.stdout and "rehearsed" in done.stdout
