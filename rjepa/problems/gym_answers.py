"""Which answers may be given to reasoning-gym's verifiers.

Some of them call `eval` or sympy's parser on the answer, and both run code: an answer written by a model, a teacher or
a user must never get there unless it is plain data. Scores live in `reasoning_gym`.
"""

import ast
import re
from typing import Final

MAX_ANSWER: Final = 10_000
"""Characters. The longest right answers (rendered grids) have about 1 000."""

_EVALUATED: Final = {"string_insertion", "spiral_matrix", "binary_matrix", "n_queens"}
_PARSED: Final = {
    "countdown", "puzzle24", "polynomial_multiplication", "polynomial_equations", "simple_integration",
    "intermediate_integration",
}  # fmt: skip
_EXPONENT: Final = r"\s*(?:-?\d{1,2}|\(-?\d{1,2}(?:/\d{1,2})?\))(?!\d|\s*\*\*|\s*\^)"
_ALGEBRA: Final = re.compile(
    r"(?:\d{1,20}(?:\.\d{1,20})?"
    r"|(?:sin|cos|tan|sec|csc|cot|asin|acos|atan|sinh|cosh|tanh|exp|log|ln|sqrt|pi)(?![A-Za-z_])"
    r"|[A-Za-z](?![A-Za-z_\d])"
    rf"|(?:\*\*|\^)(?={_EXPONENT})"
    r"|(?:[-+/(),=\s]|(?<!\*)\*(?!\*)))*"
)
"""Numbers, single letters, known functions, operators. A power has a short number as exponent: towers never end."""
_MAX_POWERS_OF_POWERS: Final = 2


def checked_answer(task: str, answer: str, gold: str | None) -> str | None:
    """The answer, if the task's verifier may see it; None for one that can only be wrong."""
    if len(answer) > MAX_ANSWER:
        return None
    if task in _EVALUATED:
        return answer if answer.strip() == (gold or "").strip() or _is_literal(answer) else _words_only(answer)
    if task in _PARSED:
        harmless = _ALGEBRA.fullmatch(answer) and len(re.findall(r"\)\s*(?:\*\*|\^)", answer)) <= _MAX_POWERS_OF_POWERS
        return answer if harmless else None
    return answer


def _is_literal(answer: str) -> bool:
    try:
        ast.literal_eval(answer.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return False
    return True


def _words_only(answer: str) -> str | None:
    """Rows of numbers or letters mean nothing to `eval`: they are a syntax error at worst."""
    return answer if re.fullmatch(r"[A-Za-z0-9_ \n]*", answer) and not answer.strip().isidentifier() else None
