"""Let the release answer one problem outside of the answering routes: an operator's example without a solution."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

from rjepa.control import examples
from rjepa.control.examples import AddedExample, Weight
from rjepa.control.place import Place
from rjepa.reasoning.answer import Answer
from rjepa.reasoning.events import Done
from rjepa.reasoning.question import Question, ask
from rjepa.releases.pointer import require_current
from serving.errors import NotReadyError
from serving.host import AnswersQuestions, EngineHost, EngineLoader

Answers = Callable[[str], Awaitable[Answer]]
"""A function that lets the served release answer a problem."""


def through_host(host: EngineHost) -> Answers:
    """The service's engine answers, in turn with everybody's questions."""

    async def answer(statement: str) -> Answer:
        engine = host.engine()
        question = _question(engine, statement)
        async for _, event in host.events(lambda: engine.run_many([question], shown=False), wanted=Done):
            if isinstance(event, Done):
                return event.answer
        raise NotReadyError("the question was not answered", cure="try again")

    return answer


def by_loading(place: Place, loader: EngineLoader) -> Answers:
    """An engine of this process answers. It is loaded at the first question, and when another release is served."""
    loaded: list[AnswersQuestions] = []
    lock = threading.Lock()

    def work(statement: str) -> Answer:
        with lock:
            current = require_current(place.home, place.llm_tag)
            if not loaded or loaded[0].release_id != current:
                loaded[:] = [loader(loaded[0] if loaded else None)]
            engine = loaded[0]
            done = [
                event
                for _, event in engine.run_many([_question(engine, statement)], shown=False)
                if isinstance(event, Done)
            ]
        return done[0].answer

    async def answer(statement: str) -> Answer:
        return await asyncio.to_thread(work, statement)

    return answer


async def add_training_example(
    place: Place, answers: Answers, statement: str, target: str | None, weight: Weight, who: str
) -> AddedExample:
    """Keep an example; the release answers where there is no solution.

    Raises:
        InvalidInputError: the example does not fit, or the release comes to another answer than the target.
        NotReadyError, NotFoundError: nothing is served.
    """
    if target is not None and examples.is_solution(target):
        return await asyncio.to_thread(examples.add_solution, place, statement, target, weight, who)
    found = await answers(statement)
    return await asyncio.to_thread(examples.add_answered, place, statement, target, found, weight, who)


def _question(engine: AnswersQuestions, statement: str) -> Question:
    question = ask(statement, "rerank" if "rerank" in engine.modes else "off")
    engine.check(question)
    return question
