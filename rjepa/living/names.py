"""What Dagster calls the parts of a night: `rjepa_assets` defines them, the service and the commands ask for them."""

from typing import Final

NIGHT_JOB: Final = "living_night"
"""From feedback to a release or a refusal. Its partition is an llm_tag."""
NIGHT_SENSOR: Final = "new_feedback"
NIGHT_SCHEDULE: Final = "nightly"
