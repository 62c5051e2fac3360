"""Defaults that stages and Dagster's graph share: how many problems and answers a night judges a release on.

They stand apart from the stages that use them, whose modules load torch: the graph has to be there without it.
"""

from typing import Final

PROBLEMS_A_DOMAIN: Final = 500
"""How many a fresh sealed set has in a domain, or twice as many as the source has tests, where that is less. With three
domains they show a gain of three points eight times in ten where two releases differ on 8 % of problems (`python -m
benchmarks.nights`), and cost tiny-a three minutes of two cores, once a set."""

REHEARSED_ANSWERS: Final = 500
"""Newest answers that a release is rehearsed on: some minutes of a small student's reading."""
