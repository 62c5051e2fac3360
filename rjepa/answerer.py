"""Who answers questions with a student: what `rjepa.engine` and `rjepa.lone` have in common.

It turns a question into a prompt, refuses what cannot be asked, and lets a desk answer the rest. Which modes there are,
and what they need beside the student, is for those two to say.
"""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, Final

from rjepa.continuing import require_known
from rjepa.errors import InvalidInputError, TooLongError
from rjepa.home import Home
from rjepa.progress import Progress, silent
from rjepa.reasoning.answer import Answer, Example
from rjepa.reasoning.answering import Desk, ReadyQuestion
from rjepa.reasoning.events import Done, Event
from rjepa.reasoning.examples import find_examples
from rjepa.reasoning.mode import Mode
from rjepa.reasoning.modes import find_mode
from rjepa.reasoning.question import Question, ask
from rjepa.reasoning.tools import Parts, Writer
from rjepa.receipts import Receipt, make_receipt
from rjepa.sampling.protocol import ChainSource, needs_of, require, source_for
from rjepa.students.prompting import EncodedPrompt
from rjepa.students.prompts import Message

_EXAMPLE_SHARE: Final = 2
"""An example's prompt takes at most one part in so many of the context, so that there is room for a chain."""

_CHOOSING: Final = "rerank"
_PLAIN: Final = "off"
"""Modes of the first answer: one that takes all parts into use, or one that needs none."""

_MOST_CHECKED: Final = 32
"""Questions whose prompts are kept between the check of them and their turn."""

_DEVELOPER: Final = "developer"
"""OpenAI's newer name of the role of a system message."""


class Answerer(ABC):
    """Answers questions with one student. One caller at a time: callers that share it bring the lock."""

    def __init__(
        self, home: Home, student: ChainSource, writer: Writer, dataset: str, desk: Desk | None = None
    ) -> None:
        """Give a student a desk.

        Args:
            dataset: whose problems are examples.
            desk: that of another answerer with the same student, whose questions are answered in one batch with these.
        """
        self.llm_tag = writer.llm_tag
        self.release_id = writer.release_id
        self.student_fingerprint = student.fingerprint
        self.sampling_temperature = writer.sampling_temperature
        self._home = home
        self._student = student
        self.dataset = dataset
        self._desk = desk or Desk(student)
        self._stepped_desk: Desk | None = None  # of the student by steps, where that is another source
        # By identity: what a question holds need not have a hash, and an entry keeps its question's id its own.
        self._checked: OrderedDict[int, tuple[Question, EncodedPrompt]] = OrderedDict()

    @property
    @abstractmethod
    def writer(self) -> Writer:
        """What every answer carries of who wrote it."""

    @property
    @abstractmethod
    def parts(self) -> Parts:
        """The R-JEPA that reads the student's chains.

        Raises:
            InvalidInputError: there is none.
        """

    @property
    @abstractmethod
    def modes(self) -> tuple[str, ...]:
        """Names of the modes that it can answer in."""

    @abstractmethod
    def info(self) -> dict[str, Any]:
        """What is loaded, as plain JSON values."""

    @abstractmethod
    def _require_parts(self, mode: Mode) -> None:
        """Raise InvalidInputError where a mode needs parts that are not there beside the student."""

    @abstractmethod
    def _fit(self, mode: Mode, question: Question, writer: Writer) -> None:
        """Raise InvalidInputError where the parts, or this writer's powers, are such that they cannot answer it."""

    def check(self, question: Question) -> tuple[str, ...]:
        """Check whether a question can be answered, without answering it.

        Returns:
            What of it the student does not read, in words.

        Raises:
            InvalidInputError: the mode needs what the student cannot do, or the problem is too long.
        """
        self._require(question)
        prompt = self._prompt(question)
        self._checked[id(question)] = question, prompt
        while len(self._checked) > _MOST_CHECKED:
            self._checked.popitem(last=False)
        return prompt.ignored

    def run(self, question: Question) -> Generator[Event, None, None]:
        """Answer a question, event by event; `Done` with the answer comes last.

        Closing the iterator stops the work between two tokens.

        Raises:
            InvalidInputError: as `check`.
        """
        with closing(self.run_many([question])) as events:
            for _, event in events:
                yield event

    def run_many(
        self, questions: Sequence[Question], *, shown: bool = True
    ) -> Generator[tuple[int, Event], None, None]:
        """Answer questions in one batch, each as it would be answered alone; events come with their question's index.
        What is asked in between, by the same thread, joins the batch.

        Args:
            shown: whether somebody reads the text while it is written; else that need not come before the answer.

        Closing the iterator stops the work between two tokens.

        Raises:
            InvalidInputError: one of them cannot be answered, as `check`.
        """
        ready: dict[ChainSource, list[tuple[int, ReadyQuestion]]] = {}
        for index, question in enumerate(questions):
            # What was checked a moment ago is not tokenized again.
            checked = self._checked.pop(id(question), None)
            if checked is None:
                self._require(question)
            prompt = self._prompt(question) if checked is None else checked[1]
            one = ReadyQuestion(question, prompt, self._limit(question, prompt))
            ready.setdefault(self._source_of(find_mode(question.mode)), []).append((index, one))
        for source, group in ready.items():
            indices, own = zip(*group, strict=True)
            with closing(self._desk_of(source).answer(self._writer_at(source), own, shown=shown)) as events:
                for index, event in events:
                    yield indices[index], event

    def answer(self, question: Question) -> Answer:
        """Answer a question. Equal questions give equal answers.

        Raises:
            InvalidInputError: as `check`.
        """
        return self.answer_many([question])[0]

    def answer_many(self, questions: Sequence[Question], progress: Progress = silent) -> list[Answer]:
        """Answer questions in one batch, each as it would be answered alone, whatever their modes.

        Args:
            progress: called with each answer that is ready, and the tokens generated so far.

        Raises:
            InvalidInputError: one of them cannot be answered, as `check`.
        """
        answers: dict[int, Answer] = {}
        tokens = 0
        for index, event in self.run_many(questions, shown=False):
            if isinstance(event, Done):
                answers[index] = event.answer
                tokens += event.answer.cost.tokens_generated
                progress(len(answers), len(questions), f"{tokens} tokens")
        return [answers[index] for index in range(len(questions))]

    def require_mode(self, name: str) -> None:
        """Refuse a mode that it does not offer, with what the mode needs and what would bring that.

        Raises:
            InvalidInputError: it is not offered.
        """
        self._require(ask("1 + 1", name))

    @property
    def source(self) -> ChainSource:
        """Who writes and reads for the student. One caller at a time, as for the engine."""
        return self._student

    @property
    def checks_at_once(self) -> bool:
        """Whether `check` asks no other process: the student's tokenizer is in this one."""
        return self._student.device is not None

    @property
    def most_rows(self) -> int:
        """Chains that are decoded together at most: the memory that the student was placed by has room for them."""
        return self._student.record.sampling.batch_size

    def receipt(self, question: Question, answer: Answer, *, keep_question: bool = False) -> Receipt:
        """What anybody needs to generate an answer again.

        Args:
            keep_question: whether the receipt holds the question itself, and not its hash alone.
        """
        sampling = self._student.record.sampling
        defaults = {"temperature": sampling.temperature, "max_new_tokens": sampling.max_new_tokens}
        return make_receipt(question, answer, self.student_fingerprint, defaults, keep_question=keep_question)

    def examples(self, limit: int) -> list[Example]:
        """Easy test problems of the dataset, of every domain in turn; of the curriculum if it is not here."""

        def fits(statement: str) -> bool:
            return _EXAMPLE_SHARE * self._student.count_prompt(statement) <= self._student.context_length

        return find_examples(self._home, self.dataset, limit, fits)

    def warm_up(self) -> None:
        """One short answer, so that the first person who asks does not wait for what is done once."""
        if _CHOOSING in self.modes:
            self.answer(ask("1 + 1", _CHOOSING, {"num_candidates": 2}, max_tokens=8))
        else:
            self.answer(ask("1 + 1", _PLAIN, max_tokens=8))

    def _can(self, mode: str) -> bool:
        try:
            self.require_mode(mode)
        except InvalidInputError:
            return False
        return True

    def _source_of(self, mode: Mode) -> ChainSource:
        return source_for(self._student, mode.needs)

    def _writer_at(self, source: ChainSource) -> Writer:
        """The writer with what this source of its student can do."""
        return self.writer if source is self._student else replace(self.writer, capabilities=source.capabilities)

    def _desk_of(self, source: ChainSource) -> Desk:
        if source is self._student:
            return self._desk
        if self._stepped_desk is None:
            self._stepped_desk = Desk(source)
        return self._stepped_desk

    def _require(self, question: Question) -> None:
        mode = find_mode(question.mode)
        self._require_parts(mode)
        source = self._source_of(mode)
        for capability in sorted(mode.needs | needs_of(question.rules)):
            require(source, capability, question.mode)
        require_known(self._student, [token for token, _ in question.logit_bias])
        self._fit(mode, question, self._writer_at(source))

    def _prompt(self, question: Question) -> EncodedPrompt:
        """The conversation up to its last user message as the student reads it; what it leaves out is listed."""
        last = max(index for index, message in enumerate(question.messages) if message.role == "user")
        unread = ["what follows the last user message"] if last + 1 < len(question.messages) else []
        turns = [
            Message("system" if message.role == _DEVELOPER else message.role, message.content)
            for message in question.messages[: last + 1]
        ]
        prompt = self._student.encode_conversation(turns, question.tools)
        tokens, context = len(prompt.ids), self._student.context_length
        if tokens >= context:
            raise TooLongError(
                f"the problem has {tokens} tokens, {self.llm_tag} reads {context}",
                cure=f"shorten the problem: this model's maximum context length is {context} tokens",
            )
        return replace(prompt, ignored=(*prompt.ignored, *unread))

    def _limit(self, question: Question, prompt: EncodedPrompt) -> int:
        wanted = question.max_tokens or self._student.record.sampling.max_new_tokens
        return min(wanted, self._student.context_length - len(prompt.ids))
