"""What an endpoint says where it does not answer, and which part of a request it does not take. Pure functions.

Providers agree on little: an error comes as an object, a string or a list, with a status of its own or with 200.
Whether it says that a quota is used up is `quotas`' matter; what is done about all this, `transport`'s and `client`'s.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

_LONGEST_WORDS: Final = 300
_DEEPEST: Final = 6
"""Levels of an error body that are searched for words: gateways wrap the errors of providers into their own."""
_WORD_FIELDS: Final = (
    "error", "message", "msg", "detail", "details", "errors", "error_msg", "error_message", "error_description",
    "metadata", "raw", "base_resp", "status_msg",
    "reason", "title", "description", "promptfeedback", "blockreason", "code", "type",
)  # fmt: skip
_CODE_FIELDS: Final = ("code", "type", "reason")
"""Words only where nothing else says any."""
_TAG: Final = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class HiddenError:
    """An error that came with a status of success."""

    status: int
    """The status that it should have had: it decides whether the call is tried again."""
    reason: str
    is_doubtful: bool
    """Whether a model may have worked, and been billed, all the same."""


def words_of(body: str) -> str:
    """What an error's body says to people, in one line; empty where it says nothing."""
    try:
        found = _words(json.loads(body), 0)
    except (ValueError, RecursionError):
        found = [_TAG.sub(" ", body)]
    lines = dict.fromkeys(" ".join(one.split()) for one in found)
    return "; ".join(one for one in lines if one)[:_LONGEST_WORDS]


def _words(value: Any, depth: int) -> list[str]:
    if isinstance(value, str):
        return [value]
    if depth == _DEEPEST:
        return []
    if isinstance(value, list):
        return [word for one in value for word in _words(one, depth + 1)]
    if not isinstance(value, dict):
        return []
    known = {str(name).lower(): inner for name, inner in value.items() if inner}
    fields = [name for name in _WORD_FIELDS if name in known]
    sentences = [word for name in fields if name not in _CODE_FIELDS for word in _words(known[name], depth + 1)]
    return sentences or [word for name in fields for word in _words(known[name], depth + 1)]


def hidden_error(body: str) -> HiddenError | None:
    """What is wrong with a body that came with a status of success; None where it holds an answer."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return HiddenError(502, "not_a_completion", is_doubtful=True)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]  # as Google's endpoint wraps its errors
    if not isinstance(value, dict):
        return HiddenError(502, "not_a_completion", is_doubtful=True)
    choices = value.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    has_text = isinstance(choice.get("message"), dict) or isinstance(choice.get("text"), str)
    error = value.get("error") or choice.get("error")
    if has_text and not error and choice.get("finish_reason") != "error":
        return None
    status = _status_of(error if isinstance(error, dict) else value, words_of(json.dumps(error) if error else body))
    worked = has_text or bool(value.get("usage"))
    if status is None and not error and value.get("object") != "error":
        return HiddenError(502, "not_a_completion", is_doubtful=True)
    return HiddenError(status or 502, f"http_{status}" if status else "error_in_answer", is_doubtful=worked)


def _status_of(error: dict[str, Any], words: str) -> int | None:
    """The status that an error should have had, from its code, its type or its words; None where nothing tells."""
    for name in ("code", "status", "status_code", "statusCode", "http_status"):
        code = str(error.get(name))
        if code.isdecimal() and 400 <= int(code) < 600:
            return int(code)
    text = " ".join([words, *(str(error.get(name)) for name in ("code", "type", "status"))]).lower()
    return next((status for pattern, status in _STATUS_WORDS if re.search(pattern, text)), None)


_STATUS_WORDS: Final = (
    (r"rate.?limit|too many requests|throttl|resource_exhausted|\bqps\b|request limit", 429),
    (r"overloaded|unavailable|busy|capacity|time.?out|timed out|try again", 503),
    (r"invalid.api.key|incorrect api key|authentication|unauthori[sz]ed|unauthenticated", 401),
    (r"permission_?.?denied|forbidden", 403),
    (r"invalid_request|invalid_argument|bad.?request|unsupported_(?:parameter|value)|unsupported parameter", 400),
)


def refused_field(status: int, body: str, fields: Iterable[str]) -> str | None:
    """The one of the request's `fields` that the endpoint does not take; None where it names none of them."""
    if status < 400 or status in (401, 402, 403, 408, 429):
        return None
    fields = [field for field in fields if not ("max_" in field and _TOO_LARGE.search(body))]
    named = _named_parameters(body)
    for field in fields:
        if any(re.match(rf"{re.escape(field)}\b", one) for one in named):
            return field
    text = words_of(body) + " " + body[:_READ]
    if _NO_ENDPOINT.search(text):
        return next((field for field in fields if re.search(rf"\b{re.escape(field)}\b", text)), None)
    for field in fields:
        names = "|".join([re.escape(field), *_OTHER_NAMES.get(field, ())])
        for place in re.finditer(rf"(?<![\w-])(?:{names})(?![\w-])", text, re.IGNORECASE):
            if _NOT_TAKEN.search(text[max(place.start() - _NEARBY, 0) : place.end() + _NEARBY]):
                return field
    return None


def _named_parameters(body: str) -> list[str]:
    """Names that an error gives in a field for that: OpenAI's `param`, the `loc` of pydantic's list of errors."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return []
    found: list[str] = []

    def search(node: Any, depth: int) -> None:
        if depth == _DEEPEST:
            return
        if isinstance(node, list):
            for one in node:
                search(one, depth + 1)
        elif isinstance(node, dict):
            for name, inner in node.items():
                if name in ("param", "parameter", "field", "unsupported_parameter") and isinstance(inner, str):
                    found.append(inner.removeprefix("body."))
                elif name == "loc" and isinstance(inner, list):
                    found.extend(str(one) for one in inner if one != "body")
                else:
                    search(inner, depth + 1)

    search(value, 0)
    return found


_READ: Final = 4000
"""Characters of an error's body that are searched for names."""
_NEARBY: Final = 120
"""Characters on either side of a field's name in which the words stand that refuse it: about a sentence."""
_OTHER_NAMES: Final = {
    "response_format": ("json_schema", "json_object", "json mode", "structured outputs?", "response format", "guided"),
    "max_tokens": ("max tokens",),
}
_TOO_LARGE: Final = re.compile(
    r"too large|too high|less than or equal|above (?:the )?maximum|at most|<= ?\d|maximum (?:value|allowed)|exceeds",
    re.IGNORECASE,
)
"""Words of an error that refuses the value of a limit (`max_tokens`) and not the field."""
_NO_ENDPOINT: Final = re.compile(r"no endpoints? (?:found|available)[^.]{0,60}parameters?", re.IGNORECASE)
"""Words of a router that has no provider for some field of the request."""
_NOT_TAKEN: Final = re.compile(
    r"unsupported|(?:not|n't|no longer) (?:\w+ ){0,2}(?:support|allow|permit|accept|recogni|avail|valid|compat)"
    r"|cannot|can not|unrecogni|unknown|unexpected|invalid|deprecated|\bextra\b|forbidden|(?:must|should) (?:be|not)"
    r"|only (?:be|the default|default|available|\d)|\bunavailable\b|(?:enabled|available|supported) only"
    r"|fixed|incompatible|removed|\buse '?max_|doesn't take|not one of|no such",
    re.IGNORECASE,
)
