"""What R-JEPA expects of segments that are missing from a chain, from all that is known on both sides of them.

What is expected next, of a chain that grows, is `rjepa.jepa.expecting`.

Dimensions: segments of a chain, width of the student's latents, columns of them that R-JEPA reads.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from rjepa.errors import InvalidInputError
from rjepa.jepa.batches import Assembler
from rjepa.jepa.masks import infill_view
from rjepa.jepa.model import RJepa
from rjepa.jepa.reader import Reader
from rjepa.latents.sets import LatentSet
from rjepa.students.extraction import ChainLatents

Rows = Float[npt.NDArray[np.float16], "segments width"]
Types = UInt8[npt.NDArray[np.uint8], " segments"]
Scalar = TypeVar("Scalar", bound=np.generic)


def with_gaps(rows: npt.NDArray[Scalar], gaps: Sequence[int]) -> npt.NDArray[Scalar]:
    """Rows of a chain's segments, with rows of zeros put in, so that segment `gap` of the longer chain is missing, for
    each of these. Segments count from 0, the prompt; gaps rise.
    """
    whole = list(rows)
    for gap in gaps:
        if not 1 <= gap <= len(whole):
            raise ValueError(f"expected a gap between 1 and {len(whole)}, got {gap}")
        whole.insert(gap, np.zeros_like(rows[0]))
    return np.stack(whole)


def expected_segments(
    model: RJepa, reader: Reader, read: ChainLatents, types: Types, gaps: Sequence[int]
) -> Float[Tensor, "gaps columns"]:
    """The standardised latents that R-JEPA expects at gaps of a chain (`with_gaps`), float32 on the CPU.

    Args:
        types: of the chain's segments, without the gaps.

    Raises:
        InvalidInputError: as `predict_hidden`.
    """
    chain = LatentSet.of_problem([with_gaps(read.latents, gaps)], read.sentences, with_gaps(types, gaps))
    _, expected = predict_hidden(model, reader, chain, gaps)
    return expected[list(gaps)]


@torch.inference_mode()
def predict_hidden(
    model: RJepa, reader: Reader, chain: LatentSet, hidden: Sequence[int]
) -> tuple[Float[Tensor, "segments columns"], Float[Tensor, "segments columns"]]:
    """The latents of one chain as R-JEPA reads them, and what it expects in the places of hidden segments; float32, on
    the CPU.

    Raises:
        InvalidInputError: an R-JEPA that predicts no latents of the student.
    """
    assembler = Assembler(chain, reader, model.config, model.domain_names)
    batch = assembler.gather(np.zeros(1, dtype=np.int64)).to(model.device)
    unseen = torch.zeros_like(batch.valid)
    unseen[0, list(hidden)] = True
    prediction, _ = model.predict(batch, infill_view(batch.valid, unseen))
    if prediction.raw is None:
        raise InvalidInputError(
            f"the release's config {model.config.name!r} predicts no latents of the student",
            cure="release a config whose loss.raw is above 0, such as full",
        )
    return batch.latents[0].cpu(), prediction.raw[0].float().cpu()


def standardised(reader: Reader, rows: Rows) -> Float[Tensor, "segments columns"]:
    """Latents as decoders take them."""
    return torch.from_numpy(reader.read(rows))
