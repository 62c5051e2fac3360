"""Values of feedback: an answer and its owner, what is kept of it, the vote on it, an operator's decision."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

from pydantic import Field

from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.reasoning.answer import Answer, CandidateReport
from rjepa.reasoning.question import Message
from rjepa.values import FrozenValue

Vote = Literal["up", "down"]
Decision = Literal["accept", "reject", "skip"]


class NotKeptError(NotFoundError):
    """Nothing is kept of an answer, it was deleted, or it is someone else's."""


class OutdatedConsentError(InvalidInputError):
    """Consent was given to other words than those of today."""


class OptedOutError(InvalidInputError):
    """Something is to be kept of an owner who opted out."""


@dataclass(frozen=True, order=True)
class Owner:
    """Whom an answer was given to: a client of the service, and which of its users where it says so.

    `end_user` is a keyed hash (`rjepa.feedback.tickets.hash_user`); empty where the client names nobody.
    """

    client: str
    end_user: str = ""

    @property
    def name(self) -> str:
        """One word for both, for lists and the audit log."""
        return f"{self.client}/{self.end_user}" if self.end_user else self.client

    def owns(self, other: "Owner") -> bool:
        """Whether this one may see and delete what was given to the other: a client may for all of its users."""
        return self.client == other.client and self.end_user in ("", other.end_user)


class Content(FrozenValue):
    """What was asked and answered, in words: kept with consent alone, and redacted before."""

    messages: tuple[Message, ...]
    text: str
    steps: tuple[str, ...]
    final_answer: str | None
    finished: bool
    abstained: bool = False
    familiar: bool | None = Field(None, description="whether R-JEPA knows such problems; None where it was not asked")
    candidates: tuple[CandidateReport, ...] = ()
    weight: float = Field(1.0, gt=0, description="how often training shows it, another new chain once")

    @classmethod
    def of(cls, messages: Sequence[Message], answer: Answer) -> "Content":
        """The words of a question and of an answer to it."""
        return cls(
            messages=tuple(messages),
            text=answer.text,
            steps=tuple(answer.steps),
            final_answer=answer.final_answer,
            finished=answer.finished,
            abstained=answer.abstained,
            familiar=None if answer.explanation is None else answer.explanation.familiar,
            candidates=tuple(answer.candidates),
        )

    @property
    def statement(self) -> str:
        """The last user message: the problem."""
        return next((message.content for message in reversed(self.messages) if message.role == "user"), "")

    @property
    def is_conversation(self) -> bool:
        """Whether the question may need what was said before it. Instructions to the student are no such thing."""
        return sum(message.role not in ("system", "developer") for message in self.messages) > 1


@dataclass(frozen=True)
class Given:
    """An answer as it was given, before anything of it is kept. Moments are milliseconds since 1970."""

    interaction_id: str
    owner: Owner
    llm_tag: str
    release_id: str
    mode: str
    seed: int
    p_correct: float | None
    answered_at_ms: int
    content: Content | None = None


@dataclass(frozen=True)
class Interaction:
    """An answer that is kept. Without `content` it is a tombstone: deleted at `deleted_at_ms`."""

    interaction_id: str
    owner: Owner
    workspace: str
    llm_tag: str
    release_id: str
    mode: str
    seed: int
    p_correct: float | None
    answered_at_ms: int
    kept_at_ms: int
    consent: str
    redactions: dict[str, int]
    content: Content | None
    deleted_at_ms: int | None

    @property
    def given(self) -> Given:
        """The answer as it was given, without its words: those that are kept are redacted."""
        names = {field.name for field in fields(Given)} - {"content"}
        return Given(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class VoteRecord:
    """An owner's vote and comment on an answer."""

    interaction_id: str
    owner: Owner
    llm_tag: str
    release_id: str
    mode: str
    vote: Vote | None
    comment: str | None
    voted_at_ms: int


@dataclass(frozen=True)
class Review:
    """An operator's decision on whether an interaction is learned from."""

    interaction_id: str
    decision: Decision
    reviewer: str
    reviewed_at_ms: int
