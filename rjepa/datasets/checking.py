"""Measurements over a whole dataset, in SQL over the views of `rjepa.sql`: for the checks of the asset graph.

A function here counts; whether a count is good enough is decided by the check.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_SHOWN: Final = 5
_GOLD: Final = "coalesce(trim(answer_gold), '') <> '' OR json_exists(meta, '$.tests') OR json_exists(meta, '$.entry')"
"""A gold answer, or what a checker judges answers by: unit tests, the entry that a verifier of reasoning-gym reads."""


@dataclass(frozen=True)
class Gaps:
    """Problems that lack a gold answer or a known licence. `examples`: ids without a gold answer."""

    problems: int
    without_gold: int
    licence_unknown: int
    examples: list[str]


@dataclass(frozen=True)
class Verdicts:
    """Chains of a dataset by their verdicts. `worked` were meant to be right; `valid` of these are.

    unjudged: no verdict. contradictory: valid with a first wrong step, wrong with the reason "ok", or judged without a
    reason. strays: of no problem of the dataset. of_tests: of a test problem, which has none to train on.
    """

    chains: int
    worked: int
    valid: int
    unjudged: int
    contradictory: int
    strays: int
    of_tests: int


@dataclass(frozen=True)
class WrongTargets:
    """Chains whose latents a world model may take as targets (right ones of the train split) but should not."""

    targets: int
    not_valid: int
    not_in_dataset: int
    not_train: int
    examples: list[str]

    @property
    def total(self) -> int:
        return self.not_valid + self.not_in_dataset + self.not_train


def measure_gaps(connection: "DuckDBPyConnection", dataset: str) -> Gaps:
    """What problems lack."""
    row = _row(
        connection,
        f"SELECT count(*), count(*) FILTER (NOT ({_GOLD})), count(*) FILTER (licence = 'unknown')"
        " FROM problems WHERE dataset = ?",
        dataset,
    )
    found = connection.execute(
        f"SELECT problem_id FROM problems WHERE dataset = ? AND NOT ({_GOLD}) ORDER BY problem_id LIMIT {_SHOWN}",
        [dataset],
    ).fetchall()
    problems, without_gold, unknown_licence = row
    return Gaps(problems, without_gold, unknown_licence, [problem_id for (problem_id,) in found])


def measure_verdicts(connection: "DuckDBPyConnection", dataset: str) -> Verdicts:
    """Count the chains by verdict."""
    row = _row(
        connection,
        "SELECT count(*),"
        " count(*) FILTER (NOT json_exists(c.meta, '$.corruption')),"
        " count(*) FILTER (c.is_valid AND NOT json_exists(c.meta, '$.corruption')),"
        " count(*) FILTER (c.is_valid IS NULL),"
        " count(*) FILTER ((c.is_valid AND c.first_error_step IS NOT NULL)"
        " OR (NOT c.is_valid AND c.validation_reason = 'ok')"
        " OR (c.is_valid IS NOT NULL AND c.validation_reason IN ('', 'not_validated'))),"
        " count(*) FILTER (p.problem_id IS NULL),"
        " count(*) FILTER (p.split = 'test')"
        " FROM chains c LEFT JOIN problems p ON p.dataset = c.dataset AND p.problem_id = c.problem_id"
        " WHERE c.dataset = ?",
        dataset,
    )
    return Verdicts(*row)


def measure_wrong_targets(connection: "DuckDBPyConnection", llm_tag: str, dataset: str) -> WrongTargets:
    """Compare the index of latents with the verdicts of the chains they were made from."""
    targets = (
        "FROM latents l LEFT JOIN chains c ON c.dataset = l.dataset AND c.cot_id = l.cot_id"
        " LEFT JOIN problems p ON p.dataset = l.dataset AND p.problem_id = l.problem_id"
        " WHERE l.llm_tag = ? AND l.dataset = ? AND l.first_error_segment < 0"
    )
    row = _row(
        connection,
        "SELECT count(*), count(*) FILTER (c.cot_id IS NOT NULL AND c.is_valid IS NOT TRUE),"
        " count(*) FILTER (c.cot_id IS NULL OR p.problem_id IS NULL),"
        f" count(*) FILTER (p.split = 'test' OR p.split <> l.split) {targets}",
        llm_tag,
        dataset,
    )
    found = connection.execute(
        f"SELECT l.cot_id {targets} AND (c.is_valid IS NOT TRUE OR p.problem_id IS NULL OR p.split = 'test'"
        f" OR p.split <> l.split) ORDER BY l.cot_id LIMIT {_SHOWN}",
        [llm_tag, dataset],
    ).fetchall()
    number, not_valid, not_in_dataset, not_train = row
    return WrongTargets(number, not_valid, not_in_dataset, not_train, [cot_id for (cot_id,) in found])


def measure_counts(connection: "DuckDBPyConnection", dataset: str) -> dict[str, dict[str, int]]:
    """Counts as a manifest has them, from the records: by split, domain, licence, source, and verdict."""
    counts = {
        name: dict(
            connection.execute(
                f"SELECT {name}, count(*) FROM problems WHERE dataset = ? GROUP BY 1 ORDER BY 1", [dataset]
            ).fetchall()
        )
        for name in ("split", "domain", "licence", "source")
    }
    chains = _row(connection, "SELECT count(*), count(*) FILTER (is_valid) FROM chains WHERE dataset = ?", dataset)
    return counts | {"chains": dict(zip(("total", "valid"), chains, strict=True))}


def manifest_counts(manifest: dict[str, Any]) -> dict[str, dict[str, int]]:
    """The same counts as a manifest states them."""
    counts, chains = manifest["counts"], manifest["chains"]
    return {
        "split": counts["by_split"],
        "domain": counts["by_domain"],
        "licence": manifest["licences"],
        "source": manifest["sources"],
        "chains": {"total": chains["total"], "valid": chains["valid"]},
    }


def _row(connection: "DuckDBPyConnection", query: str, *values: str) -> tuple[Any, ...]:
    found = connection.execute(query, list(values)).fetchone()
    assert found is not None, "an aggregate has a row"
    return tuple(found)
