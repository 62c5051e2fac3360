"""How surprising each step of each chain is: energies of many chains, in length-sorted batches. Aggregation and choice
live in `rjepa.inference.aggregate` and `rjepa.inference.choice`.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from rjepa.jepa.batches import Assembler
from rjepa.jepa.config import Energy
from rjepa.jepa.model import RJepa
from rjepa.jepa.reader import Reader
from rjepa.latents.sets import LatentSet
from rjepa.progress import Progress, silent

_BATCH_CHAINS: Final = 128
"""Chains read together: twice as many leave a CPU's nearest caches, and took 1.4 times as long a chain."""

_ROW_CHAINS: Final = 8
"""Chains of a problem in one row: what more have in common is read once too, but attention grows with the square."""


def segment_energies(
    model: RJepa,
    reader: Reader,
    latents: LatentSet,
    batch_size: int = _BATCH_CHAINS,
    energy: Energy | None = None,
    progress: Progress = silent,
) -> list[np.ndarray]:
    """Energies of every chain's segments after the prompt, in the set's order.

    The energy of segment t (t = 1..) is read from segments before t only; all segments of a chain take one pass. The
    result of a chain does not depend on what shares its batch, beyond float32 rounding. Domains are matched by name;
    one that was not in training is treated as unknown.

    Args:
        energy: which energy, the model config's own choice if None.

    Returns:
        One float32 [segments - 1] array a chain; empty for a chain that is only a prompt.

    Raises:
        InvalidInputError: the latents' width is not the one that the reader was made for.
        ValueError: the model has no such energy.
    """
    assembler = Assembler(latents, reader, model.config, model.domain_names)
    results: list[np.ndarray] = [np.empty(0, dtype=np.float32)] * len(latents)
    done = 0
    for groups in _batches(model, latents, batch_size):
        if _shares(model, latents):
            batch, paths = assembler.gather_side_by_side(groups)
            rows = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        else:
            batch, rows = assembler.gather(groups[0]), np.arange(len(groups[0]))
            paths = [np.arange(length) for length in latents.lengths[groups[0]]]
        scored = model.energies(batch.to(model.device), energy).cpu().numpy()
        chosen = np.concatenate(groups)
        for index, row, path in zip(chosen, rows, paths, strict=True):
            results[index] = scored[row, path[1:]]
        done += len(chosen)
        progress(done, len(latents))
    return results


def _shares(model: RJepa, latents: LatentSet) -> bool:
    """Whether chains of a problem can stand in one row, behind its sentences."""
    return model.config.encoder.causal and model.config.encoder.sentences and latents.prompt_of is not None


def _batches(model: RJepa, latents: LatentSet, batch_size: int) -> Iterator[list[np.ndarray]]:
    """Groups of chains (int64 indices), about `batch_size` chains at a time, rows of about one length together: chains
    of one problem and domain, or single chains.
    """
    lengths = latents.lengths
    if not _shares(model, latents) or latents.prompt_of is None:
        order = np.argsort(lengths, kind="stable")
        for first in range(0, len(order), batch_size):
            yield [order[first : first + batch_size]]
        return
    order = np.lexsort((lengths, latents.domains, latents.prompt_of))
    owner = np.stack([latents.prompt_of[order], latents.domains[order]])
    bounds = np.flatnonzero((np.diff(owner) != 0).any(axis=0)) + 1
    groups = [
        part[first : first + _ROW_CHAINS]
        for part in np.split(order, bounds)
        for first in range(0, len(part), _ROW_CHAINS)
    ]
    groups.sort(key=lambda group: int(lengths[group].sum()))
    rows = max(1, batch_size // _ROW_CHAINS)
    for first in range(0, len(groups), rows):
        yield groups[first : first + rows]
