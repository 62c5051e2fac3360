r"""Take the text of a matrix in LaTeX apart. Its cells are read in `rjepa.validation.reading`."""

import re
from dataclasses import dataclass

from rjepa.validation.spelling import matching
from rjepa.validation.unreadable import UnreadableError

_BEGIN = re.compile(r"\\begin\s*\{(?P<name>[a-zA-Z]+)\*?\}\s*(?:\[[a-z]\]\s*)?")
_MATRICES = frozenset("matrix pmatrix bmatrix Bmatrix smallmatrix psmallmatrix bsmallmatrix array vmatrix".split())
_TRANSPOSED = re.compile(r"\^\s*\{?\s*(?:T|\\top|\\intercal|\\mathrm\{T\}|\\text\{T\})\s*\}?")


@dataclass(frozen=True)
class MatrixText:
    """Rows of equal length; `factor` stands before the matrix, empty where nothing does."""

    rows: tuple[tuple[str, ...], ...]
    factor: str
    is_determinant: bool


def matrix_text(text: str) -> MatrixText | None:
    """The matrix that a text is, with its factor and transposition; None where no environment begins in it.

    Raises:
        UnreadableError: the environment is no matrix, its rows differ in length, or something else stands beside it.
    """
    bars = re.fullmatch(r"\|\s*(\\begin.*\\end\s*\{[a-zA-Z]+\})\s*\|", text, re.DOTALL)
    text = bars[1] if bars else text
    begin = _BEGIN.search(text)
    if begin is None:
        return None
    name = begin["name"]
    end = re.compile(r"\\end\s*\{" + name + r"\*?\}").search(text, begin.end())
    if name not in _MATRICES or end is None or _BEGIN.search(text, begin.end()) is not None:
        raise UnreadableError(f"an environment {name}")
    rows = _rows(text[begin.end() : end.start()], name)
    before, after = text[: begin.start()].strip(), text[end.end() :].strip()
    if _TRANSPOSED.fullmatch(after):
        rows, after = tuple(zip(*rows, strict=True)), ""
    if after or (before and name == "vmatrix"):
        raise UnreadableError("something beside a matrix")
    return MatrixText(rows, before.removesuffix(r"\cdot").removesuffix("*"), name == "vmatrix" or bars is not None)


def _rows(body: str, name: str) -> tuple[tuple[str, ...], ...]:
    if name == "array" and body.lstrip().startswith("{"):
        body = body[matching(body, body.index("{")) + 1 :]
    lines = re.split(r"\\\\(?:\[[^\]]*\])?|\\cr(?![a-zA-Z])", body.replace(r"\hline", " "))
    rows = tuple(tuple(line.split("&")) for line in lines if line.strip())
    if not rows or len({len(row) for row in rows}) != 1:
        raise UnreadableError("rows of different length")
    return rows
