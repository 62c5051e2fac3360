"""Published benchmarks: one typed adapter each, from a row in the published schema to a problem. Rows come from the
Hugging Face hub (`hub`) or from local files (`rjepa.problems.files`).
"""

from rjepa.problems.benchmarks.adapting import adapt_row
from rjepa.problems.benchmarks.table import BENCHMARKS, Benchmark, find_benchmark

__all__ = ["BENCHMARKS", "Benchmark", "adapt_row", "find_benchmark"]
