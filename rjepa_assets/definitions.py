"""Everything that Dagster sees, assembled. What an asset does is in `defs/`, and what that means is in `rjepa`."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from rjepa_assets.defs import (
    automation,
    chains,
    evaluation,
    latents,
    problems,
    release,
    students,
    variants,
    world_model,
)
from rjepa_assets.defs.resources import default_resources

STAGES = (problems, chains, students, latents, world_model, evaluation, release, variants)
"""In pipeline order; variants are beside it."""


def build_defs(resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """The whole code location; tests bring their own home and progress."""
    return dg.Definitions(
        assets=dg.load_assets_from_modules(STAGES),
        asset_checks=dg.load_asset_checks_from_modules(STAGES),
        jobs=automation.JOBS,
        sensors=automation.SENSORS,
        resources={**default_resources(), **(resource_overrides or {})},
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster's processes load."""
    return build_defs()
