"""Which split a statement belongs to when its source does not say: by the hash of its text.

The hash alone decides, so a problem never changes split when its data set grows, is re-seeded or is re-ordered, and
equal statements can never lie in two splits. Sources that know structure (the curriculum) split by structure instead.
"""

import hashlib
import unicodedata

from rjepa.schemas import Split

VALIDATION_SHARE = 0.1
TEST_SHARE = 0.1


def normalise_statement(statement: str) -> str:
    """The form in which two statements count as the same: Unicode NFKC, case folded, one space for any white space."""
    plain = statement if statement.isascii() else unicodedata.normalize("NFKC", statement)  # ASCII is in NFKC already
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
