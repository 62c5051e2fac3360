"""From an adapted row to a problem with id, split, licence and origin, and a chain where the row has worked steps."""

import json
from datetime import datetime
from typing import Any

from rjepa.problems.benchmarks.table import Benchmark, Share
from rjepa.problems.splitting import split_by_hash, statement_key
from rjepa.schemas import ChainOfThought, Problem, Split


def adapt_row(
    benchmark: Benchmark, row: dict[str, Any], share: Share, origin: dict[str, Any], created_at: datetime
) -> tuple[Problem, ChainOfThought | None]:
    """One published row as a problem. The id follows the statement, so a row has the same one from hub and file.

    Args:
        origin: where the row comes from (hub id and revision, or file and hash; subset, split, row); goes to `meta`.

    Raises:
        ValueError: the row is not in the published schema, with the field that is wrong.
    """
    subset = origin.get("subset")
    if benchmark.subset_field is not None and subset is not None:
        row = {benchmark.subset_field: subset} | row
    adapted = benchmark.adapt(row)
    source = f"benchmark:{benchmark.name}"
    problem = Problem(
        problem_id=f"{benchmark.name}-{statement_key(adapted.statement)[:16]}",
        domain=adapted.domain,
        subdomain=adapted.subdomain,
        source=source,
        difficulty=adapted.difficulty,
        statement=adapted.statement,
        answer_gold=adapted.answer,
        licence=benchmark.licence,
        split=_split(share, adapted.statement),
        meta=adapted.meta | {"origin": origin},
    )
    # Half a surrogate pair cannot be stored: UnicodeEncodeError is a ValueError.
    json.dumps([problem.statement, problem.answer_gold, problem.meta, adapted.steps], ensure_ascii=False).encode()
    if not adapted.steps:
        return problem, None
    return problem, ChainOfThought(
        cot_id=f"{problem.problem_id}-gold",
        problem_id=problem.problem_id,
        steps=adapted.steps,
        final_answer=adapted.answer,
        teacher_model=source,
        source=source,
        created_at=created_at,
    )


def _split(share: Share, statement: str) -> Split:
    if share != "shared":
        return share
    return "train" if split_by_hash(statement) == "train" else "validation"
