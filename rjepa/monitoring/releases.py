"""Releases of one LLM over time: how good each was found to be, and what the gate decided. Read only."""

from datetime import UTC, datetime, timedelta

from pydantic import Field

from rjepa.errors import CorruptError, NotFoundError
from rjepa.evaluation.records import EvaluationRecord, newest_record
from rjepa.home import Home
from rjepa.inference.calibration import ScoreCalibration
from rjepa.inference.surprise import StepEnergies
from rjepa.parts import CALIBRATION
from rjepa.releases.bundle import Manifest, list_releases, release_folder
from rjepa.releases.history import Move, history
from rjepa.releases.pointer import current_release
from rjepa.tails import wilson_interval
from rjepa.values import FrozenValue


class Share(FrozenValue):
    """A share of problems with its 95 % interval (Wilson's, for one share of independent problems)."""

    value: float
    low: float
    high: float
    problems: int

    @classmethod
    def of(cls, right: int, problems: int) -> "Share":
        low, high = wilson_interval(right, problems)
        return cls(value=right / problems, low=low, high=high, problems=problems)


class ReleaseFigures(FrozenValue):
    """One release, and what its newest evaluation on its own dataset found. None: never measured, or not readable."""

    release_id: str
    created_at: datetime
    dataset: str
    served: bool = Field(description="whether `CURRENT` names it")
    carried_from: str | None = Field(None, description="LLM whose R-JEPA it is; None for the student's own")
    carried_share: float | None = Field(None, description="part of the latents that the adapter was fitted on")
    accuracy: Share | None = Field(None, description="of what mode rerank answers")
    by_domain: dict[str, Share] = Field(default_factory=dict)
    majority: float | None = Field(None, description="accuracy of a plain vote on the same candidates")
    num_candidates: int | None = None
    ece: float | None = Field(None, description="of P(correct)")
    energy_auroc: float | None = Field(None, description="right above wrong candidates by energy alone, on validation")
    step_energies: tuple[StepEnergies, ...] = ()


class ReleaseHistory(FrozenValue):
    """Every readable release of an LLM, oldest first, and every move of its pointer, newest first."""

    llm_tag: str
    current: str | None
    releases: tuple[ReleaseFigures, ...]
    moves: tuple[Move, ...]

    @property
    def served(self) -> ReleaseFigures | None:
        """The release that is served now; None where none is."""
        return next((release for release in self.releases if release.served), None)

    @property
    def before(self) -> str | None:
        """The release that the served one replaced: where one click goes back to. None where there is none."""
        return next(
            (move.source for move in self.moves if move.action == "promote" and move.target == self.current), None
        )

    def moves_since(self, moment: datetime) -> tuple[Move, ...]:
        """The moves after a moment, newest first."""
        return tuple(move for move in self.moves if datetime.fromisoformat(move.at) >= moment)

    def moves_of_the_week(self) -> tuple[Move, ...]:
        """The moves of the last seven days, newest first."""
        return self.moves_since(datetime.now(UTC) - timedelta(days=7))


def read_releases(home: Home, llm_tag: str) -> ReleaseHistory:
    """Releases and moves as they are now.

    Raises:
        StorageError: the database cannot be reached.
        CorruptError: the history was changed by another program.
    """
    try:
        current = current_release(home, llm_tag)
    except CorruptError:
        current = None
    return ReleaseHistory(
        llm_tag=llm_tag,
        current=current,
        releases=tuple(_figures(home, manifest, current) for manifest in list_releases(home, llm_tag)),
        moves=tuple(reversed(history(home, llm_tag))),
    )


def _figures(home: Home, manifest: Manifest, current: str | None) -> ReleaseFigures:
    figures = ReleaseFigures(
        release_id=manifest.release_id,
        created_at=manifest.created_at,
        dataset=manifest.dataset,
        served=manifest.release_id == current,
        carried_from=None if manifest.carried is None else manifest.carried.source.llm_tag,
        carried_share=None if manifest.carried is None else manifest.carried.share,
    )
    return figures.model_copy(update=_measured(home, manifest) | _calibrated(home, manifest))


def _measured(home: Home, manifest: Manifest) -> dict[str, object]:
    """What the evaluation's record says; nothing where it is gone or damaged: the release shows without figures."""
    try:
        record = newest_record(home, manifest.llm_tag, manifest.content_hash, manifest.dataset)
    except CorruptError:
        return {}
    if record is None:
        return {}
    return {
        "accuracy": Share.of(int(record.right.sum()), record.num_problems),
        "by_domain": _by_domain(record),
        "majority": record.accuracy_by_method().get("majority"),
        "num_candidates": record.candidates.num_candidates,
        "ece": record.ece,
    }


def _by_domain(record: EvaluationRecord) -> dict[str, Share]:
    masks = {name: record.in_domain(name) for name in record.domain_names()}
    return {name: Share.of(int(record.right[mask].sum()), int(mask.sum())) for name, mask in masks.items()}


def _calibrated(home: Home, manifest: Manifest) -> dict[str, object]:
    try:
        path = release_folder(home, manifest.llm_tag, manifest.release_id) / CALIBRATION
        calibration = ScoreCalibration.load(path)
    except (CorruptError, NotFoundError):
        return {}
    return {"energy_auroc": calibration.auroc.get("energy"), "step_energies": calibration.step_energies}
