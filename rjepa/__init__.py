"""R-JEPA: a joint-embedding predictive model over the steps of an LLM's reasoning. The library."""

import os

# How long an idle OpenMP thread spins before it sleeps; read once, when torch is loaded. At libgomp's default two
# threads beside other work were seven times slower than one (docs/extraction.md). This is as fast on an idle machine.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
