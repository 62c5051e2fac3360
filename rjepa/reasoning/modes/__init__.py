"""Every mode there is: one file each, found by itself. `off.py` is the shortest example.

A mode's file holds its options, what it needs, and one function from a question and tools to events.
"""

import importlib
import pkgutil
from typing import Final

from rjepa.parts import Content
from rjepa.reasoning.mode import Mode
from rjepa.reasoning.question import InvalidQuestionError

MODES: Final[dict[str, Mode]] = {
    mode.name: mode
    for module in pkgutil.iter_modules(__path__)
    for mode in [importlib.import_module(f"{__name__}.{module.name}").MODE]
}
"""All modes by name. Each module of this package has a `MODE`."""


def modes_offered(content: Content) -> tuple[str, ...]:
    """Names of the modes that a release has the parts for."""
    return tuple(name for name, mode in MODES.items() if content.has(mode.parts))


def find_mode(name: str) -> Mode:
    """The mode of that name.

    Raises:
        InvalidQuestionError: there is none.
    """
    if name not in MODES:
        raise InvalidQuestionError(f"unknown mode {name!r}", cure=f"choose one of {', '.join(MODES)}", field="mode")
    return MODES[name]
