"""One endpoint: the openai client with its own retries over a guarded transport, without redirects, proxies or .netrc.

What a call costs, and whether it was made before, is decided in `calls`; what one attempt may do, in `transport`.
"""

import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any, Final

import httpx2
import openai

from rjepa.teacher.errors import CallError
from rjepa.teacher.limits import CallUsage, RateLimits
from rjepa.teacher.quotas import LONGEST_WAIT_SECONDS, is_used_up
from rjepa.teacher.refusals import refused_field, words_of
from rjepa.teacher.settings import Teacher
from rjepa.teacher.transport import HIDDEN_REASON, USAGE, GuardedTransport, RefusedAddressError, body_text, wait_of

_CONNECT_SECONDS: Final = 10.0
_SHORTEST_SECRET: Final = 6
"""A key shorter than that ("none", "x") is no secret, and may be a word of an ordinary answer."""
_LONGEST_DETAIL: Final = 300
_TOKEN_LIMITS: Final = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
"""A limit has to be in every request, or a budget means nothing: it is sent under its other name, not left out."""
_FINAL: Final = (401, 402, 403, 404)


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
        self._changes: dict[str, str | None] = {}
        """Fields that this endpoint was found not to take, and the names that it wants instead, if any."""
        # The openai client reads these from the environment; they belong to OpenAI and go to no other server.
        self._client.organization = self._client.project = None

    async def ask(
        self,
        body: dict[str, Any],
        key: str,
        usage: CallUsage,
        path: str = "/chat/completions",
        optional: tuple[str, ...] = (),
    ) -> str:
        """POST a chat completion, or what else lies at `path`; returns the answer's body, without the API key.

        Fields named in `optional` are left out once the endpoint refused them, from this call and from all later ones;
        so is the name of the token limit exchanged. The idempotency key lets an endpoint that knows such keys see that
        a call is the same after a kill.

        Raises:
            CallError: no answer.
        """
        changes: dict[str, str | None] = {}
        while True:
            sent = _changed(body, self._changes | changes)
            try:
                answer = await self._post(path, sent, _key_of(key, body, sent), usage)
            except openai.APIStatusError as error:
                field = self._refused(error, sent, optional)
                if field is None or _TOKEN_LIMITS.get(field, field) in self._changes | changes:
                    raise self._call_error(error) from None
                changes[field] = _TOKEN_LIMITS.get(field)
            except openai.APIError as error:
                raise self._call_error(error) from None
            else:
                self._changes |= changes
                return answer

    async def stream(self, body: dict[str, Any], path: str, usage: CallUsage) -> AsyncGenerator[dict[str, Any], None]:
        """POST what lies at `path` with `stream`, and yield the chunks of its answer as they come. Closing the iterator
        hangs up.

        Raises:
            CallError: no answer, an answer that is no stream, or one that breaks off.
        """
        USAGE.set(replace(usage, streams=True))
        try:
            chunks = await self._client.post(
                path,
                cast_to=object,
                body=_changed(body, self._changes) | {"stream": True},
                stream=True,
                stream_cls=openai.AsyncStream[object],
            )
            async with chunks:
                if not chunks.response.headers.get("content-type", "").startswith("text/event-stream"):
                    raise CallError("not_a_stream", "the answer came whole")
                async for chunk in chunks:
                    if isinstance(chunk, dict):
                        yield chunk
        except openai.APIError as error:
            raise self._call_error(error) from None
        except (httpx2.HTTPError, ValueError) as error:
            raise CallError("broken_off", self.redact(str(error))[:_LONGEST_DETAIL]) from None

    async def models(self) -> list[str] | None:
        """Names of the models that the endpoint serves; None where it does not say.

        Raises:
            CallError: it cannot be reached, or refuses the key.
        """
        USAGE.set(CallUsage(0))
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
        """Close every connection."""
        await self._http.aclose()

    async def _post(self, path: str, body: dict[str, Any], key: str, usage: CallUsage) -> str:
        USAGE.set(usage)
        response = await self._client.post(
            path, cast_to=httpx2.Response, body=body, options={"headers": {"Idempotency-Key": key}}
        )
        return self.redact(body_text(response))

    def _refused(self, error: openai.APIStatusError, sent: dict[str, Any], optional: tuple[str, ...]) -> str | None:
        """The field of a request that an error refuses and that can be done without, or under another name."""
        text = body_text(error.response)
        if is_used_up(error.status_code, text, wait_of(error.response)):
            return None
        return refused_field(error.status_code, text, [name for name in sent if name in (*optional, *_TOKEN_LIMITS)])

    def _call_error(self, error: openai.APIError) -> CallError:
        if isinstance(error, openai.APITimeoutError):
            return CallError("timeout", f"no whole answer in {self.teacher.timeout:g} s")
        if isinstance(error, openai.APIStatusError):
            return self._status_error(error.response)
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, RefusedAddressError):
                return CallError("metadata_address", str(cause), final=True)
            cause = cause.__cause__
        return CallError("connection", self.redact(str(error.__cause__ or error))[:_LONGEST_DETAIL])

    def _status_error(self, response: httpx2.Response) -> CallError:
        status, text, wait = response.status_code, body_text(response), wait_of(response)
        words = words_of(text) or text.strip() or ("the answer is empty" if HIDDEN_REASON in response.headers else "")
        detail = self.redact(words)[:_LONGEST_DETAIL]
        if is_used_up(status, text, wait):
            return CallError("quota_used_up", detail or f"status {status}", final=True)
        reason = response.headers.get(HIDDEN_REASON, f"http_{status}")
        if wait is not None and wait > LONGEST_WAIT_SECONDS:
            return CallError(reason, f"{detail} (asks to wait {wait:.0f} s)".strip(), final=True)
        return CallError(reason, detail, final=status in _FINAL or 300 <= status < 400)


def _changed(body: dict[str, Any], changes: dict[str, str | None]) -> dict[str, Any]:
    """A request's body without the fields that are refused, or with other names for them."""
    names = {name: changes.get(name, name) for name in body}
    return {new: body[old] for old, new in names.items() if new is not None}


def _key_of(key: str, body: dict[str, Any], sent: dict[str, Any]) -> str:
    """The idempotency key of a request: one that is changed is another request to those who know such keys."""
    missing = sorted(set(body) - set(sent))
    return "-without-".join([key, *missing])
