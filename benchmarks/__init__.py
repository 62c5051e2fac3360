"""Benchmarks: `python -m benchmarks.NAME`. The last line is one JSON object: figures, targets, whether they hold."""
