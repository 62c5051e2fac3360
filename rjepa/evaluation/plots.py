"""The report's pictures as small PNGs. Figures are drawn without pyplot, whose state is global to the process.

Sizes are for a page and for an asset's metadata: under 50 kB each, however many problems there are.
"""

import io
import itertools
import warnings
from collections.abc import Callable
from typing import Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from rjepa.evaluation.baselines import Group, is_headline
from rjepa.evaluation.domains import ALL
from rjepa.evaluation.leaderboard import Leaderboard
from rjepa.evaluation.replay import BEST_OF_K
from rjepa.evaluation.results import (
    CurvePoint,
    EvaluationResult,
    Histogram,
    ProbabilityReport,
    SizePoint,
    TermEffect,
)
from rjepa.evaluation.trials import MODE_FAMILY, TrialRow

_DPI: Final = 90
_COLOURS_KEPT: Final = 96
_GREY: Final = "#8a8f98"
_INK: Final = "#2b2f36"
_BLUE: Final = "#2f6fde"
_RED: Final = "#c8503c"
_COLOURS: Final[dict[Group, str]] = {
    "free": _GREY,
    "fitted": "#c99a2e",
    "label_free": "#7a9a6c",
    "supervised": "#9a6cb0",
    "rjepa": _BLUE,
    "ceiling": "#c9ced6",
}


def draw_all(result: EvaluationResult) -> dict[str, bytes]:
    """Every picture of a report, PNG bytes by name."""
    pictures = {
        "accuracy_by_tokens": draw_spending(result.spending),
        "leaderboard": draw_leaderboard(result.leaderboard),
        "energies": draw_energies(result.histogram),
        "reliability": draw_reliability(result.probability),
        "accuracy_by_k": draw_curve(result.curve),
        "attribution": draw_attribution(result.terms),
    }
    return pictures | ({"data_size": draw_sizes(result.sizes)} if result.sizes else {})


def draw_spending(rows: tuple[TrialRow, ...]) -> bytes:
    """Accuracy against tokens generated a problem, with 95 % intervals: a line a family of policies, a point a mode."""

    def draw(axes: Axes) -> None:
        families = dict.fromkeys(row.family for row in rows if row.family != MODE_FAMILY)
        for family, marker in zip(families, itertools.cycle("oDs^vPX"), strict=False):
            line = sorted((row for row in rows if row.family == family), key=lambda row: row.tokens)
            tokens, accuracy = [row.tokens for row in line], [row.accuracy for row in line]
            joined = "-" if family == BEST_OF_K else ":"
            (drawn,) = axes.plot(tokens, accuracy, marker=marker, markersize=4, linestyle=joined, label=family)
            low, high = [row.ci_low for row in line], [row.ci_high for row in line]
            axes.vlines(tokens, low, high, color=drawn.get_color(), linewidth=0.8, alpha=0.5)
        for row in (row for row in rows if row.family == MODE_FAMILY):
            error = [[max(0.0, row.accuracy - row.ci_low)], [max(0.0, row.ci_high - row.accuracy)]]
            axes.errorbar(row.tokens, row.accuracy, yerr=error, marker="s", markersize=5, capsize=2, label=row.label)
        if rows:
            axes.set_xscale("log", base=2)
            ticks = [50, 100, 200, 400, 800, 1600]
            axes.set_xticks(ticks, [str(tick) for tick in ticks])
            axes.minorticks_off()
            axes.grid(axis="y", linewidth=0.4, alpha=0.5)
            axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        axes.set(xlabel="tokens generated a problem", ylabel="accuracy")

    return render(draw, width=8.0, height=3.8)


def draw_leaderboard(leaderboard: Leaderboard, domain: str = ALL) -> bytes:
    """Accuracy of the methods with intervals, best at the top. Baselines' votes are in the table."""
    shown = [row for row in leaderboard.domain(domain) if is_headline(row.method, row.group)]
    rows = sorted(shown, key=lambda row: row.accuracy)

    def draw(axes: Axes) -> None:
        for height, row in enumerate(rows):
            error = [[max(0.0, row.accuracy - row.ci_low)], [max(0.0, row.ci_high - row.accuracy)]]
            axes.barh(height, row.accuracy, color=_COLOURS[row.group], height=0.7)
            axes.errorbar(row.accuracy, height, xerr=error, color=_INK, capsize=2, linewidth=1)
        axes.set_yticks(range(len(rows)), [row.label for row in rows], fontsize=8)
        axes.set_xlabel(f"accuracy with 95 % interval, {rows[0].problems if rows else 0} problems")
        axes.set_xlim(0, 1)

    return render(draw, height=0.6 + 0.26 * max(len(rows), 4))


def draw_energies(histogram: Histogram) -> bytes:
    """Energies of candidates with right and with wrong answers, each as a share of its kind."""

    def draw(axes: Axes) -> None:
        for counts, colour, label in ((histogram.right, _BLUE, "right"), (histogram.wrong, _RED, "wrong")):
            shares = [count / max(sum(counts), 1) for count in counts]
            axes.stairs(shares, histogram.edges, fill=True, alpha=0.45, color=colour, label=f"{label} ({sum(counts)})")
        axes.set_xlabel(f"{histogram.feature.replace('_', ' ')} (the highest 1 % in the last bin)")
        axes.set_ylabel("share of candidates")
        axes.legend(frameon=False)

    return render(draw)


def draw_reliability(report: ProbabilityReport) -> bytes:
    """Predicted against observed; the area of a point is the number of answers."""

    def draw(axes: Axes) -> None:
        total = sum(part.count for part in report.bins) or 1
        axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle="--")
        axes.plot([part.predicted for part in report.bins], [part.observed for part in report.bins], color=_BLUE)
        axes.scatter(
            [part.predicted for part in report.bins],
            [part.observed for part in report.bins],
            s=[20 + 400 * part.count / total for part in report.bins],
            color=_BLUE,
            alpha=0.6,
        )
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="P(correct) given", ylabel="share that was right")
        axes.set_title(f"ECE {report.ece:.3f} (by chance alone {report.ece_by_chance:.3f})", fontsize=9)

    return render(draw, width=4.6, height=4.0)


def draw_curve(points: tuple[CurvePoint, ...]) -> bytes:
    """Accuracy against the number of samples."""

    def draw(axes: Axes) -> None:
        for method in dict.fromkeys(point.method for point in points):
            line = [point for point in points if point.method == method]
            ks = [point.k for point in line]
            (drawn,) = axes.plot(ks, [point.accuracy for point in line], marker="o", markersize=3, label=line[0].label)
            axes.fill_between(
                ks,
                [point.ci_low for point in line],
                [point.ci_high for point in line],
                color=drawn.get_color(),
                alpha=0.1,
                linewidth=0,
            )
        sizes = sorted({point.k for point in points})
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(k) for k in sizes])
        axes.minorticks_off()
        axes.set(xlabel="samples a problem (K)", ylabel="accuracy")
        axes.legend(frameon=False, fontsize=7)

    return render(draw, height=3.8)


def draw_attribution(terms: tuple[TermEffect, ...]) -> bytes:
    """What share of the score's movement within a problem each of alpha, beta and gamma makes."""

    def draw(axes: Axes) -> None:
        labels = [f"{t.validation.symbol} ({t.validation.feature.replace('_', ' ')})" for t in terms]
        shares = [t.validation.share for t in terms]
        axes.barh(range(len(terms)), shares, color=_BLUE, height=0.6)
        for height, term in enumerate(terms):
            axes.text(
                term.validation.share + 0.01, height, f"weight {term.validation.weight:+.2f}", va="center", fontsize=8
            )
        axes.set_yticks(range(len(terms)), labels, fontsize=8)
        axes.set(xlim=(0, 1.15), xlabel="share of the score's movement within a problem")
        axes.invert_yaxis()

    return render(draw, height=0.7 + 0.4 * max(len(terms), 2))


def draw_sizes(points: tuple[SizePoint, ...]) -> bytes:
    """Figures against the number of training chains, a line a variant and figure."""

    def draw(axes: Axes) -> None:
        for name, style in (("within_auroc", "-"), ("first_error_auroc", "--"), ("gap_closed", ":")):
            for variant in dict.fromkeys(point.variant for point in points):
                line = sorted(
                    (point.chains, getattr(point, name))
                    for point in points
                    if point.variant == variant and getattr(point, name) is not None
                )
                if line:
                    label = f"{variant}: {name.replace('_', ' ')}"
                    axes.plot(*zip(*line, strict=True), marker="o", markersize=3, linestyle=style, label=label)
        axes.set_xscale("log")
        axes.set(xlabel="right training chains", ylim=(0, 1))
        axes.legend(frameon=False, fontsize=7)

    return render(draw, height=3.8)


def render(draw: Callable[[Axes], None], *, width: float = 6.4, height: float = 3.4) -> bytes:
    """What is drawn on some axes, as a small PNG. Sizes are inches."""
    # Labels may hold a data set's own words: "$" is no mathematics, and a missing glyph is no reason to fail.
    with matplotlib.rc_context({"text.parse_math": False, "font.size": 9}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    # A palette halves the bytes of a plot, which has few colours, with no difference to the eye.
    small = io.BytesIO()
    Image.open(buffer).convert("RGB").quantize(_COLOURS_KEPT).save(small, format="png", optimize=True)
    return small.getvalue()
