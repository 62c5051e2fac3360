"""The bases of this project's plain values. Which values there are is each room's own business."""

from collections.abc import Iterator
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict

_SAYS_NOTHING: Final[tuple[Any, ...]] = (None, "", [], {})
"""What a client's library sends for a field that nobody set."""


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half a character (a lone surrogate)") from None
    return text


Words = Annotated[str, AfterValidator(_encodable)]
"""Text that can be written as UTF-8: JSON can hold halves of characters, which no tokenizer or file takes."""


class FrozenValue(BaseModel):
    """An immutable value without unknown fields, and without NaN or infinity, which JSON cannot hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class LenientValue(BaseModel):
    """An immutable value as someone else's library sends it: unknown fields are let in, and can be listed."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    def unknown(self) -> Iterator[str]:
        """Names of the fields that nobody reads, of the values inside too (`messages.name`). Empty ones say nothing."""
        for name, value in (self.model_extra or {}).items():
            if not any(value is empty or value == empty for empty in _SAYS_NOTHING):
                yield name
        for name in type(self).model_fields:
            for inner in _values(getattr(self, name)):
                yield from (f"{name}.{one}" for one in inner.unknown())


def _values(value: Any) -> Iterator[LenientValue]:
    if isinstance(value, LenientValue):
        yield value
    elif isinstance(value, list | tuple):
        yield from (one for one in value if isinstance(one, LenientValue))
