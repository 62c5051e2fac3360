"""LoRAs of a student whose chains a vLLM server writes: they are loaded there, by vLLM's own routes.

`POST /v1/load_lora_adapter` takes a name and a path on the server's own disk, `POST /v1/unload_lora_adapter` the name;
both answer in words, or with an error as JSON, and are there only where the server was started with `--enable-lora` and
`VLLM_ALLOW_RUNTIME_LORA_UPDATING=True`. From then on the name is a model of the server. As read in vLLM's source,
vllm/entrypoints/openai/models/serving.py, and asked of vLLM 0.32 (tests/sampling/test_vllm.py).
"""

from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from rjepa.addresses import find_refused
from rjepa.errors import RjepaError
from rjepa.students.catalog import StudentRecord

_SECONDS: Final = 120.0
"""A server reads some hundred MB from its disk and onto its GPU meanwhile."""
_LONGEST: Final = 300
"""Letters of a server's own words that an error repeats."""
_LOADED_ALREADY: Final = "already been loaded"
_ALLOW: Final = "start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"


class EndpointLoraError(RjepaError):
    """The server behind a student's endpoint does not do with a LoRA what it was asked to."""


class EndpointLoras:
    """The LoRAs of one server."""

    def __init__(self, record: StudentRecord, key: str | None = None) -> None:
        """record: of the base, with its endpoint. key: what the server wants as a bearer token."""
        if record.endpoint is None:
            raise ValueError(f"{record.llm_tag} has no endpoint")
        self._tag, self._url = record.llm_tag, record.endpoint.rstrip("/")
        self._headers = {} if key is None else {"authorization": f"Bearer {key}"}

    def load(self, name: str, path: str) -> None:
        """Let the server read a LoRA from its disk and serve it as `name`. One that it has by this name stays.

        Raises:
            EndpointLoraError: it does not answer, has no such route, or refuses the LoRA.
        """
        status, words = self._post("load_lora_adapter", {"lora_name": name, "lora_path": path})
        if status == HTTPStatus.OK or (status == HTTPStatus.BAD_REQUEST and _LOADED_ALREADY in words):
            return
        self._refuse(status, words, f"does not load the LoRA {name} from {path}")

    def unload(self, name: str) -> None:
        """Let the server forget a LoRA; nothing happens where it has none of this name.

        Raises:
            EndpointLoraError: it does not answer, or refuses.
        """
        status, words = self._post("unload_lora_adapter", {"lora_name": name})
        if status == HTTPStatus.OK or (status == HTTPStatus.NOT_FOUND and name in words):
            return
        self._refuse(status, words, f"does not unload the LoRA {name}")

    def served(self) -> frozenset[str]:
        """The names of all models of the server, LoRAs among them.

        Raises:
            EndpointLoraError: it does not answer, or not with a list of models.
        """
        reply = self._send("GET", "models")
        try:
            return frozenset(str(model["id"]) for model in reply.json()["data"])
        except (ValueError, KeyError, TypeError) as error:
            raise EndpointLoraError(
                f"the endpoint {self._url} of {self._tag} lists no models ({reply.status_code})",
                cure="check the endpoint's address and key",
            ) from error

    def _post(self, verb: str, body: dict[str, str]) -> tuple[int, str]:
        reply = self._send("POST", verb, json=body)
        return reply.status_code, _words(reply)

    def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        place = urlsplit(self._url)
        try:
            refused = find_refused(place.hostname or "", place.port or 443)
            if refused is not None:
                raise EndpointLoraError(
                    f"the endpoint {self._url} of {self._tag} leads to {refused}, a cloud metadata address",
                    cure="give the address of the server itself: rjepa llm add TAG ... --endpoint URL",
                )
            # trust_env: neither a proxy nor a password of this machine's environment has business there.
            return httpx.request(
                method,
                f"{self._url}/{path}",
                headers=self._headers,
                timeout=_SECONDS,
                follow_redirects=False,
                trust_env=False,
                **more,
            )
        except (httpx.HTTPError, OSError) as error:
            raise EndpointLoraError(
                f"the endpoint {self._url} of {self._tag} does not answer ({type(error).__name__})",
                cure="start the server, or give its address again: rjepa llm add TAG ... --endpoint URL",
            ) from None

    def _refuse(self, status: int, words: str, what: str) -> None:
        cure = "see the server's own words; GET /v1/lora shows what is served"
        if status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED) and "dapter" not in words:
            cure = _ALLOW
        elif status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            cure = "set the key that the endpoint wants"
        elif status == HTTPStatus.NOT_FOUND:
            cure = "let the server see the home's loras/ folder, and say where: RJEPA_ENDPOINT_LORAS"
        raise EndpointLoraError(f"the endpoint {self._url} of {self._tag} {what} ({status}: {words})", cure=cure)


def _words(reply: httpx.Response) -> str:
    """What the server says: an error's message in either of vLLM's shapes, or the text itself."""
    try:
        value = reply.json()
    except ValueError:
        value = None
    if isinstance(value, dict):
        inner = value.get("error")
        value = inner.get("message") if isinstance(inner, dict) else value.get("message")
    text = value if isinstance(value, str) else reply.text
    return " ".join(text.split())[:_LONGEST]
