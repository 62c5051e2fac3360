"""Which split a statement belongs to when its source does not say: by the hash of its text.

The hash alone decides, so a problem never changes split when its data set grows, is re-seeded or is re-ordered, and
equal statements can never lie in two splits. Sources that know structure (the curriculum) split by structure instead.
"""

import hashlib
import re
import unicodedata
from typing import Final

from rjepa.schemas import Split

VALIDATION_SHARE: Final = 0.1
TEST_SHARE: Final = 0.1


_MEANINGFUL: Final = ("<super>", "<sub>", "<fraction>", "<circle>", "<square>")
"""Kinds of characters whose plain form means another thing: 2 with a raised 2 is not 22, 1 and a half is not 11/2."""


def normalise_statement(statement: str) -> str:
    """The form in which two statements count as the same: Unicode NFKC, case folded, one space for any white space.

    Superscripts, subscripts, fractions, circled and squared characters stay what they are.
    """
    if statement.isascii():
        return " ".join(statement.casefold().split())
    kept = {character for character in set(statement) if unicodedata.decomposition(character).startswith(_MEANINGFUL)}
    if not kept:
        plain = unicodedata.normalize("NFKC", statement)
    else:
        runs = re.split(f"([{re.escape(''.join(sorted(kept)))}])", statement)
        plain = "".join(run if run in kept else unicodedata.normalize("NFKC", run) for run in runs)
    return " ".join(plain.casefold().split())


def statement_key(statement: str) -> str:
    """Hex SHA-256 of the normalised statement."""
    return hashlib.sha256(normalise_statement(statement).encode()).hexdigest()


def split_by_hash(statement: str) -> Split:
    """`test` and `validation` for a tenth of all statements each, `train` for the rest."""
    position = int(statement_key(statement)[:13], 16) / 16**13
    if position < TEST_SHARE:
        return "test"
    return "validation" if position < TEST_SHARE + VALIDATION_SHARE else "train"
