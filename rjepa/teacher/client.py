"""One endpoint: the openai client with its own retries over a guarded transport, without redirects, proxies or .netrc.

What a call costs, and whether it was made before, is decided in `calls`; what one attempt may do, in `transport`.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import httpx2
import openai

from rjepa.errors import RjepaError
from rjepa.teacher.limits import RateLimits, Turn
from rjepa.teacher.settings import Teacher
from rjepa.teacher.transport import TURN, GuardedTransport, RefusedAddressError

_CONNECT_SECONDS: Final = 10.0
_SHORTEST_SECRET: Final = 6
"""A key shorter than that ("none", "x") is no secret, and may be a word of an ordinary answer."""
_LONGEST_DETAIL: Final = 300


class TeacherError(RjepaError):
    """An endpoint cannot be used: its address, its key or its model is refused."""


class CallError(Exception):
    """One call came to nothing. `reason` is machine readable; `final` means that no other call will do better."""

    def __init__(self, reason: str, detail: str = "", *, final: bool = False) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail, self.final = reason, detail, final


@dataclass(frozen=True)
class Reply:
    """What an endpoint answered. Token counts are as it claims, None where it claims nothing sensible."""

    text: str
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    at: datetime | None = None


class Endpoint:
    """An open connection pool to one teacher. Close it with `aclose`."""

    def __init__(self, teacher: Teacher, limits: RateLimits | None = None) -> None:
        self.teacher = teacher
        self.limits = limits or RateLimits(teacher.rpm, teacher.tpm, 2 * teacher.max_tokens)
        self._http = httpx2.AsyncClient(
            transport=GuardedTransport(self.limits, teacher),
            timeout=httpx2.Timeout(teacher.timeout, connect=min(_CONNECT_SECONDS, teacher.timeout), pool=None),
            follow_redirects=False,
            trust_env=False,  # neither a proxy nor a .netrc of this machine gets to see a key
            headers={"Accept-Encoding": "identity"},
        )
        self._client = openai.AsyncOpenAI(
            api_key=teacher.secret or "none",
            base_url=teacher.base_url,
            max_retries=teacher.max_retries,
            http_client=self._http,
        )
        # The openai client reads these from the environment; they are OpenAI's and nobody else's business.
        self._client.organization = self._client.project = None

    async def ask(self, body: dict[str, Any], key: str, turn: Turn, path: str = "/chat/completions") -> str:
        """POST a chat completion, or what else lies at `path`; returns the answer's body, without the API key.

        The idempotency key lets an endpoint that knows such keys see that a call is the same after a kill.

        Raises:
            CallError: no answer.
        """
        TURN.set(turn)
        try:
            response = await self._client.post(
                path,
                cast_to=httpx2.Response,
                body=body,
                options={"headers": {"Idempotency-Key": key}},
            )
        except openai.APIError as error:
            raise self._call_error(error) from None
        return self.redact(response.text)

    async def models(self) -> list[str] | None:
        """Names of the models that the endpoint serves; None where it does not say.

        Raises:
            CallError: it cannot be reached, or refuses the key.
        """
        TURN.set(Turn(0))
        try:
            response = await self._client.get("/models", cast_to=httpx2.Response)
            listed = json.loads(response.text)["data"]
            return [self.redact(str(one["id"])) for one in listed]
        except (openai.NotFoundError, ValueError, KeyError, TypeError):
            return None
        except openai.APIError as error:
            raise self._call_error(error) from None

    def redact(self, text: str) -> str:
        """Text without the API key: some servers repeat it in their errors."""
        secret = self.teacher.secret
        return text.replace(secret, "[key]") if secret and len(secret) >= _SHORTEST_SECRET else text

    async def aclose(self) -> None:
        await self._http.aclose()

    def _call_error(self, error: openai.APIError) -> CallError:
        if isinstance(error, openai.APITimeoutError):
            return CallError("timeout", f"no whole answer in {self.teacher.timeout:g} s")
        if isinstance(error, openai.APIStatusError):
            status = error.status_code
            detail = self.redact(error.response.text)[:_LONGEST_DETAIL]
            return CallError(f"http_{status}", detail, final=status in (401, 403, 404) or 300 <= status < 400)
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, RefusedAddressError):
                return CallError("metadata_address", str(cause), final=True)
            cause = cause.__cause__
        return CallError("connection", self.redact(str(error.__cause__ or error))[:_LONGEST_DETAIL])


def read_completion(text: str) -> Reply:
    """Text and claimed usage of a chat completion's body.

    Raises:
        CallError: it is no chat completion.
    """
    try:
        body = json.loads(text)
        choice = body["choices"][0]
        content = choice["message"]["content"]
        if not isinstance(content, str):
            raise TypeError("content is no text")
        content = content.encode("utf-8", "replace").decode()  # half a surrogate pair can be neither sent nor stored
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise CallError("not_a_completion", f"{type(error).__name__}: {error}"[:_LONGEST_DETAIL]) from None
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    finish = choice.get("finish_reason")
    return Reply(
        content,
        finish if isinstance(finish, str) else None,
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
    )


def _count(claimed: object) -> int | None:
    return claimed if isinstance(claimed, int) and not isinstance(claimed, bool) and claimed >= 0 else None
