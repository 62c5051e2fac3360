"""Rows to ask of a decoding session, and chains to compare."""

from typing import Any

import numpy as np

from rjepa.students.loading import Student
from rjepa.students.sampled import Event, RowRequest, SampledChain, Until
from rjepa.students.session import Session
from tests.students.tiny import taught_pairs

STATEMENTS = [pair[0] for pair in taught_pairs()[:6]]
HOT = 1.5
"""A temperature at which the taught student's samples differ."""
MILD = 0.6
"""One at which it keeps to the form of a chain."""


def requests(
    count: int, statements: list[str] | None = None, temperature: float = HOT, **options: Any
) -> list[RowRequest]:
    """As many rows of each statement, of at most 40 tokens."""
    return [
        RowRequest(statement, 7, sample, temperature, 40, **options)
        for statement in statements or STATEMENTS
        for sample in range(count)
    ]


def finish(session: Session, **options: bool) -> list[Event]:
    return list(session.run(Until.CHAIN, **options))


def written(student: Student, wanted: list[RowRequest]) -> list[SampledChain]:
    """The chains that these requests become in one session, run straight to its end."""
    with Session(student) as session:
        rows = session.add(wanted)
        finish(session)
        return session.chains(rows)


def alike(one: SampledChain, other: SampledChain) -> None:
    """The same tokens, and the same numbers within rounding."""
    assert (one.text, one.token_ids, one.finished) == (other.text, other.token_ids, other.finished)
    np.testing.assert_allclose(one.token_logprobs, other.token_logprobs, atol=1e-4)
    if one.latents is not None and other.latents is not None:
        np.testing.assert_allclose(one.latents.astype(float), other.latents.astype(float), atol=8e-3)


def identical(one: SampledChain, other: SampledChain) -> bool:
    """The same to the bit."""
    return all(
        np.array_equal(mine, its) if isinstance(mine, np.ndarray) else mine == its
        for mine, its in zip(vars(one).values(), vars(other).values(), strict=True)
    )
