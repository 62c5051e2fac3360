"""Run questions of any modes over one decoding session of a source, with the parts of a release, or with parts that may
become one. Whether they may be asked at all the caller checks (`rjepa.engine`).
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rjepa.reasoning.answer import Answer
from rjepa.reasoning.driving import Running, drive
from rjepa.reasoning.events import Done, Event
from rjepa.reasoning.modes import find_mode
from rjepa.reasoning.question import Question
from rjepa.reasoning.tools import Parts, Tools
from rjepa.sampling.protocol import Capability, ChainSource, DecodingSession
from rjepa.students.prompting import EncodedPrompt
from rjepa.students.prompts import Message


@dataclass(frozen=True)
class ReadyQuestion:
    """A question with its prompt, and the tokens that a chain of it may have."""

    question: Question
    prompt: EncodedPrompt
    max_new_tokens: int


def run_questions(
    source: ChainSource, parts: Parts, questions: Sequence[ReadyQuestion]
) -> Generator[tuple[int, Event], None, None]:
    """Events of all questions, each with its question's index; `Done` is the last of each."""
    needs = frozenset[Capability]().union(*(find_mode(one.question.mode).needs for one in questions))
    # A mode that forks may fork a finished chain.
    with source.session(capture=Capability.STATES in needs, keep_finished=Capability.FORK in needs) as session:
        running = []
        for one in questions:
            tools = Tools(one.question, one.prompt, one.max_new_tokens, session, parts, source.reader)
            running.append(Running(find_mode(one.question.mode).run(one.question, tools), tools))
        yield from drive(running, session)


def answer_statements(source: ChainSource, parts: Parts, questions: Sequence[Question]) -> list[Answer]:
    """Answer questions that are statements of problems, each as it would be answered alone."""
    ready = [_ready(source, question) for question in questions]
    answers = {index: event.answer for index, event in run_questions(source, parts, ready) if isinstance(event, Done)}
    return [answers[index] for index in range(len(questions))]


@contextmanager
def tools_alone(source: ChainSource, parts: Parts, question: Question) -> Iterator[tuple[Tools, DecodingSession]]:
    """The tools of one question and their session, to measure what a mode is made of."""
    ready = _ready(source, question)
    with source.session() as session:
        yield Tools(question, ready.prompt, ready.max_new_tokens, session, parts, source.reader), session


def _ready(source: ChainSource, question: Question) -> ReadyQuestion:
    prompt = source.encode_conversation([Message("user", question.statement)])
    room = source.context_length - len(prompt.ids)
    return ReadyQuestion(question, prompt, min(source.record.sampling.max_new_tokens, room))
