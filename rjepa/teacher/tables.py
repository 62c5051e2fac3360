"""The teachers' tables: jobs, and every call that was ever made. What is written into them is `ledger`'s matter.

Money is whole nano-dollars, so that a million small calls add up exactly; moments are milliseconds since 1970.
"""

from typing import Final

from sqlalchemy import JSON, BigInteger, Column, Float, ForeignKey, Index, Integer, String, Table, Text

from rjepa.database import METADATA

JOBS: Final = Table(
    "teacher_jobs",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("budget_usd", Float, nullable=False),
    Column("spent_nano", BigInteger, nullable=False, comment="the sum of its calls' costs"),
    Column("reserved_nano", BigInteger, nullable=False, comment="the sum of what its open calls may cost"),
    Column("runner", String(32), comment="the run that may write; none, where the last one ended in order"),
    Column("runner_process", String(255), comment="where that run is: see `rjepa.teacher.runners`"),
    Column("runner_until_ms", BigInteger, comment="until when others take it for alive"),
)
"""One row a job. Both sums are kept in the transaction that changes a call, and a budget is checked there."""

CALLS: Final = Table(
    "teacher_calls",
    METADATA,
    # SQLite counts up by itself for a column of the type INTEGER alone.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("job", String(64), ForeignKey(JOBS.c.name), nullable=False),
    Column("key", String(64), nullable=False, comment="SHA-256 of teacher, model, prompt and sample"),
    Column("teacher", String(64), nullable=False),
    Column("state", String(8), nullable=False, comment="open, replied, failed, or lost: open when its run died"),
    Column("reserved_nano", BigInteger, nullable=False, comment="its worst case"),
    Column("cost_nano", BigInteger, nullable=False, default=0),
    Column("doubtful_nano", BigInteger, nullable=False, default=0, comment="perhaps never billed"),
    Column("above_reserve_nano", BigInteger, nullable=False, default=0, comment="billed beyond the worst case"),
    Column("attempts", Integer, nullable=False, default=0),
    Column("prompt_tokens", BigInteger),
    Column("completion_tokens", BigInteger),
    Column("request", JSON, comment="the body as it was asked for"),
    Column("reply", Text, comment="the body of the answer, without the API key"),
    Column("reason", String(64), comment="why it failed, in one word"),
    Column("detail", Text),
    Column("reserved_at_ms", BigInteger, nullable=False),
    Column("settled_at_ms", BigInteger),
)
"""One row each time a call is made. A call that failed or was lost may be made again; one that was answered may not."""

for _state in ("open", "replied"):
    Index(
        f"uq_teacher_calls_{_state}",
        CALLS.c.job,
        CALLS.c.key,
        unique=True,
        sqlite_where=CALLS.c.state == _state,
        postgresql_where=CALLS.c.state == _state,
    )
Index("ix_teacher_calls_job_teacher_state", CALLS.c.job, CALLS.c.teacher, CALLS.c.state)
