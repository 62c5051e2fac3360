"""The budget of errors over nights: at which level a night's challenger is tested. Rows of the database.

Over any `NIGHTS` nights in a row, levels add up to at most `BUDGET`: by the union bound, whatever the challengers are
and however their tests depend on each other, at most so large a share of months serves anything that is no better.
Every test costs its level, passed or not, because the sealed problems were used; asking twice about the same
costs once.

Each challenger gets an equal share. Other ways were simulated (`python -m benchmarks.nights`, lab book 51) and lost:
e-LOND, whose levels fall towards zero as nights go by; a fixed fraction of what is left, which starves later nights.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from pydantic import Field
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Float,
    Integer,
    String,
    Table,
    UniqueConstraint,
    func,
    insert,
    select,
)

from rjepa.database import METADATA, Database
from rjepa.moments import DAY_MS, to_datetime
from rjepa.values import FrozenValue

BUDGET: Final = 0.05
"""Share of months in which something is served that is no better than what it replaced, or forgot a domain: at most."""
NIGHTS: Final = 30
"""Nights of a month. The window slides: what a test cost is free again so many days later."""
SHARE: Final = BUDGET / NIGHTS
"""What one challenger is tested at: 1/600."""

_LEAST: Final = 0.99 * SHARE
"""Less than a whole share is none: sums of thirty floats end a little above or below the budget."""

NIGHT_TESTS: Final = Table(
    "night_tests",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("llm_tag", String(64), nullable=False),
    Column("challenger", String(64), nullable=False, comment="content id"),
    Column("current", String(64), nullable=False, comment="content id of what was served"),
    Column("claim", String(64), nullable=False),
    Column("candidates", String(64), nullable=False, comment="hash of what both were judged on"),
    Column("sealed_set", String(64), nullable=False),
    Column("tested_at_ms", BigInteger, nullable=False, index=True),
    Column("alpha", Float, nullable=False),
    Column("carried", Float, nullable=False, comment="logarithm of the evidence before this test"),
    Column("evidence", Float, nullable=False, comment="and after it"),
    Column("uses", Integer, nullable=False, comment="tests on the set, this one included"),
    UniqueConstraint("llm_tag", "challenger", "current", "claim", "candidates"),
)
"""Every test of a challenger on sealed problems. Rows are added and never changed."""


class Test(FrozenValue):
    """What is to be tested: is the challenger better than what is served, where it claims to be, on these
    candidates?
    """

    __test__ = False  # no test of pytest's

    llm_tag: str
    challenger: str
    current: str
    claim: str
    candidates: str
    sealed_set: str


class Tested(Test):
    """A test that was made."""

    tested_at: datetime
    alpha: float
    evidence: float = Field(description="logarithm of the evidence after it")


class Charge(FrozenValue):
    """What a test costs. An `alpha` of 0 says that nothing is left: then nothing was tested or recorded."""

    alpha: float
    carried: float = Field(description="logarithm of the evidence from earlier sets")
    uses: int
    left: float = Field(description="of the budget, after this test")


def charge(database: Database, test: Test, weigh: Callable[[float, float], float]) -> Charge:
    """Draw the level of a test and record what it found, in one transaction. The same test costs once.

    Args:
        weigh: gives the logarithm of the evidence, from the level and from what is carried. It may be called again.
    """

    def work(connection: Connection) -> Charge:
        now_ms = database.now_ms(connection)
        spent = _spent(connection, test.llm_tag, now_ms)
        known = connection.execute(select(NIGHT_TESTS).where(*_equal(test))).mappings().one_or_none()
        if known is not None:
            return Charge(
                alpha=known["alpha"], carried=known["carried"], uses=known["uses"], left=max(0.0, BUDGET - spent)
            )
        uses = count_uses(connection, test.llm_tag, test.sealed_set)
        if BUDGET - spent < _LEAST:
            return Charge(alpha=0.0, carried=0.0, uses=uses, left=max(0.0, BUDGET - spent))
        carried = _carried(connection, test)
        connection.execute(
            insert(NIGHT_TESTS).values(
                **test.model_dump(),
                tested_at_ms=now_ms,
                alpha=SHARE,
                carried=carried,
                evidence=weigh(SHARE, carried),
                uses=uses + 1,
            )
        )
        return Charge(alpha=SHARE, carried=carried, uses=uses + 1, left=max(0.0, BUDGET - spent - SHARE))

    return database.transact(work)


def budget_left(database: Database, llm_tag: str) -> float:
    """What the nights to come may still spend, a share."""
    with database.reading() as connection:
        return max(0.0, BUDGET - _spent(connection, llm_tag, database.now_ms(connection)))


def list_tests(database: Database, llm_tag: str) -> list[Tested]:
    """Every test of an LLM, oldest first."""
    names = [*Test.model_fields, "alpha", "evidence"]
    columns = [NIGHT_TESTS.c[name] for name in names]
    wanted = select(*columns, NIGHT_TESTS.c.tested_at_ms).where(NIGHT_TESTS.c.llm_tag == llm_tag)
    with database.reading() as connection:
        rows = connection.execute(wanted.order_by(NIGHT_TESTS.c.id)).mappings().all()
    return [Tested(**{name: row[name] for name in names}, tested_at=to_datetime(row["tested_at_ms"])) for row in rows]


def earlier_candidates(database: Database, test: Test) -> list[str]:
    """Hashes of the candidates of other sets that the two of a test were tested on before, oldest first."""
    same = [NIGHT_TESTS.c[name] == getattr(test, name) for name in ("llm_tag", "challenger", "current")]
    wanted = select(NIGHT_TESTS.c.candidates).where(*same, NIGHT_TESTS.c.sealed_set != test.sealed_set)
    with database.reading() as connection:
        found = connection.execute(wanted.order_by(NIGHT_TESTS.c.id)).scalars().all()
    return list(dict.fromkeys(found))


def count_uses(connection: Connection, llm_tag: str, sealed_set: str) -> int:
    """How many tests a sealed set was used for."""
    wanted = select(func.count()).where(NIGHT_TESTS.c.llm_tag == llm_tag, NIGHT_TESTS.c.sealed_set == sealed_set)
    return int(connection.execute(wanted).scalar_one())


def _spent(connection: Connection, llm_tag: str, now_ms: int) -> float:
    recent = NIGHT_TESTS.c.tested_at_ms > now_ms - NIGHTS * DAY_MS
    wanted = select(func.sum(NIGHT_TESTS.c.alpha)).where(NIGHT_TESTS.c.llm_tag == llm_tag, recent)
    return float(connection.execute(wanted).scalar() or 0.0)


def _carried(connection: Connection, test: Test) -> float:
    """Evidence of the same claim from the last set that the two were tested on; other problems, so that it adds up."""
    same = [NIGHT_TESTS.c[name] == getattr(test, name) for name in ("llm_tag", "challenger", "current", "claim")]
    wanted = select(NIGHT_TESTS.c.evidence).where(*same, NIGHT_TESTS.c.sealed_set != test.sealed_set)
    found = connection.execute(wanted.order_by(NIGHT_TESTS.c.id.desc()).limit(1)).scalar()
    return 0.0 if found is None else float(found)


def _equal(test: Test) -> list[ColumnElement[bool]]:
    names = ("llm_tag", "challenger", "current", "claim", "candidates")
    return [NIGHT_TESTS.c[name] == getattr(test, name) for name in names]
