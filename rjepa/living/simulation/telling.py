"""The figures of the simulated nights with their intervals, as one JSON value, as lines for a terminal, as a plot."""

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from rjepa.evaluation.domains import ALL
from rjepa.living.simulation.measuring import Measured, difference, mean_of
from rjepa.living.simulation.script import FAMILY, OLD, Scene
from rjepa.text_tables import add_row, new_table, render

ARMS: Final = ("living", "never", "unfiltered")
_LABELS: Final = {
    "living": "the living loop",
    "never": "never retrain",
    "unfiltered": "retrain on everything",
}
_COLOURS: Final = {"living": "#2f6fde", "never": "#8a8f98", "unfiltered": "#c8503c"}
_LETTERS: Final = 14
"""In a line under a night, so that seven of them stand side by side."""
DOMAINS: Final = (ALL, *OLD, FAMILY)


@dataclass(frozen=True)
class SimulatedNight:
    """One night: what happened, how it ended, and every arm measured after it."""

    night: int
    events: str
    outcome: str
    text: str
    served: str
    seconds: float
    """from the last vote to the gate's word"""
    funnel: Mapping[str, int | float | str]
    lies: float
    """share of the users' votes that were lies"""
    fates: Mapping[str, int] = field(default_factory=dict)
    """of the accepted answers: how many, how many are wrong, the poisoner's, of whom withdrew"""
    arms: Mapping[str, Measured] = field(default_factory=dict)


def figures(nights: Sequence[SimulatedNight]) -> dict[str, Any]:
    """Everything, in plain values: accuracies and AUROCs by domain, arm and night; forgetting; times."""
    by_night = []
    for night in nights:
        arms = {
            arm: {
                domain: {
                    "accuracy": mean_of(found.right[found.mask(domain)]).to_json(),
                    "auroc": mean_of(found.auroc[found.mask(domain)]).to_json(),
                    "against_never": difference(found, night.arms["never"], domain).to_json(),
                }
                for domain in DOMAINS
            }
            for arm, found in night.arms.items()
        }
        plain = {name: getattr(night, name) for name in ("night", "events", "outcome", "text", "served", "lies")}
        by_night.append({**plain, "seconds": round(night.seconds, 1), "funnel": dict(night.funnel), "arms": arms})
    return {"nights": by_night, "worst_forgetting": {arm: _forgetting(nights, arm) for arm in ARMS if arm != "never"}}


def _forgetting(nights: Sequence[SimulatedNight], arm: str) -> dict[str, Any]:
    """The night and old domain where an arm lies furthest below what was served at first."""
    found = [
        (difference(night.arms[arm], night.arms["never"], domain), night.night, domain)
        for night in nights
        for domain in OLD
        if arm in night.arms
    ]
    worst, night, domain = min(found, key=lambda item: item[0].value)
    return {"night": night, "domain": domain, "difference": worst.to_json()}


def lines(nights: Sequence[SimulatedNight]) -> str:
    """The nights as a table for a terminal, in %."""
    table = new_table("night", "what happened", "came to", *(f"{_LABELS[arm]}: all ({FAMILY})" for arm in ARMS), "s")
    for night in nights:
        cells = []
        for arm in ARMS:
            found = night.arms[arm]
            whole, family = mean_of(found.right), mean_of(found.right[found.mask(FAMILY)])
            cells.append(
                f"{100 * whole.value:.1f} [{100 * whole.low:.1f}, {100 * whole.high:.1f}] ({_percent(family.value)})"
            )
        add_row(table, str(night.night), night.events, night.outcome, *cells, f"{night.seconds:.0f}")
    return render(table)


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.1f}"


def draw(nights: Sequence[SimulatedNight], scenes: Sequence[Scene]) -> bytes:
    """A PNG: one panel a domain, one line an arm, what happened written under the nights."""
    canvas = Canvas(figsize=(9.5, 6.2), layout="constrained")
    FigureCanvasAgg(canvas)
    panels = canvas.subplots(2, 2, sharex=True).flatten()
    numbers = [night.night for night in nights]
    for panel, domain in zip(panels, DOMAINS, strict=True):
        for arm in ARMS:
            found = [mean_of(night.arms[arm].right[night.arms[arm].mask(domain)]) for night in nights]
            values = [100 * figure.value for figure in found]
            # Where nothing is promoted two arms are one line: the dashes let the one below be seen.
            style = {"linestyle": "--", "linewidth": 1.2} if arm == "never" else {"linewidth": 2.2}
            panel.plot(numbers, values, color=_COLOURS[arm], marker="o", markersize=3, label=_LABELS[arm], **style)
            low, high = [100 * figure.low for figure in found], [100 * figure.high for figure in found]
            if arm != "never":
                panel.fill_between(numbers, low, high, color=_COLOURS[arm], alpha=0.12, linewidth=0)
        for night in nights:
            if night.outcome == "promoted":
                panel.axvline(night.night, color=_COLOURS["living"], linewidth=0.8, linestyle=":")
        title = {"all": "all problems", FAMILY: f"{FAMILY}: the family that arrives"}.get(domain, domain)
        panel.set_title(f"{title}, answered right, %", fontsize=9)
        panel.tick_params(labelsize=8)
        panel.set_xticks(numbers)
    for panel in panels[2:]:
        labels = [f"{night.night}\n{textwrap.fill(scenes[night.night - 1].events, _LETTERS)}" for night in nights]
        panel.set_xticklabels(labels, fontsize=6)
    panels[0].legend(fontsize=7, loc="lower left")
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
