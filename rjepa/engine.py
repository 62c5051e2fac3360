"""A loaded release: it verifies and owns the parts, and hands them to the mode that a question asks for.

The service, `rjepa solve` and the evaluation share it. Only what the release points at is loaded, after every byte of
it was verified. How an answer comes about lives in `rjepa.reasoning`.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, Final

from rjepa.adapters.opening import WorldModelFiles, summarise_carried
from rjepa.continuing import require_known
from rjepa.device import best_device
from rjepa.errors import InvalidInputError
from rjepa.home import Home
from rjepa.inference.calibration import ScoreCalibration
from rjepa.parts import CALIBRATION, GUIDANCE_FOLDER, VERBALIZER_FOLDER
from rjepa.progress import Progress, silent
from rjepa.reasoning.answer import Answer, Example
from rjepa.reasoning.answering import Desk, ReadyQuestion
from rjepa.reasoning.events import Done, Event
from rjepa.reasoning.examples import find_examples
from rjepa.reasoning.modes import find_mode, modes_offered
from rjepa.reasoning.question import Question, ask
from rjepa.reasoning.tools import Parts
from rjepa.receipts import Receipt, make_receipt
from rjepa.releases.bundle import Manifest, release_folder, verify
from rjepa.releases.figures import read_figures
from rjepa.releases.pointer import require_current
from rjepa.sampling.opening import open_source
from rjepa.sampling.protocol import ChainSource, needs_of, require
from rjepa.students.catalog import load_record
from rjepa.students.prompting import EncodedPrompt
from rjepa.students.prompts import Message
from rjepa.students.resolving import check_student, resolve_student
from rjepa.verbalizer.checkpoint import load_decoder
from rjepa.verbalizer.guiding import Guidance
from rjepa.verbalizer.speaking import Verbalizer

_EXAMPLE_SHARE: Final = 2
"""An example's prompt takes at most one part in so many of the context, so that there is room for a chain."""

_DEVELOPER: Final = "developer"
"""OpenAI's newer name of the role of a system message."""


class Engine:
    """Answers questions with one release. One caller at a time: callers that share it bring the lock."""

    def __init__(
        self, home: Home, manifest: Manifest, student: ChainSource, parts: Parts, desk: Desk | None = None
    ) -> None:
        """desk: that of another release with the same student, whose questions are answered in one batch with these."""
        self.llm_tag = manifest.llm_tag
        self.release_id = manifest.release_id
        self.student_fingerprint = manifest.student_fingerprint
        self.sampling_temperature = parts.sampling_temperature
        self.manifest = manifest
        self._home = home
        self._student = student
        self._parts = parts
        self._desk = desk or Desk(student)

    @classmethod
    def load(
        cls,
        home: Home,
        llm_tag: str,
        device: str = "auto",
        *,
        release_id: str | None = None,
        address: str | None = None,
        reuse: "Engine | None" = None,
        progress: Progress = silent,
    ) -> "Engine":
        """Load a release; None for what `CURRENT` points at. The student of `reuse` is kept if it is for the same one.

        A student with an environment of its own runs there, in a process that is started now, or that already serves it
        at `address`.

        Raises:
            NotFoundError: there is no release, or no such student.
            CorruptError: the release is not what its manifest says.
            InvalidInputError: the release was made for other weights than this student has now.
            RjepaError: the student's own environment cannot run it.
        """
        manifest = verify(home, llm_tag, release_id or require_current(home, llm_tag))
        folder = release_folder(home, llm_tag, manifest.release_id)
        if reuse is not None and reuse._student.fingerprint == manifest.student_fingerprint:
            student, desk = reuse._student, reuse._desk
        else:
            resolved = resolve_student(home, load_record(home, llm_tag), progress)
            check_student(f"release {manifest.release_id}", manifest.student_fingerprint, resolved)
            student, desk = open_source(home, resolved, device, address), None
        # Where the student is, if it is here: its latents need not be moved.
        model, reader = WorldModelFiles.laid_out(folder).open(student.device or best_device())
        parts = Parts(
            llm_tag=llm_tag,
            release_id=manifest.release_id,
            segmentation=student.record.segmentation,
            sampling_temperature=student.record.sampling.temperature,
            model=model,
            reader=reader,
            calibration=ScoreCalibration.load(folder / CALIBRATION),
            capabilities=student.capabilities,
            verbalizer=Verbalizer(load_decoder(folder / VERBALIZER_FOLDER)) if manifest.has({"verbalizer"}) else None,
            guidance=Guidance.load(folder / GUIDANCE_FOLDER) if manifest.has({"guidance"}) else None,
        )
        return cls(home, manifest, student, parts, desk)

    def check(self, question: Question) -> tuple[str, ...]:
        """Check whether a question can be answered, without answering it.

        Returns:
            What of it the student does not read, in words.

        Raises:
            InvalidInputError: the mode needs what the student cannot do, or the problem is too long.
        """
        self._require(question)
        return self._prompt(question).ignored

    def run(self, question: Question) -> Generator[Event, None, None]:
        """Answer a question, event by event; `Done` with the answer comes last.

        Closing the iterator stops the work between two tokens.

        Raises:
            InvalidInputError: as `check`.
        """
        with closing(self.run_many([question])) as events:
            for _, event in events:
                yield event

    def run_many(self, questions: Sequence[Question]) -> Generator[tuple[int, Event], None, None]:
        """Answer questions in one batch, each as it would be answered alone; events come with their question's index.
        What is asked in between, by the same thread, joins the batch.

        Closing the iterator stops the work between two tokens.

        Raises:
            InvalidInputError: one of them cannot be answered, as `check`.
        """
        ready = []
        for question in questions:
            self._require(question)
            prompt = self._prompt(question)
            ready.append(ReadyQuestion(question, prompt, self._limit(question, prompt)))
        yield from self._desk.answer(self._parts, ready)

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
        for index, event in self.run_many(questions):
            if isinstance(event, Done):
                answers[index] = event.answer
                tokens += event.answer.cost.tokens_generated
                progress(len(answers), len(questions), f"{tokens} tokens")
        return [answers[index] for index in range(len(questions))]

    @property
    def source(self) -> ChainSource:
        """Who writes and reads for the student. One caller at a time, as for the engine."""
        return self._student

    @property
    def parts(self) -> Parts:
        """What the release brings."""
        return self._parts

    @property
    def modes(self) -> tuple[str, ...]:
        """Names of the modes that the release has the parts for, fitted as needed, and the student the powers."""
        return tuple(name for name in modes_offered(self.manifest) if self._can(name))

    @property
    def most_rows(self) -> int:
        """Chains that are decoded together at most: the memory that the student was placed by has room for them."""
        return self._student.record.sampling.batch_size

    def receipt(self, question: Question, answer: Answer, *, keep_question: bool = False) -> Receipt:
        """What anybody needs to generate an answer of this release again.

        Args:
            keep_question: whether the receipt holds the question itself, and not its hash alone.
        """
        sampling = self._student.record.sampling
        defaults = {"temperature": sampling.temperature, "max_new_tokens": sampling.max_new_tokens}
        return make_receipt(question, answer, self.student_fingerprint, defaults, keep_question=keep_question)

    def examples(self, limit: int) -> list[Example]:
        """Easy test problems of the release's dataset, of every domain in turn; of the curriculum if it is not here."""

        def fits(statement: str) -> bool:
            return _EXAMPLE_SHARE * self._student.count_prompt(statement) <= self._student.context_length

        return find_examples(self._home, self.manifest.dataset, limit, fits)

    def info(self) -> dict[str, Any]:
        """What is loaded, as plain JSON values."""
        manifest = self.manifest
        return {
            "id": manifest.release_id,
            "created": int(manifest.created_at.timestamp()),
            "dataset": manifest.dataset,
            "student_fingerprint": manifest.student_fingerprint,
            "carried": None if manifest.carried is None else summarise_carried(manifest.carried),
            "code_version": manifest.code_version,
            "reason": manifest.reason,
            "replaces": manifest.replaces,
            "figures": None if (found := read_figures(self._home, manifest)) is None else found.model_dump(mode="json"),
            "selection": self._parts.calibration.selection,
            "step_threshold": self._parts.calibration.step_threshold,
            "step_quantiles": list(self._parts.calibration.step_quantiles),
            "device": str(self._parts.model.device),
            "device_reason": self._student.device_reason,
        }

    def warm_up(self) -> None:
        """One short answer, so that the first person who asks does not wait for what is done once."""
        self.answer(ask("1 + 1", options={"num_candidates": 2}, max_tokens=8))

    def _can(self, mode: str) -> bool:
        try:
            self._require(ask("1 + 1", mode))
        except InvalidInputError:
            return False
        return True

    def _require(self, question: Question) -> None:
        mode = find_mode(question.mode)
        self.manifest.require(mode.parts, f"mode {mode.name}")
        for capability in sorted(mode.needs | needs_of(question.rules)):
            require(self._student, capability, question.mode)
        require_known(self._student, [token for token, _ in question.logit_bias])
        mode.fit(question, self._parts)

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
            raise InvalidInputError(
                f"the problem has {tokens} tokens, {self.llm_tag} reads {context}", cure="shorten the problem"
            )
        return replace(prompt, ignored=(*prompt.ignored, *unread))

    def _limit(self, question: Question, prompt: EncodedPrompt) -> int:
        wanted = question.max_tokens or self._student.record.sampling.max_new_tokens
        return min(wanted, self._student.context_length - len(prompt.ids))
