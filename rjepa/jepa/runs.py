"""What every training run does, whatever it trains: its report file, a finished run that is not repeated, a loss that
is not finite.
"""

import math
from pathlib import Path
from typing import Final, TypeVar

from rjepa.errors import InvalidInputError
from rjepa.files import read_json, sha256_file

REPORT_FILE: Final = "report.json"
UPDATES_BETWEEN_LOGS: Final = 10

Report = TypeVar("Report")


def read_finished(folder: Path, fingerprint: str, weights: str, kind: type[Report]) -> Report | None:
    """The report of the finished run in a folder; None where there is none, or one of other inputs or other weights.

    Args:
        fingerprint: of the run's config and data.
        weights: name of the file with the trained weights.
        kind: a dataclass with the fields `fingerprint` and `data_version` (the SHA-256 of that file), among others.
    """
    path = folder / REPORT_FILE
    if not path.exists() or not (folder / weights).exists():
        return None
    values = read_json(path)
    if values.get("fingerprint") != fingerprint or sha256_file(folder / weights) != values.get("data_version"):
        return None
    return kind(**values)


def check_finite(loss: float, update: int) -> None:
    """Refuse to go on from a loss that is not finite.

    Raises:
        InvalidInputError: the loss is infinite or not a number.
    """
    if not math.isfinite(loss):
        raise InvalidInputError(
            f"the loss is {loss} at update {update}",
            cure="lower optim.learning_rate in the run's config, or check the latents for values that are not finite",
        )
