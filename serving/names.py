"""Names of models: `TAG`, `TAG:MODE`, `TAG@RELEASE`, `TAG@RELEASE:MODE`, `TAG+LORA`, `TAG+LORA:MODE`.

A name is all that many clients let their users choose, so that a mode and a release can be chosen by it. Lists and
routes stand in `serving.models`.
"""

import re
from dataclasses import dataclass
from typing import Final

from serving.errors import UnknownModelError

_FORM: Final = re.compile(r"(?P<tag>[^@:+]+)(?:@(?P<release>[^@:+]+)|\+(?P<lora>[^@:+]+))?(?::(?P<mode>[^@:+]+))?")


@dataclass(frozen=True)
class ModelName:
    """The parts of a model's name. `release` is None for the one that is current, `mode` where none is named, `lora`
    where the student is meant as it is.
    """

    tag: str
    release: str | None = None
    mode: str | None = None
    lora: str | None = None

    def __str__(self) -> str:
        release = "" if self.release is None else f"@{self.release}"
        lora = "" if self.lora is None else f"+{self.lora}"
        return f"{self.tag}{lora}{release}" + ("" if self.mode is None else f":{self.mode}")


def parse_name(name: str) -> ModelName:
    """The parts of a name. Whether there is such a model is not looked up.

    Raises:
        UnknownModelError: no model has a name of this form.
    """
    match = _FORM.fullmatch(name)
    if match is None:
        raise unknown_model(name)
    return ModelName(match["tag"], match["release"], match["mode"], match["lora"])


def unknown_model(name: object, served: str | None = None) -> UnknownModelError:
    """The error for a model that is not here; `served` is the tag of those that are."""
    known = "a model" if served is None else f"{served!r} or another name"
    return UnknownModelError(
        f"there is no model {str(name)[:100]!r} here", cure=f"use {known} that GET /v1/models lists"
    )
