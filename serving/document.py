"""The OpenAPI document: what FastAPI writes, without the replies that this service never gives."""

from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI

VERSION: Final = version("rjepa")
"""The service's version, as pyproject.toml has it."""


class DocumentedApp(FastAPI):
    """An app whose document has no 422: a body that does not fit is a 400 here, as at OpenAI."""

    def openapi(self) -> dict[str, Any]:
        """The document; the first call writes it."""
        value = super().openapi()
        for path in value["paths"].values():
            for operation in path.values():
                operation.get("responses", {}).pop("422", None)
        return value
