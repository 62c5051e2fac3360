"""What a segment of a chain does, read off its text by rule: which operation it computes, if it deduces or answers.

R-JEPA may receive the types of the steps it reads, and asked for the type of the step it predicts (`step_types` and
`loss.step_type` of its config). Where segments begin is decided in `rjepa.chains`.
"""

import re
from collections.abc import Iterable
from typing import Final

import numpy as np

from rjepa.arrays import UInt8
from rjepa.chains import Segmentation, read_segments
from rjepa.clauses import INFERENCES
from rjepa.labels import STEP_LABEL

STEP_TYPES: Final = (
    "prompt",
    "statement",
    "addition",
    "subtraction",
    "multiplication",
    "division",
    "calculation",
    "deduction",
    "answer",
)
"""`calculation` is any other: several operations, a remainder, a minimum. `statement` is what fits nowhere else."""

_NUMBER: Final = re.compile(r"\d")
_OPERATION: Final = re.compile(r"\d[\s)}%]*(?P<operator>//|[-+*/×÷·−]|\\(?:times|cdot|div))(?=[\s({$]*\.?\d)")
"""The number on its right is looked at and left, for the operation that follows."""

_OPERATIONS: Final = {
    "+": "addition",
    **dict.fromkeys(("-", "−"), "subtraction"),
    **dict.fromkeys(("*", "×", "·", "\\times", "\\cdot"), "multiplication"),
    **dict.fromkeys(("/", "//", "÷", "\\div"), "division"),
}
_DEDUCTION: Final = re.compile(rf"\b(?:{'|'.join(INFERENCES)}|implies|follows)\b", re.IGNORECASE)


def step_type(text: str) -> str:
    """The type of a step's text, one of `STEP_TYPES`."""
    text = STEP_LABEL.sub("", text)  # its number is none that is computed with
    if "=" in text and _NUMBER.search(text):
        found = {_OPERATIONS[match["operator"]] for match in _OPERATION.finditer(text)}
        return found.pop() if len(found) == 1 else "calculation"
    return "deduction" if _DEDUCTION.search(text) else "statement"


def segment_types(text: str, segments: int, segmentation: Segmentation = "guided") -> UInt8:
    """uint8 [segments], indices into `STEP_TYPES`: the prompt, then each segment of a chain's text.

    `segments` is how many the chain's latents have. Bytes that are no character may be cut otherwise as text than they
    were as tokens: what is missing then is a statement.
    """
    found = read_segments(text, segmentation)
    types = ["answer" if one.is_answer else step_type(text[one.start : one.end]) for one in found]
    padded = ["prompt", *types, *["statement"] * segments][:segments]
    return np.array([STEP_TYPES.index(name) for name in padded], dtype=np.uint8)


def chain_types(texts: Iterable[str], segments: Iterable[int], segmentation: Segmentation = "guided") -> UInt8:
    """`segment_types` of many chains, end to end."""
    types = [segment_types(text, int(count), segmentation) for text, count in zip(texts, segments, strict=True)]
    return np.concatenate([np.empty(0, dtype=np.uint8), *types])
