"""Sealed sets: test problems that evidence comes from, and nothing else. Which there are, how often each was used,
and when one is retired; drawing a fresh one lives in `rjepa.living.drawing`.

Why a set wears out. A challenger whose training saw nothing of a set is tested honestly on it. But what was
served because it did well on the set did so partly by luck, and whatever is trained from it inherits that luck: from
there on the set flatters. Of a refusal nothing comes back: the next challenger would have been the same. So a set may
refuse as often as one likes, each time at its price from the budget (`rjepa.living.budget`), and is retired:

- once it promoted something: had k tests been allowed m promotions, one of C(k, m) courses of events would have been
  picked by what the set holds, and each level would have to be divided by that number (Blum and Hardt, "The ladder",
  2015; Dwork et al., "The reusable holdout", 2015). With m = 0 the number is 1;
- after `USES` tests. People read refusals, and mend what was refused: the argument above holds for the loop alone;
- when an operator says so, because somebody saw its problems.

As long as it is at home, a set's problems are kept out of every later dataset version (`DatasetRecipe.keep_out`).
"""

from datetime import datetime
from typing import Any, Final

from pydantic import Field
from sqlalchemy import JSON, BigInteger, Column, Connection, Integer, String, Table, Text, insert, select, update

from rjepa.database import METADATA, Database, open_database
from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.home import Home, check_tag
from rjepa.living.budget import count_uses
from rjepa.moments import to_datetime
from rjepa.releases.history import history
from rjepa.values import FrozenValue

USES: Final = 30
"""Tests that a set may be used for: a month of nights, as long as the budget reaches."""

SEALED_SETS: Final = Table(
    "sealed_sets",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("llm_tag", String(64), nullable=False, index=True),
    Column("name", String(64), nullable=False),
    Column("datasets", JSON, nullable=False),
    Column("sealed_at_ms", BigInteger, nullable=False),
    Column("retired_at_ms", BigInteger),
    Column("retired_why", Text),
)
"""`datasets` are names; their test problems are the set."""


class SealedSet(FrozenValue):
    """One set of an LLM. It is used in the order in which sets were sealed."""

    name: str
    datasets: tuple[str, ...]
    sealed_at: datetime
    uses: int = Field(description="tests of challengers on it")
    retired_at: datetime | None
    retired_why: str | None


def seal(home: Home, llm_tag: str, name: str, datasets: tuple[str, ...]) -> None:
    """Make the test problems of some datasets the next sealed set of an LLM. Sealing the same again changes nothing.

    Raises:
        InvalidInputError: the name is taken, there is no dataset, or one of them is in another set of this LLM.
    """
    check_tag(name, "sealed set")
    if not datasets:
        raise InvalidInputError(f"sealed set {name} would be empty", cure="name a dataset with test problems")

    def work(connection: Connection) -> None:
        rows = connection.execute(select(SEALED_SETS).where(SEALED_SETS.c.llm_tag == llm_tag)).mappings().all()
        for row in rows:
            if row["name"] == name and tuple(row["datasets"]) == datasets:
                return
            if row["name"] == name or set(row["datasets"]) & set(datasets):
                raise InvalidInputError(
                    f"sealed set {row['name']} of {llm_tag} has that name, or one of these datasets",
                    cure="choose another name, and datasets whose tests nothing was tested on",
                )
        values = {"llm_tag": llm_tag, "name": name, "datasets": list(datasets)}
        connection.execute(insert(SEALED_SETS).values(**values, sealed_at_ms=database.now_ms(connection)))

    with open_database(home) as database:
        database.transact(work)


def retire(home: Home, llm_tag: str, name: str, why: str) -> None:
    """Test nothing on a set any more. A set that is retired already stays as it is.

    Raises:
        NotFoundError: there is no such set.
    """

    def work(connection: Connection) -> None:
        which = (SEALED_SETS.c.llm_tag == llm_tag, SEALED_SETS.c.name == name)
        if connection.execute(select(SEALED_SETS.c.id).where(*which)).first() is None:
            raise NotFoundError(
                f"{llm_tag} has no sealed set {name!r}", cure="choose one that `rjepa living sealed list` shows"
            )
        live = SEALED_SETS.c.retired_at_ms.is_(None)
        values = {"retired_at_ms": database.now_ms(connection), "retired_why": why}
        connection.execute(update(SEALED_SETS).where(*which, live).values(**values))

    with open_database(home) as database:
        database.transact(work)


def list_sets(home: Home, llm_tag: str) -> list[SealedSet]:
    """Every set of an LLM, oldest first."""
    with open_database(home) as database:
        return _read(database, llm_tag)


def live_set(home: Home, llm_tag: str) -> SealedSet | None:
    """The set that the next challenger is tested on; None where all are retired. Those that are worn out are
    retired.
    """
    promoted = {
        move.decision.night.terms.sealed_set
        for move in history(home, llm_tag)
        if move.action == "promote" and move.decision is not None and move.decision.night is not None
    }
    for each in list_sets(home, llm_tag):
        if each.retired_at is not None:
            continue
        if each.name in promoted:
            retire(home, llm_tag, each.name, "it promoted a release")
        elif each.uses >= USES:
            retire(home, llm_tag, each.name, f"it was used {each.uses} times")
        else:
            return each
    return None


def require_live_set(home: Home, llm_tag: str) -> SealedSet:
    """The set that the next challenger is tested on.

    Raises:
        NotFoundError: every set is retired, or none was sealed.
    """
    found = live_set(home, llm_tag)
    if found is None:
        raise NotFoundError(
            f"{llm_tag} has no sealed problems that evidence may come from",
            cure=f"materialise sealed_candidates of {llm_tag}, or seal a dataset of test problems: "
            f"rjepa living sealed add NAME --dataset DATASET --llm {llm_tag}",
        )
    return found


def _read(database: Database, llm_tag: str) -> list[SealedSet]:
    with database.reading() as connection:
        wanted = select(SEALED_SETS).where(SEALED_SETS.c.llm_tag == llm_tag).order_by(SEALED_SETS.c.id)
        rows = connection.execute(wanted).mappings().all()
        return [_of_row(row, count_uses(connection, llm_tag, row["name"])) for row in rows]


def _of_row(row: Any, uses: int) -> SealedSet:
    retired = row["retired_at_ms"]
    return SealedSet(
        name=row["name"],
        datasets=tuple(row["datasets"]),
        sealed_at=to_datetime(row["sealed_at_ms"]),
        uses=uses,
        retired_at=None if retired is None else to_datetime(retired),
        retired_why=row["retired_why"],
    )
