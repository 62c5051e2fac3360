"""Which R-JEPA of a student and a dataset is meant where none is named: the student's own, or one carried to it.

The one that was asked for last is calibrated, reported and released; a small file among the models says which that is.
Opening either is `rjepa.adapters.opening`.
"""

from pathlib import Path
from typing import Any, Final, Literal, cast

from rjepa.errors import CorruptError
from rjepa.files import read_json, write_json
from rjepa.home import Home

Origin = Literal["native", "carried"]

CARRIED_FOLDER: Final = "carried"
_IN_USE: Final = "in_use.json"


def carried_folder(home: Home, llm_tag: str, dataset: str) -> Path:
    """Where what was carried to a student lies: the adapter, and the R-JEPA that it was fitted for."""
    return home.models(llm_tag, dataset) / CARRIED_FOLDER


def in_use(home: Home, llm_tag: str, dataset: str) -> Origin:
    """Which of the two R-JEPAs of a student is used for this dataset: the one that was chosen last, or else its own.

    Raises:
        CorruptError: the file that says so holds something else.
    """
    path = home.models(llm_tag, dataset) / _IN_USE
    if not path.exists():
        return "native"
    values: Any = read_json(path)
    if values not in ({"rjepa": "native"}, {"rjepa": "carried"}):
        raise CorruptError(
            f"{path} names no R-JEPA that is known", cure="delete it, then materialise rjepa_checkpoint, or adapter"
        )
    return cast(Origin, values["rjepa"])


def put_in_use(home: Home, llm_tag: str, dataset: str, origin: Origin) -> None:
    """From now on this one is calibrated, reported and released."""
    if in_use(home, llm_tag, dataset) != origin:
        write_json(home.models(llm_tag, dataset) / _IN_USE, {"rjepa": origin})
