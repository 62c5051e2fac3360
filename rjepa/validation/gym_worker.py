"""Where reasoning-gym's verifiers score answers: a process of `rjepa.validation.pool`, so that it can be killed."""

import json
import logging
import sys
from typing import Any

from rjepa.problems.reasoning_gym import RIGHT, score_answer
from rjepa.validation.pool import Bounds, serve


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        right = score_answer(request["meta"], request["answer"]) >= RIGHT
    except (MemoryError, OverflowError):
        return {"reason": "too_large", "retire": True}
    except Exception as error:  # noqa: BLE001 - whatever a foreign verifier raises on an answer, the answer is not right
        return {"reason": "unparsable", "error": type(error).__name__}
    return {"reason": "equal" if right else "different"}


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    serve(_answer, Bounds(**json.loads(sys.argv[1])))
