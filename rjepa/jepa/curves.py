"""A training run as one small picture. Drawn without pyplot, whose state is global to the process."""

import io
from collections.abc import Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def draw_curve(curve: Sequence[dict[str, float]], validation: Sequence[dict[str, float]]) -> bytes:
    """Loss on train and energy on validation by update, as PNG bytes. Either may be empty."""
    figure = Figure(figsize=(6.0, 3.0), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot([point["update"] for point in curve], [point["total"] for point in curve], label="loss, train")
    axes.plot(
        [point["update"] for point in validation],
        [point["energy"] for point in validation],
        marker="o",
        label="energy, validation",
    )
    axes.set_xlabel("update")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
