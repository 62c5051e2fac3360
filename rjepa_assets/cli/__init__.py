"""Verbs that make assets: they go through Dagster, so that lineage has no back door."""
