"""How surprising each step of each chain is: energies of many chains, in length-sorted batches. Aggregation and choice
live in `rjepa.inference.aggregate` and `rjepa.inference.rerank`.
"""

import numpy as np

from rjepa.errors import InvalidInputError
from rjepa.jepa.batches import Assembler
from rjepa.jepa.config import Energy
from rjepa.jepa.model import RJepa
from rjepa.latents.normalizer import Normalizer
from rjepa.latents.sets import LatentSet
from rjepa.progress import Progress, silent


def segment_energies(
    model: RJepa,
    normalizer: Normalizer,
    latents: LatentSet,
    batch_size: int = 256,
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
        InvalidInputError: the latents' width is not the one that the model was trained on.
        ValueError: the model has no such energy.
    """
    if latents.width != model.width:
        raise InvalidInputError(
            f"latents are {latents.width} wide, the model was trained on {model.width}",
            cure="score with the student, layer and poolings that the model was trained on",
        )
    assembler = Assembler(latents, normalizer, model.config, model.domain_names)
    lengths = latents.lengths
    order = np.argsort(lengths, kind="stable")
    results: list[np.ndarray] = [np.empty(0, dtype=np.float32)] * len(latents)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        scored = model.energies(assembler.gather(chosen).to(model.device), energy).cpu().numpy()
        for index, row in zip(chosen, scored, strict=True):
            results[index] = row[1 : max(lengths[index], 1)].copy()
        progress(min(start + batch_size, len(order)), len(order))
    return results
