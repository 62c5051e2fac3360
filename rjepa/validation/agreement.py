"""Do several chains of one problem agree? The share of the most common answer, and why it was taken or not.

For problems without a gold answer, and to check one that has it. Who wrote the chains does not matter here; give one
answer a teacher, or one a chain. Votes of a student's candidates live in `rjepa.inference.voting`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rjepa.validation.answers import answer_key

Reason = Literal["unanimous", "majority", "tie_broken", "below_threshold", "tie", "too_few_answers"]
Same = Callable[[str, str], bool]
"""Whether two answers say the same."""
TieBreaker = Callable[[list[str]], str | None]
"""Takes one spelling of each answer that leads, returns the right one of them, or None: a judge, for instance."""


@dataclass(frozen=True)
class Agreement:
    """What several answers come to.

    `answer` is None unless the reason is unanimous, majority or tie_broken. `share` is that of the leading answer among
    all chains, those without an answer included. `leading` holds one spelling of each answer that leads.
    """

    reason: Reason
    answer: str | None
    share: float
    leading: tuple[str, ...]
    answered: int

    @property
    def accepted(self) -> bool:
        """Whether there is an answer to go on with."""
        return self.answer is not None


def agree(
    answers: Sequence[str | None],
    *,
    threshold: float = 0.5,
    minimum: int = 2,
    same: Same | None = None,
    tie_breaker: TieBreaker | None = None,
) -> Agreement:
    """Count equal answers and take the leading one if its share is large enough.

    Args:
        answers: one for each chain; None or empty where it gave none.
        threshold: the least share in (0, 1] of all chains, the silent ones included.
        minimum: the least number of chains that must have given an answer.
        same: None compares as votes do (`answer_key`); pass `lambda a, b: maths.compare(a, b).equal` for formulas.
        tie_breaker: asked where two or more answers lead with equal counts, or where the leader is below the threshold.

    Raises:
        ValueError: a threshold or minimum outside its range.
    """
    if not 0 < threshold <= 1 or minimum < 1:
        raise ValueError(f"threshold must be in (0, 1] and minimum at least 1, got {threshold} and {minimum}")
    groups = _grouped(answers, same)
    answered = sum(len(group) for group in groups)
    if answered < minimum:
        return Agreement("too_few_answers", None, 0.0, tuple(group[0] for group in groups), answered)
    most = max(len(group) for group in groups)
    leading = tuple(group[0] for group in groups if len(group) == most)
    share = most / len(answers)
    if len(leading) == 1 and share >= threshold:
        reason: Reason = "unanimous" if most == len(answers) else "majority"
        return Agreement(reason, leading[0], share, leading, answered)
    chosen = tie_breaker(list(leading)) if tie_breaker is not None else None
    if chosen in leading:
        return Agreement("tie_broken", chosen, share, leading, answered)
    return Agreement("tie" if len(leading) > 1 else "below_threshold", None, share, leading, answered)


def _grouped(answers: Sequence[str | None], same: Same | None) -> list[list[str]]:
    """Answers that say the same, in the order in which they first came."""
    groups: list[list[str]] = []
    keys: list[str] = []
    for answer in answers:
        key = answer_key(answer)
        if answer is None or key is None:
            continue
        for known, group in zip(keys, groups, strict=True):
            if key == known or (same is not None and same(group[0], answer)):
                group.append(answer)
                break
        else:
            keys.append(key)
            groups.append([answer])
    return groups
