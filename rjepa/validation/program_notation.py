r"""What programs print, as formulas are written: `math.sqrt(2)`, `log(8, 2)`, `factorial(n)`, `Matrix([[1, 2]])`.

    as_formula("np.log(2)")        # \ln(2)
    as_formula("[1, 2; 3, 4]")     # [[1, 2], [3, 4]]

Names are taken as Python's, NumPy's and sympy's libraries and as MATLAB have them. Nothing is run: texts become texts,
which are read in `rjepa.validation.reading`.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final

_MODULE = re.compile(r"(?<![\w.\\])(?:np|numpy|jnp|math|cmath|sympy|sp|torch)\.(?P<name>[A-Za-z]\w*)(?P<call>\s*\()?")
_CALL = re.compile(
    r"(?<![\w\\])(?P<name>log2|log10|log|factorial|comb|binom|binomial|nCr|C|ceiling|pow|Rational|Fraction|Matrix"
    r"|array|matrix|tensor|FiniteSet)\("
)
_PYTHON_COMPLEX = re.compile(r"\(?\s*([-+]?\d+(?:\.\d*)?(?:e[-+]?\d+)?\s*[-+]\s*\d+(?:\.\d*)?(?:e[-+]?\d+)?)j\s*\)?")
_CHOOSE = re.compile(
    r"(?:\{\s*\})?\s*[_^]\s*(?:\{\s*(?P<top>\w+)\s*\}|(?P<digit>\w))\s*(?:C|\\(?:text|mathrm|mathbf)\{C\})"
    r"\s*_\s*(?:\{\s*(?P<bottom>\w+)\s*\}|(?P<last>\w))|(?<![\w.])(?P<plain>\d+)C(?P<below>\d+)(?!\w)"
)
_PI = re.compile(r"(?<![A-Za-z\\])PI(?![A-Za-z])")
_CELL: Final = r"[-+]?[\w./]+"
_ROW: Final = rf"\s*{_CELL}(?:(?:\s*,\s*|\s+){_CELL})+\s*"
_ROWS = re.compile(rf"\[(?P<rows>{_ROW}(?:;{_ROW})+);?\s*\]")
"""Rows of at least two cells: `[1; 2]` may be an interval."""
_MAX_CALLS: Final = 40

_BY_NAME: Final[dict[tuple[str, int], Callable[[Sequence[str]], str]]] = {
    ("log2", 1): lambda of: rf"\log_{{2}}({of[0]})",
    ("log10", 1): lambda of: rf"\log_{{10}}({of[0]})",
    ("log", 2): lambda of: rf"\log_{{{of[1]}}}({of[0]})",
    ("factorial", 1): lambda of: f"(({of[0]})!)",
    ("ceiling", 1): lambda of: f"ceil({of[0]})",
    ("pow", 2): lambda of: f"(({of[0]})^{{{of[1]}}})",
    ("Rational", 2): lambda of: rf"\frac{{{of[0]}}}{{{of[1]}}}",
    ("Fraction", 2): lambda of: rf"\frac{{{of[0]}}}{{{of[1]}}}",
    ("Rational", 1): lambda of: of[0],
    ("Fraction", 1): lambda of: of[0],
    ("Matrix", 1): lambda of: of[0],
    ("array", 1): lambda of: of[0],
    ("matrix", 1): lambda of: of[0],
    ("tensor", 1): lambda of: of[0],
} | {
    (name, 2): lambda of: rf"\binom{{{of[0]}}}{{{of[1]}}}" for name in ("comb", "binom", "binomial", "nCr", "C")
}  # fmt: skip


def as_formula(text: str) -> str:
    """The text with the calls and numbers of programs as formulas have them. What is not known stays."""
    complex_number = _PYTHON_COMPLEX.fullmatch(text.strip())
    if complex_number is not None:
        return complex_number[1] + "i"
    rows = _ROWS.fullmatch(text.strip())
    if rows is not None:
        return _matrix_of(rows["rows"])
    text = _PI.sub("pi", _MODULE.sub(_without_module, text))
    text = _CHOOSE.sub(_binomial, text)
    at = 0
    for _ in range(_MAX_CALLS):
        call = _CALL.search(text, at)
        if call is None:
            break
        end = _closing(text, call.end() - 1)
        of = _arguments(text[call.end() : end]) if end > 0 else []
        write = _BY_NAME.get((call["name"], len(of)))
        if call["name"] == "FiniteSet" and end > 0:
            text = text[: call.start()] + r"\{" + ",".join(of) + r"\}" + text[end + 1 :]
        elif write is not None:
            text = text[: call.start()] + write(of) + text[end + 1 :]
        else:
            at = call.end()
    return text


def _without_module(match: re.Match[str]) -> str:
    """In Python's libraries `log` is the natural one."""
    name = "ln" if match["name"] == "log" and match["call"] else match["name"]
    return name + ("(" if match["call"] else "")


def _binomial(match: re.Match[str]) -> str:
    top, bottom = match["top"] or match["digit"] or match["plain"], match["bottom"] or match["last"] or match["below"]
    return rf"\binom{{{top}}}{{{bottom}}}"


def _matrix_of(rows: str) -> str:
    """`1 2; 3 4` and `1, 2; 3, 4`, as MATLAB has matrices, as a list of rows."""
    cells = [row.replace(",", " ").split() for row in rows.split(";") if row.strip()]
    return "[" + ", ".join("[" + ", ".join(row) + "]" for row in cells) + "]"


def _closing(text: str, start: int) -> int:
    """Index of the parenthesis that closes the one at `start`, -1 where none does."""
    depth = 0
    for index in range(start, len(text)):
        depth += (text[index] == "(") - (text[index] == ")")
        if depth == 0:
            return index
    return -1


def _arguments(inner: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for index, character in enumerate(inner):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append(inner[start:index].strip())
            start = index + 1
    last = inner[start:].strip()
    return [*parts, last] if last else parts
