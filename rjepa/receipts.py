"""A receipt: what anybody with the same release needs to generate an answer again, and whether they got the same.

It holds hashes in place of words, so that it can be kept and shown without telling what was asked; the question itself
is in it only where its owner asks for that. The hash of a short question can be guessed by trying questions: it keeps
words out of files and tickets, and is no secret. Generating the answer again is `rjepa.cli.verify`'s matter.
"""

import functools
import hashlib
import math
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final, Literal

from pydantic import Field

from rjepa.errors import InvalidInputError
from rjepa.reasoning.answer import Answer, CandidateReport
from rjepa.reasoning.question import Message, Question, ask, hash_messages
from rjepa.releases.bundle import code_version
from rjepa.values import FrozenValue

TOLERANCE: Final = 1e-3
"""How far two figures of a receipt may lie apart and count as the same, relative to the larger one and absolutely.
Another batch, number of threads or processor adds float32 numbers in another order: energies of tiny-a with one and
with two threads differ by 3e-8 (docs/service.md). What changes an answer differs by far more."""

_LIBRARIES: Final = ("torch", "transformers", "tokenizers", "numpy")
"""Whose versions can change a token."""

_HASH: Final = r"^[0-9a-f]{64}$"


class CandidateTrace(FrozenValue):
    """What a candidate was, without its words."""

    text_sha256: str = Field(pattern=_HASH)
    step_energies: tuple[float, ...]
    answer_energy: float | None
    score: float | None
    p_correct: float | None


class Receipt(FrozenValue):
    """One answer of one release. Every hash is SHA-256 in hexadecimal digits; texts are hashed as UTF-8."""

    format: Literal[1] = 1
    llm_tag: str
    release_id: str
    student_fingerprint: str
    student_defaults: dict[str, Any] = Field(description="the student's own settings, where the question names none")
    question_sha256: str = Field(pattern=_HASH, description="of the messages as JSON, keys sorted, without spaces")
    messages: tuple[Message, ...] | None = Field(None, description="the question itself, where that was asked for")
    asked: dict[str, Any] = Field(description="all else of the question: mode, its options, seed, limits, sampling")
    text_sha256: str = Field(pattern=_HASH)
    finished: bool
    tokens: int = Field(description="generated, of all candidates")
    p_correct: float | None
    candidates: tuple[CandidateTrace, ...]
    chosen: int | None = Field(ge=0, description="place of the chosen candidate; None where none were to choose from")
    versions: dict[str, str] = Field(description="of the code that made the answer; no part of what is compared")

    @property
    def chosen_text(self) -> str | None:
        """Hash of the chosen candidate's text. Candidates often have the same words; which of them is chosen then hangs
        on the last bit of their energies, and is no difference.
        """
        texts = dict(enumerate(candidate.text_sha256 for candidate in self.candidates))
        return None if self.chosen is None else texts.get(self.chosen)

    def question(self, messages: Sequence[Message]) -> Question:
        """The question again.

        Raises:
            InvalidInputError: this version of R-JEPA cannot ask it.
        """
        asked = dict(self.asked)
        if strange := sorted(asked.keys() - Question.model_fields.keys()):
            raise InvalidInputError(
                f"the receipt names {', '.join(strange)}, which this version of R-JEPA does not know",
                cure=f"verify it with the version that made it: {self.versions}",
            )
        mode, options = asked.pop("mode"), asked.pop("options")
        return ask(messages, mode, options, **asked | {"logit_bias": dict(asked.get("logit_bias", ()))})


def make_receipt(
    question: Question,
    answer: Answer,
    student_fingerprint: str,
    student_defaults: Mapping[str, Any],
    *,
    keep_question: bool = False,
) -> Receipt:
    """The receipt of an answer.

    Args:
        student_defaults: how the student samples where the question does not say.
        keep_question: whether the receipt holds the messages, and not their hash alone.
    """
    return Receipt(
        llm_tag=answer.llm_tag,
        release_id=answer.release_id,
        student_fingerprint=student_fingerprint,
        student_defaults=dict(student_defaults),
        question_sha256=hash_messages(question.messages),
        messages=question.messages if keep_question else None,
        asked=question.model_dump(mode="json", exclude={"messages"}),
        text_sha256=_hash_text(answer.text),
        finished=answer.finished,
        tokens=answer.cost.tokens_generated,
        p_correct=answer.p_correct,
        candidates=tuple(_trace(candidate) for candidate in answer.candidates),
        chosen=next((place for place, candidate in enumerate(answer.candidates) if candidate.chosen), None),
        versions=dict(_versions()),
    )


def differences(expected: Receipt, found: Receipt) -> list[str]:
    """What of an answer that was generated again is not as it was, in words; empty where everything is."""
    return list(_compare(expected, found))


def _compare(expected: Receipt, found: Receipt) -> Iterator[str]:
    for name in ("student_fingerprint", "student_defaults", "question_sha256"):
        was, now = getattr(expected, name), getattr(found, name)
        if was != now:
            yield f"{name}: was {was}, is {now}"
    if expected.text_sha256 != found.text_sha256:
        yield f"the text is another one: its hash was {expected.text_sha256[:12]}, is {found.text_sha256[:12]}"
    for name in ("finished", "tokens"):
        was, now = getattr(expected, name), getattr(found, name)
        if was != now:
            yield f"{name}: was {was}, is {now}"
    if expected.chosen_text != found.chosen_text:
        yield f"chosen: was candidate {expected.chosen}, is candidate {found.chosen}"
    yield from _figure("P(correct)", expected.p_correct, found.p_correct)
    if len(expected.candidates) != len(found.candidates):
        yield f"candidates: were {len(expected.candidates)}, are {len(found.candidates)}"
    for place, (was, now) in enumerate(zip(expected.candidates, found.candidates, strict=False)):
        yield from _compare_candidates(f"candidate {place}", was, now)


def _compare_candidates(name: str, was: CandidateTrace, now: CandidateTrace) -> Iterator[str]:
    if was.text_sha256 != now.text_sha256:
        yield f"{name}: the text is another one: its hash was {was.text_sha256[:12]}, is {now.text_sha256[:12]}"
    if len(was.step_energies) != len(now.step_energies):
        yield f"{name}: steps were {len(was.step_energies)}, are {len(now.step_energies)}"
    for step, (before, after) in enumerate(zip(was.step_energies, now.step_energies, strict=False), 1):
        yield from _figure(f"{name}: energy of step {step}", before, after)
    yield from _figure(f"{name}: energy of the answer line", was.answer_energy, now.answer_energy)
    yield from _figure(f"{name}: score", was.score, now.score)
    yield from _figure(f"{name}: P(correct)", was.p_correct, now.p_correct)


def _figure(name: str, was: float | None, now: float | None) -> Iterator[str]:
    if was is not None and now is not None:
        if not math.isclose(was, now, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            yield f"{name}: was {was:.6g}, is {now:.6g} (they may differ by {TOLERANCE:g})"
    elif was is not now:
        yield f"{name}: was {was}, is {now}"


def _trace(candidate: CandidateReport) -> CandidateTrace:
    return CandidateTrace(
        text_sha256=_hash_text(candidate.text),
        step_energies=tuple(candidate.step_energies),
        answer_energy=candidate.answer_energy,
        score=candidate.score,
        p_correct=candidate.p_correct,
    )


def _hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def _versions() -> tuple[tuple[str, str], ...]:
    libraries = ((name, version(name)) for name in _LIBRARIES)
    return ("rjepa", code_version()), ("python", platform.python_version()), ("cpu", platform.machine()), *libraries
