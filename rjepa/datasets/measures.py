"""Measurements of judged chains that a check asks for. Counts of a whole release are in its manifest."""

from collections.abc import Iterable

from rjepa.schemas import ChainOfThought


def worked_validity(chains: Iterable[ChainOfThought]) -> tuple[int, int]:
    """How many worked solutions there are and how many were judged right; planted wrong chains do not count."""
    worked = [chain for chain in chains if "corruption" not in chain.meta]
    return len(worked), sum(chain.is_valid is True for chain in worked)
