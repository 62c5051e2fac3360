"""How a body is read: what is unknown is ignored and listed, a limit is kept and the change listed.

A client's author cannot change what their library sends. So a request is refused only where what it asks for would
change the meaning of the answer and cannot be done; our own field `rjepa` alone is read strictly. What the fields of a
body are stands with their routes.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

IGNORED_HEADER: Final = "x-rjepa-ignored"
ADJUSTED_HEADER: Final = "x-rjepa-adjusted"

RULE: Final = (
    "A parameter that is unknown here is ignored, and listed in rjepa.ignored and the header x-rjepa-ignored; a limit "
    "is kept, and the change listed in rjepa.adjusted and x-rjepa-adjusted; what would change the meaning of the "
    "answer and cannot be done is refused with a 400. The field rjepa alone is read strictly."
)
"""As GET /v1/info says it."""

_NAME: Final = re.compile(r"[A-Za-z0-9_.\-]{1,64}")
_MAX_LISTED: Final = 32
"""Names in a list. A body can hold thousands, and a proxy refuses a reply whose headers are longer than a few KiB."""


def _whole(value: Any) -> Any:
    """JavaScript has one kind of number, and some of its libraries write 256 as 256.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, Field(strict=True), BeforeValidator(_whole)]
"""A whole number, also where it is written with a point."""

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


@dataclass
class Notes:
    """What the reply has to say about how its request was read.

    ignored: names of fields that change nothing here. adjusted: sentences, each about a value that was changed.
    """

    ignored: list[str] = field(default_factory=list)
    adjusted: dict[str, str] = field(default_factory=dict)

    def ignore(self, names: Iterable[str]) -> None:
        """Add fields that nobody reads, each once; a name that is no name is listed as `?`."""
        for name in names:
            shown = name if _NAME.fullmatch(name) else "?"
            if shown not in self.ignored and len(self.ignored) < _MAX_LISTED:
                self.ignored.append(shown)

    def adjust(self, name: str, what: str) -> None:
        """Say that the value of a field was changed, and to what."""
        self.adjusted[name] = f"{name}: {what}"

    @property
    def headers(self) -> Mapping[str, str]:
        """The same as headers of the reply: names alone, so that they are short and safe."""
        lists = {IGNORED_HEADER: self.ignored, ADJUSTED_HEADER: list(self.adjusted)}
        return {name: ", ".join(names) for name, names in lists.items() if names}
