"""A decision of the gate as a small PNG: for the page of the asset `release`."""

from matplotlib.axes import Axes

from rjepa.evaluation.plots import render
from rjepa.releases.gate import Decision

_INK = "#2b2f36"
_BLUE = "#2f6fde"
_RED = "#c8503c"
_GREY = "#8a8f98"


def plot_decision(decision: Decision) -> bytes:
    """The difference of accuracies in every domain, with its 95 % interval, the margins that must be excluded, and
    the bounds that have to exclude them.
    """
    findings = decision.findings
    monthly = {} if decision.night is None else {bound.domain: bound for bound in decision.night.bounds}

    def draw(axes: Axes) -> None:
        axes.axvline(0, color=_GREY, linewidth=0.8)
        for row, finding in enumerate(findings):
            middle, low, high = 100 * finding.difference, 100 * finding.low, 100 * finding.high
            axes.errorbar(middle, row, xerr=[[middle - low], [high - middle]], color=_INK, marker="o", capsize=3)
            _draw_bound(axes, row, 100 * finding.bound, -100 * finding.margin, _BLUE)
            if (bound := monthly.get(finding.domain)) is not None:
                _draw_bound(axes, row + 0.18, 100 * bound.bound, -100 * bound.margin, _RED)
        axes.set_yticks(range(len(findings)), [f"{each.domain} ({each.problems})" for each in findings], fontsize=8)
        axes.set_ylim(len(findings) - 0.5, -0.5)
        legend = "blue: bound and margin of one night" + ("; red: of a month" if monthly else "")
        axes.set_xlabel(f"points, challenger minus current. {legend}", fontsize=8)
        verdict = "promoted" if decision.promote else "refused"
        axes.set_title(f"{decision.rule}: {verdict}, {decision.reason}", fontsize=9)

    return render(draw, height=1.4 + 0.45 * len(findings))


def _draw_bound(axes: Axes, row: float, bound: float, margin: float, colour: str) -> None:
    """A triangle at the bound and a bar at the margin: the triangle has to be right of the bar."""
    axes.plot([bound], [row], marker=4, color=colour, markersize=6)
    axes.plot([margin, margin], [row - 0.15, row + 0.15], color=colour, linewidth=2)
