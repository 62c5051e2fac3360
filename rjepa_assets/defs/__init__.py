"""Assets, checks, jobs, sensors and schedules, a few to a module. `rjepa_assets.definitions` gathers them all."""
