"""Find the one JSON object in a reply: behind thinking, inside a fence, between sentences. Two that fit are none.

What its backslashes mean is `escapes`' matter, which fields it must have `replies`'.
"""

import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final, TypeVar

from rjepa.problems.files.lines import each_once
from rjepa.teacher.escapes import EscapeError, as_meant, string_end

Fitting = TypeVar("Fitting")

_OPENING: Final = re.compile(r'\{\s*["}]')
"""How an object begins; braces of LaTeX and of sets begin otherwise."""
_MAX_OPENINGS: Final = 50
"""Openings that are looked at: each is read to its end, and a reply may be nothing but openings."""
_NAMES: Final = (
    r"(?:think|thinking|thought|thoughts|reasoning|reason|reflection|analysis|scratchpad|seed:think|antthinking)"
)
_OPENS: Final = (
    rf"<\|?{_NAMES}\|?>|\[THINK\]|◁think▷|<\|(?:begin|start)_(?:of_)?(?:thought|thinking)\|>"
    r"|<\|channel\|>analysis(?:<\|message\|>)?"
)
_CLOSES: Final = (
    rf"</{_NAMES}>|<\|/{_NAMES}\|>|\[/THINK\]|◁/think▷|<\|end_(?:of_)?(?:thought|thinking)\|>"
    r"|<\|channel\|>final(?: [^<]*)?(?:<\|message\|>)?"
)
_LAST_COMMA: Final = re.compile(r",(\s*[\]}])")
_TAG: Final = re.compile(f"(?P<opens>{_OPENS})|{_CLOSES}", re.IGNORECASE)


class NoObjectError(ValueError):
    """A reply in which not exactly one object fits. `reason` is machine readable, the message for the teacher."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def split_thinking(text: str) -> tuple[str, str]:
    """Split a reply into the thought inside of tags and the text outside of them.

    A closing tag alone closes what came before it, as where the chat template opened it. Thinking that was never closed
    goes on to the end.
    """
    thought: list[str] = []
    spoken: list[str] = []
    place, thinks = 0, False
    for tag in _TAG.finditer(text):
        opens = tag["opens"] is not None
        if opens and not thinks:
            spoken.append(text[place : tag.start()])
            place, thinks = tag.start(), True
        elif not opens:
            thought += [*([] if thinks else spoken), text[place : tag.end()]]
            spoken = spoken if thinks else []
            place, thinks = tag.end(), False
    (thought if thinks else spoken).append(text[place:])
    return "".join(thought), "\n".join(spoken)


def one_object(text: str, fit: Callable[[dict[str, Any]], Fitting]) -> Fitting:
    """The object of a reply, as `fit` makes it. `fit` raises ValueError for one that is not what was asked for.

    Raises:
        NoObjectError: there is none (`not_json`), or several that fit (`several_objects`), or the only one has
            backslashes that can be read in two ways (`ambiguous_escape`).
        ValueError: the only object does not fit; it is the error of `fit`.
    """
    whole = text.strip()
    if _OPENING.match(whole) and _object_end(whole, 0) == len(whole):
        return fit(_parsed(whole))  # tags inside its strings are no thinking
    thought, answer = split_thinking(text)
    found = list(_objects(answer))
    if not found and thought:
        found = _last_of_unclosed(thought)
    return _the_one(found, fit)


def _the_one(found: list[str], fit: Callable[[dict[str, Any]], Fitting]) -> Fitting:
    if not found:
        raise NoObjectError("not_json", "the reply is not one JSON object")
    fitting: list[tuple[str, Fitting]] = []
    failed: ValueError | None = None
    for piece in found:
        try:
            fitting.append((piece, fit(_parsed(piece))))
        except ValueError as error:
            failed = error
    distinct = {json.dumps(_parsed(piece), sort_keys=True, default=str): value for piece, value in fitting}
    if len(distinct) > 1:
        raise NoObjectError(
            "several_objects", "the reply holds several JSON objects that fit: give one and nothing else"
        )
    if not distinct:
        raise failed or NoObjectError("not_json", "the reply is not one JSON object")
    return fitting[-1][1]


def _last_of_unclosed(thought: str) -> list[str]:
    """The object at the very end of thinking that was never closed: the answer, where nothing follows it."""
    found = list(_objects(thought))
    tail = thought.rstrip().removesuffix("```").rstrip() if found else ""
    return found[-1:] if found and tail.endswith(found[-1]) else []


def _objects(text: str) -> Iterator[str]:
    """Pieces of text from an opening brace to its closing one, outermost only."""
    place = 0
    for _ in range(_MAX_OPENINGS):
        opening = _OPENING.search(text, place)
        if opening is None:
            return
        end = _object_end(text, opening.start())
        if end is None:
            place = opening.start() + 1
        else:
            yield text[opening.start() : end]
            place = end


def _object_end(text: str, start: int) -> int | None:
    """The place after the brace that closes the one at `start`; None where nothing does."""
    depth, place = 0, start
    while place < len(text):
        sign = text[place]
        if sign == '"':
            end = string_end(text, place)
            if end is None:
                return None
            place = end
            continue
        depth += (sign in "{[") - (sign in "}]")
        place += 1
        if depth == 0:
            return place
    return None


def _parsed(piece: str) -> dict[str, Any]:
    try:
        value = json.loads(_without_last_commas(as_meant(piece)), object_pairs_hook=each_once, parse_float=Decimal)
    except EscapeError as error:
        raise NoObjectError("ambiguous_escape", str(error)) from None
    except (ValueError, RecursionError) as error:
        raise NoObjectError("not_json", f"the reply is not one JSON object ({str(error)[:200]})") from None
    if not isinstance(value, dict):
        raise NoObjectError("not_json", "the reply is JSON, but no object")
    return value


def _without_last_commas(text: str) -> str:
    """JSON without the commas behind the last part of a list or object, which JSON forbids and some models write."""
    if not _LAST_COMMA.search(text):
        return text
    parts, place = [], 0
    while (quote := text.find('"', place)) >= 0:
        end = string_end(text, quote) or len(text)
        parts += [_LAST_COMMA.sub(r"\1", text[place:quote]), text[quote:end]]
        place = end
    return "".join([*parts, _LAST_COMMA.sub(r"\1", text[place:])])
