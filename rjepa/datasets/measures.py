"""Pure measurements of a dataset, for its manifest and for checks."""

from collections.abc import Iterable

from rjepa.schemas import ChainOfThought


def is_corrupted(chain: ChainOfThought) -> bool:
    """Whether a chain was made wrong on purpose."""
    return "corruption" in chain.meta


def worked_validity(chains: Iterable[ChainOfThought]) -> tuple[int, int]:
    """How many chains are worked solutions, meant to be right, and how many of these are valid."""
    worked = [chain for chain in chains if not is_corrupted(chain)]
    return len(worked), sum(chain.is_valid is True for chain in worked)
