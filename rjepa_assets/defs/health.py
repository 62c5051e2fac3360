"""The sensor that looks at the live service, and has the release before served again where health fell.

What is compared, at which level and with which cool-down stands in `rjepa.living.health`. It launches no run: going
back is one write, and has to work while training holds the machine.
"""

from typing import Final

import dagster as dg

from rjepa_assets.defs.resources import HomeResource
from rjepa_assets.requests import served_llms

_SECONDS_BETWEEN_LOOKS: Final = 60
"""The service writes a window about as often; a look reads some rows."""


@dg.sensor(
    name="health",
    minimum_interval_seconds=_SECONDS_BETWEEN_LOOKS,
    description="Compare what is served with what it replaced (errors, unfamiliar problems, thumbs down) and go back"
    " where it fell, unless the operator has turned automatic_rollback off.",
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def health(context: dg.SensorEvaluationContext, home: HomeResource) -> dg.SensorResult:
    """One line an LLM; an observation of the asset `release` where one was taken back."""
    from rjepa.errors import RjepaError
    from rjepa.living.health import keep_healthy

    lines: list[str] = []
    events: list[dg.AssetObservation] = []
    for llm_tag in served_llms(home.open()):
        try:
            found = keep_healthy(home.open(), llm_tag)
        except RjepaError as error:
            lines.append(f"{llm_tag}: {error}")
            continue
        lines.append(f"{llm_tag}: {found.verdict}: {found.text}")
        if found.rolled_back_to is not None:
            context.log.warning(lines[-1])
            metadata = {"left": found.release, "served": found.rolled_back_to, "reason": found.text}
            events.append(dg.AssetObservation("release", partition=llm_tag, metadata=metadata))
    if events:
        return dg.SensorResult(asset_events=events)
    return dg.SensorResult(skip_reason="; ".join(lines) or "no LLM serves a release")
