"""A student with a LoRA takes its base's place only if it is better where it claims to be and worse nowhere."""

import numpy as np
import pytest

from rjepa.releases.student_gate import StudentDecision, decide

SIZE = 400
"""Problems of a domain: a loss of three points is excluded where a few of them differ."""


def judged(new: tuple[int, int], old: tuple[int, int], claims: tuple[str, ...] = ("sums",)) -> StudentDecision:
    """Two students on two domains: in each, problems only the one with the LoRA, or only its base, got right."""
    columns = []
    for gained, lost in (new, old):
        tuned = np.zeros(SIZE, dtype=bool)
        base = tuned.copy()
        tuned[:gained] = True
        base[gained : gained + lost] = True
        columns.append((tuned, base))
    tuned, base = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    domains = ["sums"] * SIZE + ["logic"] * SIZE
    return decide(tuned, base, domains, claims=claims, dataset="v1.1.0", fingerprints=("a" * 64, "b" * 64))


@pytest.mark.parametrize(
    ("new", "old", "claims", "reason"),
    [
        ((60, 2), (3, 3), ("sums",), "better"),
        ((60, 2), (0, 30), ("sums",), "worse"),
        ((60, 2), (30, 33), ("sums",), "too_few_problems"),
        ((5, 4), (3, 3), ("sums",), "not_better"),
        ((60, 2), (3, 3), ("poetry",), "no_such_claim"),
        ((60, 2), (3, 3), (), "no_such_claim"),
    ],
)
def test_what_passes_and_what_does_not(
    new: tuple[int, int], old: tuple[int, int], claims: tuple[str, ...], reason: str
) -> None:
    decision = judged(new, old, claims)
    assert decision.reason == reason
    assert decision.passed == (reason == "better")


def test_the_findings_are_paired_and_by_domain() -> None:
    found = {one.domain: one for one in judged((60, 2), (3, 3)).findings}
    assert set(found) == {"all", "sums", "logic"}
    assert found["sums"].difference == pytest.approx(58 / SIZE)
    assert found["sums"].low < found["sums"].difference < found["sums"].high
    assert found["logic"].difference == 0
