"""The process in which maths answers are parsed and compared, with math-verify. Started by `rjepa.validation.pool`.

The only module that imports sympy. math-verify's own timeouts are switched off: they raise from SIGALRM, which C code
can ignore; here the pool's bounds end the process instead.
"""

import json
import logging
import re
import sys
from typing import Any

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

from rjepa.validation.pool import Bounds, serve

_LATEX, _ARITHMETIC = [LatexExtractionConfig(boxed_match_priority=0)], [ExprExtractionConfig()]
_ENVIRONMENTS = ("$", "\\(", "\\[", "\\boxed", "\\begin{")
_ONLY_ARITHMETIC = re.compile(r"[\d\s.+\-*/^()×÷]+")
_UNREADABLE = (ValueError, TypeError, AttributeError, ArithmeticError, RecursionError, LookupError, SyntaxError)


def compare(gold: str, answer: str) -> str:
    """equal, different, unparsable or too_large. Not symmetric: the gold answer comes first."""
    try:
        expected, found = _parsed(gold), _parsed(answer)
        if not expected or not found:
            return "unparsable"
        return "equal" if _equal(expected, found) else "different"
    except (MemoryError, OverflowError):
        return "too_large"
    except _UNREADABLE:
        return "unparsable"


def _equal(expected: list[Any], found: list[Any]) -> bool:
    try:
        return verify(expected, found, strict=True, timeout_seconds=None, raise_on_error=True)
    except _UNREADABLE:  # of one pair of readings; another may compare
        return verify(expected, found, strict=True, timeout_seconds=None)


def _parsed(text: str) -> list[Any]:
    """What math-verify reads in the text; empty if that is nothing but a string.

    A text without an environment is one formula as a whole: no number is picked out of prose.
    """
    if _ONLY_ARITHMETIC.fullmatch(text):
        whole, targets = text.replace("×", "*").replace("÷", "/"), _ARITHMETIC
    else:
        whole, targets = text if any(mark in text for mark in _ENVIRONMENTS) else f"${text}$", _LATEX
    found = parse(whole, targets, fallback_mode="no_fallback", parsing_timeout=None)
    return [one for one in found if not isinstance(one, str)]


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    reason = compare(request["gold"], request["answer"])
    return {"reason": reason, "retire": True} if reason == "too_large" else {"reason": reason}


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    serve(_answer, Bounds(**json.loads(sys.argv[1])))
