"""Everything that Dagster sees, gathered from the modules of `defs/`: a new asset, check, job or sensor is one file.

What an asset does is in its module, and what that means is in `rjepa`.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg

from rjepa_assets import defs as modules
from rjepa_assets.defs.resources import default_resources


def build_defs(resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """The whole code location; tests bring their own home and progress."""
    with warnings.catch_warnings():
        # In preview on 1.13, pinned and tested. `dg.load_from_defs_folder` does the same in 4.5 s instead of 0.3.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.load_definitions_from_package_module(
            modules,
            resources={**default_resources(), **(resource_overrides or {})},
            # Steps are short or run in a process of their own (`own_process`): one process a run is enough.
            executor=dg.in_process_executor,
        )


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster's processes load."""
    return build_defs()
