"""Run questions of any modes over a decoding session of a source, with the parts of a release, or with parts that may
become one. The caller (`rjepa.engine`) checks whether they may be asked at all.

All that is asked of a source at the same time shares one session, whoever asks: `Desk` sees to that.
"""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace

from rjepa.reasoning.answer import Answer
from rjepa.reasoning.driving import Driver, Failed, Running
from rjepa.reasoning.events import Done, Event, Working
from rjepa.reasoning.modes import find_mode
from rjepa.reasoning.question import Question
from rjepa.reasoning.tools import Parts, Tools, Writer
from rjepa.sampling.protocol import Capability, ChainSource, DecodingSession, source_for
from rjepa.students.prompting import EncodedPrompt
from rjepa.students.prompts import Message


@dataclass(frozen=True)
class ReadyQuestion:
    """A question with its prompt, and the tokens that a chain of it may have."""

    question: Question
    prompt: EncodedPrompt
    max_new_tokens: int


@dataclass(eq=False)
class _Asker:
    """One caller of `Desk.answer` with its questions, and the events of these that the caller has not fetched yet."""

    indices: dict[int, int]  # by the driver's number of a question
    events: deque[tuple[int, Event | Failed]] = field(default_factory=deque)
    worked: int = 0  # tokens drawn since the last `Working`
    error: Exception | None = None


class _SharedSession:
    """One session, its driver, and the askers who share them."""

    def __init__(self, session: DecodingSession) -> None:
        self._session, self._driver = session, Driver(session)
        self._askers: list[_Asker] = []
        self._by_number: dict[int, _Asker] = {}
        self.has_failed = False

    def join(self, source: ChainSource, writer: Writer, questions: Sequence[ReadyQuestion], shown: bool) -> _Asker:
        """Begin questions with the next pass."""
        asker = _Asker({})
        for index, one in enumerate(questions):
            mode = find_mode(one.question.mode)
            tools = Tools(
                one.question, one.prompt, one.max_new_tokens, self._session, writer, source.reader, mode.needs
            )
            number = self._driver.join(Running(mode.run(one.question, tools), tools, self._session, shown))
            asker.indices[number] = index
            self._by_number[number] = asker
        self._askers.append(asker)
        return asker

    def run_pass(self) -> None:
        """One pass for all. Where that fails, it fails for all who share it."""
        try:
            for number, event in self._driver.run_pass():
                asker = self._by_number[number]
                if isinstance(event, Working):
                    asker.worked += event.tokens
                else:
                    asker.events.append((asker.indices[number], event))
        except Exception as error:  # noqa: BLE001 - it is raised where the answers are awaited
            self.has_failed = True
            for asker in self._askers:
                asker.error = error
            self._session.close()

    def leave(self, asker: _Asker) -> bool:
        """Free what is left of an asker's questions. True where nobody else is there: the session is closed."""
        self._askers.remove(asker)
        for number in asker.indices:
            del self._by_number[number]
            if asker.error is None:
                self._driver.leave(number)
        if not self._askers:
            self._driver.stop()
            self._session.close()
        return not self._askers


class Desk:
    """Where questions to one source are answered. For one thread at a time.

    Those that are asked while others are answered join these in their session between two passes, if the source can let
    rows join (`Capability.STEPS`); else each has a session of its own.
    """

    def __init__(self, source: ChainSource) -> None:
        self._source = source
        self._shared: _SharedSession | None = None

    def answer(
        self, writer: Writer, questions: Sequence[ReadyQuestion], *, shown: bool = True
    ) -> Generator[tuple[int, Event], None, None]:
        """Events of all questions, each with its question's index; `Done` is the last of each. Where they are not
        `shown`, text need not come while it is written.

        Whoever is asked for the next event first runs a pass for all. After each pass comes one `Working`; closing the
        generator stops its questions there and frees their rows, and those of others go on.
        """
        shared = self._shared
        if shared is None or shared.has_failed:
            shared = _SharedSession(self._source.session(capture=Capability.STATES in self._source.capabilities))
            if Capability.STEPS in self._source.capabilities:
                self._shared = shared
        asker = shared.join(self._source, writer, questions, shown)
        left = len(questions)
        try:
            # Before the first pass: questions that others ask now have their prompts read in one pass with these.
            yield 0, Working(0)
            while left:
                if not asker.events and not asker.worked and asker.error is None:
                    shared.run_pass()
                while asker.events:
                    index, event = asker.events.popleft()
                    if isinstance(event, Failed):
                        raise event.error
                    left -= isinstance(event, Done)
                    yield index, event
                if asker.error is not None:
                    raise asker.error
                if asker.worked and left:
                    worked, asker.worked = asker.worked, 0
                    yield 0, Working(worked)
        finally:
            if shared.leave(asker) and self._shared is shared:
                self._shared = None


def answer_statements(source: ChainSource, parts: Parts, questions: Sequence[Question]) -> list[Answer]:
    """Answer questions that are statements of problems, each as it would be answered alone."""
    return [done.answer for done in finish_statements(source, parts, questions)]


def finish_statements(source: ChainSource, parts: Parts, questions: Sequence[Question]) -> list[Done]:
    """As `answer_statements`, with what each answer was chosen from."""
    needs = frozenset[Capability]().union(*(find_mode(question.mode).needs for question in questions))
    source = source_for(source, needs)
    parts = replace(parts, capabilities=source.capabilities)
    ready = [_ready(source, question) for question in questions]
    with closing(Desk(source).answer(parts, ready, shown=False)) as events:
        ends = {index: event for index, event in events if isinstance(event, Done)}
    return [ends[index] for index in range(len(questions))]


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
