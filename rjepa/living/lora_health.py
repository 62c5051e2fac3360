"""Does a served LoRA do worse than its base? The counts of the live service of both, and a rule.

The same rates as of releases (`rjepa.living.health`), with the same level of evidence: errors, unfamiliar problems,
thumbs down. The base's are of the days before and of the time beside it, for both are asked at once; a client chooses.
Taking one out that fell is `serving.loras`'s, which asks here each time windows were written.
"""

from collections.abc import Sequence
from typing import Final

from pydantic import Field

from rjepa.living.health import LEAST_NOW, MEASURES, PROBATION_DAYS, Found, Verdict, compare
from rjepa.living.windows import Window
from rjepa.moments import DAY_MS
from rjepa.values import FrozenValue

BEFORE_MS: Final = PROBATION_DAYS * DAY_MS
"""How far back the base's windows count, from the moment that the LoRA was loaded."""


class LoraHealth(FrozenValue):
    """What a look at a LoRA found."""

    verdict: Verdict
    found: tuple[Found, ...] = Field((), description="its rates (now) beside the base's (before)")
    text: str


def look_at_lora(windows: Sequence[Window], release: str, base_release: str, since_ms: int) -> LoraHealth:
    """Compare a LoRA with its base.

    Args:
        windows: those of the base's tag, from `BEFORE_MS` before `since_ms` on.
        release: what its answers carry for a release.
        base_release: the same of the base.
        since_ms: when it was loaded; what was answered with a LoRA of the same name before is another's.
    """
    now = [window for window in windows if window.release_id == release and window.ended_at_ms >= since_ms]
    base = [window for window in windows if window.release_id == base_release]
    found = tuple(compare(measure, base, now) for measure in MEASURES)
    fallen = [each for each in found if each.fell]
    if fallen:
        return LoraHealth(verdict="fell", found=found, text="; ".join(each.describe() for each in fallen))
    enough = any(each.now_all >= LEAST_NOW for each in found)
    text = "no rate is above the base's" if enough else f"fewer than {LEAST_NOW} questions and votes so far"
    return LoraHealth(verdict="healthy" if enough else "too_few", found=found, text=text)
