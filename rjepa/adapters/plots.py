"""The fits of an adapter as one small picture, for the asset's page."""

import io
from collections.abc import Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rjepa.adapters.choosing import Tried


def draw_fits(tried: Sequence[Tried], best: Tried) -> bytes:
    """How well the energies of mapped chains agree with the source's, by method, as PNG bytes; the best one is dark.

    Of methods that were tried with several strengths or ranks, the best is shown. Beside it the R2 of the map: a method
    can be better by one and worse by the other, and the first is what an adapter is for.
    """
    by_method: dict[str, Tried] = {}
    for each in tried:
        known = by_method.get(each.recipe.method)
        if known is None or each.agreement > known.agreement:
            by_method[each.recipe.method] = each
    names = list(by_method)
    figure = Figure(figsize=(6.0, 0.6 + 0.4 * len(names)), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    values = [by_method[name].agreement for name in names]
    colours = ["#2f6fde" if name == best.recipe.method else "#a9bde0" for name in names]
    axes.barh(names, values, color=colours, label="agreement of energies")
    axes.plot([by_method[name].r2 for name in names], names, "D", color="#c8503c", label="R2 of latents")
    axes.invert_yaxis()
    axes.set_xlim(min(0.0, *values), 1.0)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
