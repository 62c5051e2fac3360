"""What the parts of a night are called: `rjepa_assets` defines them for Dagster, the service and the commands ask for
them.
"""

from typing import Final

NIGHT_JOB: Final = "living_night"
"""From feedback to a release or a refusal. Its partition is an llm_tag."""
NIGHT_SENSOR: Final = "new_feedback"
NIGHT_SCHEDULE: Final = "nightly"
NIGHT_RECIPE: Final = "nightly"
"""The training run of configs/rjepa/ that a night makes."""
