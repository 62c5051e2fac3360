"""R-JEPA: a joint-embedding predictive model over the steps of an LLM's reasoning. The library."""
