"""Which feedback joined a dataset version that a night made, and which did not: one JSON file a version, without users'
words. What is selected and why is decided in `rjepa.feedback.selection`.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rjepa.errors import CorruptError
from rjepa.feedback.decisions import Selection
from rjepa.files import read_json, write_json
from rjepa.home import Home, check_tag
from rjepa.values import FrozenValue


class Joined(FrozenValue):
    """The funnel of one version's selection, and each interaction's fate: outcome and reason by its id."""

    dataset: str
    parent: str
    selection: str
    snapshot: str | None
    removes: tuple[str, ...]
    figures: dict[str, int | float | str]
    fates: dict[str, tuple[str, str]]

    def accepted(self) -> list[str]:
        """Ids of the interactions that joined."""
        return sorted(name for name, (outcome, _) in self.fates.items() if outcome == "accepted")

    def reasons(self) -> dict[tuple[str, str], int]:
        """How many have each outcome and reason, the most frequent first."""
        counts = Counter(self.fates.values())
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def markdown(self) -> str:
        """The funnel as a table."""
        rows = [f"| {outcome} | {reason} | {count} |" for (outcome, reason), count in self.reasons().items()]
        if self.removes:
            rows.append(f"| removed | withdrawn | {len(self.removes)} problems |")
        return "\n".join(["| outcome | reason | interactions |", "|---|---|---|", *rows])


def joined_file(home: Home, dataset: str) -> Path:
    """The file of a version."""
    return home.root / "nights" / f"{check_tag(dataset, 'dataset version')}.json"


def write_joined(
    home: Home, dataset: str, parent: str, selection: Selection, snapshot: str | None, removes: tuple[str, ...]
) -> Joined:
    """Write down what a version was made of."""
    joined = Joined(
        dataset=dataset,
        parent=parent,
        selection=selection.sha256,
        snapshot=snapshot,
        removes=removes,
        figures=selection.funnel.figures(),
        fates={one.interaction_id: (one.outcome, one.reason) for one in selection.chosen},
    )
    write_json(joined_file(home, dataset), joined.model_dump(mode="json"))
    return joined


def read_joined(home: Home, dataset: str) -> Joined | None:
    """The feedback that joined a version; None for one that no night made.

    Raises:
        CorruptError: the file is damaged.
    """
    path = joined_file(home, dataset)
    if not path.exists():
        return None
    found: Mapping[str, Any] = read_json(path)
    try:
        return Joined.model_validate(found)
    except ValidationError as error:
        raise CorruptError(
            f"{path} does not say what joined {dataset} ({error.error_count()} fields do not fit)",
            cure="delete it; the next night writes its own",
        ) from error
