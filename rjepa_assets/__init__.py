"""The Dagster code location: thin orchestration over `rjepa`. No maths and no I/O loops live here."""
