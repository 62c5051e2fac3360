"""What is served and why, in one page of Markdown: for the release asset's page in Dagster's UI, and for whoever asks.

Everything is read: the release history, the bundle, what joined its version, the nights. Nothing is decided here.
"""

from typing import Final

from rjepa.adapters.describing import describe_origin
from rjepa.database import open_database
from rjepa.errors import RjepaError
from rjepa.home import Home
from rjepa.living.attempts import Attempt, list_attempts
from rjepa.living.joined import read_joined
from rjepa.moments import to_datetime
from rjepa.releases.bundle import Manifest, load_manifest
from rjepa.releases.gate import Decision
from rjepa.releases.history import history
from rjepa.releases.lineage import lineage
from rjepa.releases.pointer import current_release

_NIGHTS: Final = 10
"""Nights that are listed: a week, and what went wrong before it."""


def tell(home: Home, llm_tag: str) -> str:
    """The whole story of what an LLM serves.

    Raises:
        CorruptError: the served release, or the database, is damaged.
    """
    current = current_release(home, llm_tag)
    if current is None:
        return f"Nothing is served for {llm_tag}."
    manifest = load_manifest(home, llm_tag, current)
    moves = history(home, llm_tag)
    came = next((move for move in reversed(moves) if move.target == current and move.action != "refuse"), None)
    parts = [
        f"### Served: {current}",
        f"- **why**: {came.reason if came else 'not written down'}"
        + (f", since {came.at}" if came else "")
        + (f", in place of {came.source}" if came and came.source else ""),
        f"- **made of**: {manifest.dataset}, student {manifest.student_fingerprint[:12]}, run {manifest.run_id}",
        f"- **R-JEPA**: {describe_origin(manifest.carried)}",
        f"- **went on from**: {_ancestors(home, llm_tag, current)}",
        *_joined(home, manifest),
    ]
    if came is not None and came.decision is not None:
        parts += ["### The gate", *_gate(came.decision)]
    refused = [move for move in moves if move.action == "refuse" and move.decision is not None]
    if refused and refused[-1].decision is not None:
        last = refused[-1]
        parts += [f"### Last refused: {last.target}", f"{last.at}: {refused[-1].decision.text}"]
    with open_database(home) as database:
        nights = list_attempts(database, llm_tag, _NIGHTS)
    if nights:
        parts += ["### Nights", *_nights(nights)]
    return "\n".join(parts)


def _ancestors(home: Home, llm_tag: str, release_id: str) -> str:
    try:
        ancestors = lineage(home, llm_tag, release_id)[1:]
    except RjepaError as error:
        return error.problem
    names = [f"{manifest.release_id} ({manifest.dataset})" for manifest in ancestors]
    return ", which went on from ".join(names) or "nothing: it was trained from scratch"


def _joined(home: Home, manifest: Manifest) -> list[str]:
    joined = read_joined(home, manifest.dataset)
    if joined is None:
        return ["- **feedback**: none joined this version"]
    return [
        f"- **feedback**: {joined.figures.get('accepted', 0)} interactions joined {joined.parent}"
        f" (data set {joined.snapshot or 'none'}), {len(joined.removes)} problems were withdrawn",
        "",
        joined.markdown(),
    ]


def _gate(decision: Decision) -> list[str]:
    rows = [
        f"| {finding.domain} | {finding.problems} | {100 * finding.challenger_accuracy:.1f} | "
        f"{100 * finding.current_accuracy:.1f} | {100 * finding.difference:+.1f} [{100 * finding.low:+.1f}, "
        f"{100 * finding.high:+.1f}] | {100 * finding.margin:.0f} |"
        for finding in decision.findings
    ]
    table = [
        "| domain | problems | this, % | before, % | difference, points | loss that is excluded |",
        "|---|---|---|---|---|---|",
    ]
    return [f"Rule {decision.rule}: {decision.text}", "", *([*table, *rows] if rows else [])]


def _nights(attempts: list[Attempt]) -> list[str]:
    rows = [
        f"| {to_datetime(one.began_at_ms):%Y-%m-%d %H:%M} | {one.trigger} | {one.outcome} | {one.dataset or '-'} | "
        f"{one.accepted} | {f'{one.learning_rate:g}' if one.learning_rate else '-'} | {_short(one.text)} |"
        for one in attempts
    ]
    return ["| began | by | outcome | version | accepted | rate | why |", "|---|---|---|---|---|---|---|", *rows]


def _short(text: str, length: int = 160) -> str:
    line = " ".join(text.split()).replace("|", "/")
    return line if len(line) <= length else f"{line[:length]}..."
