"""The process in which maths answers are read and compared, with sympy. Started by `rjepa.validation.pool`.

Whatever takes too long or too much memory ends with this process, within the pool's bounds.
"""

import json
import logging
import sys
from functools import lru_cache
from typing import Any

from rjepa.validation.equivalence import same
from rjepa.validation.pool import Bounds, serve
from rjepa.validation.reading import read
from rjepa.validation.shapes import Shape

_UNREADABLE = (ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError, LookupError)
"""What sympy raises where it cannot go on; `RuntimeError` covers what it lacks and too deep a recursion."""


def compare(gold: str, answer: str) -> str:
    """equal, different, unparsable or too_large. Not symmetric: the gold answer comes first."""
    try:
        expected = _gold(gold)
        return "equal" if same(expected, read(answer, is_gold=False)) else "different"
    except (MemoryError, OverflowError):
        return "too_large"
    except _UNREADABLE:
        return "unparsable"


@lru_cache(maxsize=64)
def _gold(text: str) -> Shape:
    return read(text, is_gold=True)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    reason = compare(request["gold"], request["answer"])
    return {"reason": reason, "retire": True} if reason == "too_large" else {"reason": reason}


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    serve(_answer, Bounds(**json.loads(sys.argv[1])))
