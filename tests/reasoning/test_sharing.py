"""Questions that share a session: what becomes of them, and of whoever asks next, when a pass fails."""

from collections.abc import Iterator
from typing import Any

import pytest

from rjepa.engine import Engine
from rjepa.reasoning.events import Done
from rjepa.reasoning.question import ask
from rjepa.students.sampled import Pass
from tests.tiny_release import STATEMENT


class DiskError(Exception):
    pass


def fails_after(session: Any, passes: int) -> Any:
    """The session, with a run that fails in the pass after so many."""
    run = session.run

    def failing(*arguments: Any, **options: Any) -> Iterator[Any]:
        left = passes
        for event in run(*arguments, **options):
            yield event
            left -= isinstance(event, Pass)
            if not left:
                raise DiskError

    session.run = failing
    return session


def test_a_pass_that_fails_fails_for_all_who_share_it_and_for_nobody_who_asks_next(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = ask(STATEMENT, "off", seed=3)
    expected = engine.answer(question)
    healthy = engine.source.session
    with monkeypatch.context() as broken:
        broken.setattr(engine.source, "session", lambda **options: fails_after(healthy(**options), 2))
        first, second = engine.run_many([question]), engine.run_many([ask(STATEMENT, "off", seed=4)])
        next(second)
        with pytest.raises(DiskError):
            list(first)
    newcomer = engine.run_many([question])  # `second` has not come to know of it yet
    answers = [event.answer for _, event in newcomer if isinstance(event, Done)]
    with pytest.raises(DiskError):
        list(second)
    assert [one.text for one in answers] == [expected.text] == [engine.answer(question).text]
