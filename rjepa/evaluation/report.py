"""Write an evaluation as files: JSON for machines, one self-contained HTML page for people, and its pictures.

Statements, steps and answers were written by models and strangers: the page escapes all text, runs no script and
loads nothing (a Content-Security-Policy says so to the browser too).
"""

import base64
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from rjepa.evaluation.leaderboard import HEADINGS, display_cells
from rjepa.evaluation.plots import draw_all
from rjepa.evaluation.results import CurvePoint, EvaluationResult, GalleryCandidate
from rjepa.files import atomic_path, write_text

_TEMPLATES: Final = Path(__file__).parent / "templates"
_KINDS: Final = {
    "lost": "Lost against majority:",
    "won": "Won against majority:",
    "missed": "Missed, though a candidate was right:",
}


@dataclass(frozen=True)
class ReportFiles:
    """Where a report lies. `images` has the pictures by name, `image_bytes` their content for metadata."""

    json: Path
    html: Path
    images: dict[str, Path]
    image_bytes: dict[str, bytes]


def write_report(folder: Path, result: EvaluationResult, *, title: str = "R-JEPA benchmark report") -> ReportFiles:
    """Write `report.json`, `report.html` and a PNG for each picture into `folder`, each atomically.

    Raises:
        StorageError: the folder cannot be written or the disk is full.
    """
    pictures = draw_all(result)
    images = {name: folder / f"{name}.png" for name in pictures}
    for name, content in pictures.items():
        with atomic_path(images[name]) as temporary:
            temporary.write_bytes(content)
    files = ReportFiles(folder / "report.json", folder / "report.html", images, pictures)
    write_text(files.html, render_html(result, pictures, title=title))
    result.save(files.json)
    return files


def render_html(result: EvaluationResult, pictures: dict[str, bytes], *, title: str) -> str:
    """The whole page, pictures inside."""
    return _template().render(
        title=title,
        result=result,
        images={name: data_uri(content) for name, content in pictures.items()},
        headings=HEADINGS,
        kinds=_KINDS,
        cells=display_cells,
        label=lambda key: result.leaderboard.row(key).label,
        number=lambda value: "-" if value is None else f"{value:.3f}",
        signed=lambda value: "-" if value is None else f"{value:+.2f}",
        ks=sorted({point.k for point in result.curve}),
        curve=_curve_rows(result),
        steps=_steps,
    )


def data_uri(png: bytes) -> str:
    """A PNG as the address of an image, for a page or for Markdown metadata."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _curve_rows(result: EvaluationResult) -> list[tuple[str, list[CurvePoint]]]:
    """Points of each method by its label, in the order of K."""
    rows: dict[str, list[CurvePoint]] = {}
    for point in sorted(result.curve, key=lambda point: point.k):
        rows.setdefault(point.label, []).append(point)
    return list(rows.items())


def _steps(candidate: GalleryCandidate) -> list[tuple[str, float | None, bool, float]]:
    """Text, energy, whether it is the first error, and energy as a share of the chain's highest, for each step and then
    the answer line.
    """
    texts = [*candidate.steps]
    if candidate.final_answer is not None:
        texts.append(f"Answer: {candidate.final_answer}")
    highest = max(candidate.energies, default=0.0)
    rows = zip_longest(texts, candidate.energies)
    return [
        (
            "(a line that was not read)" if text is None else text,
            energy,
            index == candidate.first_error_step,
            max(energy, 0.0) / highest if energy is not None and highest > 0 else 0.0,
        )
        for index, (text, energy) in enumerate(rows)
    ]


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("report.html")
