"""What the night does and decides: settings, limits, evidence over nights, health and rollback. Dagster's shells of it
live in `rjepa_assets.defs.living`, training in `rjepa.jepa`, feedback of users in `rjepa.feedback`.
"""
