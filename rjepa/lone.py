"""A student that has no release of its own, as one that got a LoRA: it answers as it writes, and nothing reads along.

R-JEPA, calibration and everything else of a release are bound to the fingerprint of the student that they were made
for (`rjepa.students.resolving`). A LoRA makes another student. So the base's release holds nothing for it, and whoever
asks for a mode that needs a part is told what would bring it.
"""

from typing import Any, Final, NoReturn

from rjepa.answerer import Answerer
from rjepa.errors import InvalidInputError
from rjepa.home import Home
from rjepa.reasoning.answering import Desk
from rjepa.reasoning.mode import Mode
from rjepa.reasoning.modes import MODES
from rjepa.reasoning.question import Question
from rjepa.reasoning.tools import Parts, Writer
from rjepa.sampling.opening import open_source
from rjepa.sampling.protocol import ChainSource
from rjepa.students.catalog import load_record
from rjepa.students.resolving import resolve_student

_LONE: Final = "lone-"
_FINGERPRINT_DIGITS: Final = 12

_PLAIN: Final = tuple(name for name, mode in MODES.items() if not mode.parts)
"""Modes that need nothing beside the student."""


def lone_id(fingerprint: str) -> str:
    """What stands in the place of a release's id in answers of a student without one: it names its weights."""
    return f"{_LONE}{fingerprint[:_FINGERPRINT_DIGITS]}"


def is_lone(release_id: str) -> bool:
    """Whether an answer names a student without a release, and no release."""
    return release_id.startswith(_LONE)


def open_lone(
    home: Home, llm_tag: str, release_id: str, device: str = "auto", address: str | None = None
) -> "LoneStudent":
    """The student that wrote an answer without a release, to write it again.

    Args:
        release_id: what the answer carries in the place of a release's.
        address: as of `rjepa.engine.Engine.load`.

    Raises:
        NotFoundError: there is no such student any more.
        InvalidInputError: it has other weights by now.
    """
    resolved = resolve_student(home, load_record(home, llm_tag))
    if lone_id(resolved.fingerprint) != release_id:
        raise InvalidInputError(
            f"the answer was written by {llm_tag} as {release_id}, which is now {lone_id(resolved.fingerprint)}",
            cure="put back the weights, or the LoRA, that it had then",
        )
    return LoneStudent(home, open_source(home, resolved, device, address), "", "its answer had none")


class LoneStudent(Answerer):
    """Answers questions with a student alone."""

    def __init__(self, home: Home, student: ChainSource, dataset: str, why: str, desk: Desk | None = None) -> None:
        """Let a student answer.

        Args:
            dataset: whose problems are examples.
            why: why there is no release for it, in half a sentence.
        """
        record = student.record
        self._writer = Writer(
            llm_tag=record.llm_tag,
            release_id=lone_id(student.fingerprint),
            segmentation=record.segmentation,
            sampling_temperature=record.sampling.temperature,
            capabilities=student.capabilities,
        )
        super().__init__(home, student, self._writer, dataset, desk)
        self.why = why

    @property
    def writer(self) -> Writer:
        """The student's name, and how it writes."""
        return self._writer

    @property
    def parts(self) -> Parts:
        """There are none.

        Raises:
            InvalidInputError: always, with what would bring them.
        """
        self._refuse("this")

    @property
    def modes(self) -> tuple[str, ...]:
        """Names of the modes that need nothing beside the student."""
        return tuple(name for name in _PLAIN if self._can(name))

    def info(self) -> dict[str, Any]:
        """What is loaded, as plain JSON values."""
        return {
            "id": self.release_id,
            "student_fingerprint": self.student_fingerprint,
            "device": str(self._student.device),
            "device_reason": self._student.device_reason,
            "no_release": self.why,
        }

    def _require_parts(self, mode: Mode) -> None:
        if mode.parts:
            self._refuse(f"mode {mode.name}")

    def _fit(self, mode: Mode, question: Question, writer: Writer) -> None:
        """Nothing is there that would have to fit."""

    def _refuse(self, what: str) -> NoReturn:
        record = self._student.record
        source = "OTHER" if record.lora is None else record.lora.base
        raise InvalidInputError(
            f"{what} needs an R-JEPA, and there is none for {self.llm_tag}: {self.why}",
            cure=f"make its release (rjepa backfill --llm {self.llm_tag}), carry one over (rjepa llm migrate --from "
            f"{source} --to {self.llm_tag}), or ask in a mode that needs none: {', '.join(_PLAIN)}",
        )
