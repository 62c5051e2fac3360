"""What R-JEPA expects of segments that are missing from a chain, from all that is known on both sides of them.

What is expected next, of a chain that grows, is `rjepa.jepa.expecting`.

Dimensions: segments of a chain, width of the student's latents, columns of them that R-JEPA reads.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from rjepa.jepa.batches import Assembler
from rjepa.jepa.masks import infill_view
from rjepa.jepa.model import RJepa
from rjepa.jepa.reader import Reader
from rjepa.latents.normalizer import Normalizer
from rjepa.latents.sets import LatentSet, Prompts
from rjepa.latents.texts import Texts
from rjepa.students.extraction import ChainLatents

Rows = Float[npt.NDArray[np.float16], "segments width"]


def chains_of_a_problem(chains: Sequence[Rows], sentences: Float[npt.NDArray[np.float16], "_ width"]) -> LatentSet:
    """Chains of one problem of an unknown domain, each with the prompt as its first row."""
    count = len(chains)
    return LatentSet(
        latents=np.concatenate(chains),
        offsets=np.concatenate([[0], np.cumsum([len(rows) for rows in chains])]).astype(np.int64),
        domains=np.zeros(count, dtype=np.int64),
        domain_names=("",),
        first_error=np.full(count, -1, dtype=np.int64),
        problem_ids=Texts.of(["problem"] * count),
        chain_ids=Texts.of([str(index) for index in range(count)]),
        splits=Texts.of(["test"] * count),
        prompts=Prompts.of(sentences, [len(sentences)]),
        prompt_of=np.zeros(count, dtype=np.int64),
        types=np.zeros(sum(map(len, chains)), dtype=np.uint8),
    )


def with_gaps(read: ChainLatents, gaps: Sequence[int]) -> Rows:
    """The latents of a chain with rows of zeros put in, so that segment `gap` of the longer chain is missing, for each
    of these. Segments count from 0, the prompt; gaps rise.
    """
    rows = list(read.latents)
    for gap in gaps:
        if not 1 <= gap <= len(rows):
            raise ValueError(f"expected a gap between 1 and {len(rows)}, got {gap}")
        rows.insert(gap, np.zeros_like(read.latents[0]))
    return np.stack(rows)


@torch.no_grad()
def expected_segments(
    model: RJepa, normalizer: Normalizer, read: ChainLatents, gaps: Sequence[int]
) -> Float[Tensor, "gaps columns"]:
    """The standardised latents that R-JEPA expects at gaps of a chain (`with_gaps`), float32 on the CPU."""
    chain = chains_of_a_problem([with_gaps(read, gaps)], read.sentences)
    batch = Assembler(chain, normalizer, model.config, model.domain_names).gather(np.array([0]))
    hidden = torch.zeros_like(batch.valid)
    hidden[0, list(gaps)] = True
    batch = batch.to(model.device)
    raw = model.predict(batch, infill_view(batch.valid, hidden.to(model.device)))[0].raw
    if raw is None:
        raise ValueError("expected an R-JEPA that predicts raw latents")
    return raw[0, list(gaps)].float().cpu()


def standardised(model: RJepa, normalizer: Normalizer, rows: Rows) -> Float[Tensor, "segments columns"]:
    """Latents as decoders take them."""
    return torch.from_numpy(Reader.of(model.config, normalizer).read(rows))
