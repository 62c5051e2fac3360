"""What the student makes of spoken steps when it reads them, and which step it would have written by itself.

The first closes the circle from a latent over words to a latent; the second says what words are worth that knew nothing
of R-JEPA. Chains are right up to the step in question.

Dimensions: steps, columns of the latents that R-JEPA reads.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rjepa.chains import parse_chain, render_chain
from rjepa.jepa.reader import Reader
from rjepa.sampling.protocol import ChainSource
from rjepa.students.sampled import GREEDY, RowRequest, Until
from rjepa.verbalizer.infilling import standardised
from rjepa.verbalizer.speaking import Line

_TOGETHER: Final = 64
"""Rows of one decoding session, or texts of one pass."""

Latents = Float[Tensor, "steps columns"]


def next_steps(source: ChainSource, statements: Sequence[str], lines: Sequence[Line]) -> list[str]:
    """The student's own next step after the tokens before each line, greedily; empty where it goes on otherwise."""
    found: list[str] = []
    for first in range(0, len(lines), _TOGETHER):
        part = slice(first, first + _TOGETHER)
        with source.session(capture=False) as session:
            rows = session.add([_request(*one) for one in zip(statements[part], lines[part], strict=True)])
            for _event in session.run(Until.STEP):
                pass
            texts = [chain.text for chain in session.chains(rows)]
        for text, line in zip(texts, lines[part], strict=True):
            steps, number = parse_chain(text, source.record.segmentation).steps, len(line.starts)
            found.append(steps[number] if len(steps) > number else "")
    return found


def read_again(
    source: ChainSource, reader: Reader, statements: Sequence[str], chains: Sequence[Sequence[str]]
) -> Latents:
    """What the student makes of the last step of each chain, standardised, float32 on the CPU; zeros, the mean latent,
    for a step without words.
    """
    texts = [render_chain(steps, None) for steps in chains]
    found: list[Tensor] = []
    for first in range(0, len(texts), _TOGETHER):
        part = slice(first, first + _TOGETHER)
        for read, steps in zip(source.reader.encode(statements[part], texts[part]), chains[part], strict=True):
            row = min(len(steps), len(read.latents) - 1)
            latent = standardised(reader, read.latents[row : row + 1])[0]
            found.append(latent if steps[-1] else torch.zeros_like(latent))
    return torch.stack(found)


def variance_explained(made: Latents, wanted: Latents) -> float | None:
    """The share of the variance of the wanted latents that others explain: 1 where they are the same, 0 where they are
    no nearer than the wanted ones' mean, below 0 where they are farther. None where the wanted ones do not vary.
    """
    varies = float((wanted - wanted.mean(dim=0)).square().sum())
    missed = float((wanted - made).square().sum())
    return 1 - missed / varies if varies > np.finfo(np.float32).eps * max(wanted.numel(), 1) else None


def _request(statement: str, line: Line) -> RowRequest:
    prompt = line.starts[0] if line.starts else len(line.before)
    return RowRequest(
        statement=statement,
        seed=0,
        sample_index=GREEDY,
        prompt_ids=tuple(line.before[:prompt]),
        prefix=tuple(line.before[prompt:]),
        capture=False,
    )
