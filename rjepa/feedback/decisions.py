"""What is decided of interactions, as values: outcomes, reasons, thresholds, a whole selection and its counts."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, get_args

from rjepa.feedback.evidence import Evidence
from rjepa.files import sha256_json

Outcome = Literal["accepted", "rejected", "review", "refused"]
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)

Reason = Literal[
    # accepted
    "approved_and_probable",
    "approved_and_equations_hold",
    "check_passed",
    "reviewer_accepted",
    # rejected
    "thumbs_down",
    "wrong_step",
    "check_failed",
    "reviewer_rejected",
    # to review
    "no_vote",
    "improbable",
    "p_unknown",
    "conversation",
    "redacted_question",
    "vote_against_check",
    "contradictory_votes",
    "answers_disagree",
    "untrusted_owner",
    "flood",
    # refused
    "opted_out",
    "workspace_excluded",
    "no_chain",
    "unreadable_chain",
    "held_out_problem",
    "known_problem",
    "already_learned",
    "duplicate",
    "near_duplicate",
    "owner_cap",
    "client_cap",
    "night_forgets",
]


@dataclass(frozen=True)
class Rules:
    """The thresholds, with the reason for each."""

    min_p_correct: float = 0.83
    """With one vote in five a lie, an approved answer of probability p is right with odds 4 p / (1 - p): 19 to 1, the
    share of valid chains that a dataset asks for (0.95), needs p = 0.83."""

    min_equations: int = 2
    """Where R-JEPA knows no such problems there is no p. One equation that holds may be luck or a copy of the question;
    two and none that fails is a calculation. Weaker than p: the gate of the release decides in the end."""

    per_owner: int = 50
    """Interactions of one owner in one selection: more than a day's honest use, and too few to outweigh a version."""

    per_client: int = 500
    """The same for a key with all of its users: users are the client's word, and a thief of the key can invent them."""

    flood_per_hour: int = 120
    """Votes of one key in an hour: two a minute are more than anybody reads. Beyond, all of that hour go to review."""

    min_contradictions: int = 3
    """Votes that a check contradicts before an owner is distrusted: one or two are mistakes."""

    max_contradicted: float = 0.5
    """Share of an owner's checked votes that may be wrong: a coin does as well."""

    max_negatives: int = 2
    """Wrong chains that go with one problem: what is wrong must not outnumber what is right by much."""


@dataclass(frozen=True)
class WrongChain:
    """A chain in which a checker, and not a vote, finds a wrong step."""

    interaction_id: str
    steps: tuple[str, ...]
    final_answer: str | None


@dataclass(frozen=True)
class Chosen:
    """One interaction and what is decided of it. `negatives` go with an accepted one."""

    evidence: Evidence
    outcome: Outcome
    reason: Reason
    negatives: tuple[WrongChain, ...] = ()

    @property
    def interaction_id(self) -> str:
        return self.evidence.interaction.interaction_id


@dataclass(frozen=True)
class Funnel:
    """How many went which way, and why."""

    kept: int
    withdrawn: int
    outcomes: dict[str, int]
    reasons: dict[str, int]
    negatives: int
    outcome_of: dict[str, str]
    """Which outcome a reason leads to."""

    def by_outcome(self, outcome: str) -> dict[str, int]:
        """The reasons of one outcome, the most frequent first."""
        mine = {reason: count for reason, count in self.reasons.items() if self.outcome_of[reason] == outcome}
        return dict(sorted(mine.items(), key=lambda item: (-item[1], item[0])))

    def figures(self) -> dict[str, int | float | str]:
        """Flat, for metadata."""
        reasons = {f"reason_{name}": count for name, count in self.reasons.items()}
        whole = {"kept": self.kept, "withdrawn": self.withdrawn, "negatives": self.negatives}
        return {**whole, **self.outcomes, **reasons}


@dataclass(frozen=True)
class Selection:
    """Every interaction that is there, in the order in which they were answered. `withdrawn` were deleted."""

    chosen: tuple[Chosen, ...]
    withdrawn: tuple[str, ...]
    rules: Rules = field(default_factory=Rules)

    @property
    def accepted(self) -> tuple[Chosen, ...]:
        return self._with("accepted")

    @property
    def rejected(self) -> tuple[Chosen, ...]:
        return self._with("rejected")

    @property
    def review(self) -> tuple[Chosen, ...]:
        return self._with("review")

    @property
    def refused(self) -> tuple[Chosen, ...]:
        return self._with("refused")

    @property
    def funnel(self) -> Funnel:
        """The counts."""
        outcomes = Counter(one.outcome for one in self.chosen)
        reasons = Counter(one.reason for one in self.chosen)
        return Funnel(
            kept=len(self.chosen),
            withdrawn=len(self.withdrawn),
            outcomes={name: outcomes[name] for name in OUTCOMES},
            reasons={name: reasons[name] for name in sorted(reasons)},
            negatives=sum(len(one.negatives) for one in self.chosen),
            outcome_of={one.reason: one.outcome for one in self.chosen},
        )

    @property
    def sha256(self) -> str:
        """Hash of all decisions with their reasons and words: what the gate refused once is known by it."""
        return sha256_json(
            {
                "rules": asdict(self.rules),
                "withdrawn": list(self.withdrawn),
                "chosen": [_content_of(one) for one in self.chosen],
            }
        )

    @property
    def waiting(self) -> "Selection":
        """The same for a night that forgets: what is accepted waits for the next one."""
        chosen = tuple(
            Chosen(one.evidence, "refused", "night_forgets") if one.outcome == "accepted" else one
            for one in self.chosen
        )
        return Selection(chosen, self.withdrawn, self.rules)

    def _with(self, outcome: Outcome) -> tuple[Chosen, ...]:
        return tuple(one for one in self.chosen if one.outcome == outcome)


def _content_of(one: Chosen) -> dict[str, Any]:
    content = one.evidence.content
    return {
        "id": one.interaction_id,
        "outcome": one.outcome,
        "reason": one.reason,
        "statement": content.statement,
        "steps": list(content.steps),
        "answer": content.final_answer,
        "weight": content.weight,
        "negatives": [asdict(chain) for chain in one.negatives],
    }
