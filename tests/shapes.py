"""The modules whose calls are checked, in tests, against the shapes and types in their signatures.

These are the pure ones: tensors or arrays in, tensors or arrays out. beartype knows no `Self` on a method and no
name imported under TYPE_CHECKING, and what it would find in modules of files and settings, mypy and pydantic find.
"""

from jaxtyping import install_import_hook

CHECKED = [
    "rjepa.inference.aggregate",
    "rjepa.inference.calibrating",
    "rjepa.inference.calibration",
    "rjepa.inference.choice",
    "rjepa.inference.familiarity",
    "rjepa.inference.fitting",
    "rjepa.inference.probability",
    "rjepa.inference.score",
    "rjepa.inference.uncertainty",
    "rjepa.inference.voting",
    "rjepa.jepa.batches",
    "rjepa.jepa.encoder",
    "rjepa.jepa.expecting",
    "rjepa.jepa.losses",
    "rjepa.jepa.masks",
    "rjepa.jepa.model",
    "rjepa.jepa.objective",
    "rjepa.jepa.predictor",
    "rjepa.jepa.probes",
    "rjepa.jepa.reader",
    "rjepa.jepa.ridge",
    "rjepa.students.decoding",
    "rjepa.students.drawing",
    "rjepa.students.packing",
    "rjepa.students.pooling",
    "rjepa.students.row_cache",
]


def check_shapes() -> None:
    """Check every call of `CHECKED` from here on. They must not have been imported yet."""
    install_import_hook(CHECKED, "beartype.beartype")
