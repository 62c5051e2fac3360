"""Answers that a client may name in `previous_response_id`, read again or delete: bounded, and in memory.

In memory because they hold what was asked and answered, in words: nothing of that is written to a disk unless its
owner consents. A restart forgets them, and the error then says what to send in place of the id.
"""

import json
import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

from rjepa.reasoning.question import InvalidQuestionError, Message
from serving.errors import GoneError

MAX_BYTES: Final = 64 * 2**20
"""Of all stored answers. One with 64 candidates has about 200 KB, one without has 2 KB."""


_ITEM: Final = re.compile(r"msg_([0-9a-f]{1,64})(?:_([0-9]{1,4}))?")
"""The id of an item: that of its response, and the place of a message that the response answers (`item_id`)."""


@dataclass(frozen=True)
class StoredResponse:
    """One answer. `messages` is the conversation up to it, without its instructions."""

    owner: str
    body: dict[str, Any]
    messages: tuple[Message, ...]
    answer: tuple[Message, ...]
    size: int


class ResponseStore:
    """The newest answers of everyone; each is seen by its owner alone. The oldest goes where there is no more room."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, StoredResponse] = OrderedDict()
        self._bytes = 0

    def add(self, owner: str, body: dict[str, Any], messages: tuple[Message, ...], text: str) -> None:
        """Keep an answer under its id: its body, the conversation before it, and its text."""
        answer = (Message(role="assistant", content=text),) if text else ()
        size = len(json.dumps(body)) + sum(len(message.content) for message in (*messages, *answer))
        self._kept[body["id"]] = StoredResponse(owner, body, messages, answer, size)
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def get(self, owner: str, response_id: str) -> StoredResponse:
        """The answer with that id.

        Raises:
            GoneError: it is not kept, or is someone else's.
        """
        found = self._kept.get(response_id)
        if found is None or found.owner != owner:
            raise GoneError(
                f"there is no stored response {response_id[:80]!r}",
                cure="answers are kept in memory, until the service restarts or newer ones take their room; "
                "send the earlier messages as input",
            )
        return found

    def delete(self, owner: str, response_id: str) -> None:
        """Forget an answer.

        Raises:
            GoneError: as `get`.
        """
        self.get(owner, response_id)
        self._drop(response_id)

    def _drop(self, response_id: str) -> None:
        self._bytes -= self._kept.pop(response_id).size

    def message(self, owner: str, item_id: str) -> Message:
        """The message that is an item of a stored answer: what was answered, or one of those that it answers.

        Raises:
            InvalidQuestionError: there is no such item.
        """
        named = _ITEM.fullmatch(item_id)
        found = self._kept.get(f"resp_{named[1]}") if named else None
        if named and found and found.owner == owner:
            messages = found.answer if named[2] is None else found.messages
            place = int(named[2] or 0)
            if place < len(messages):
                return messages[place]
        raise InvalidQuestionError(
            f"there is no stored item {item_id[:80]!r}", cure="send the message itself as input", field="input"
        )

    def conversation(self, owner: str, previous_id: str | None) -> tuple[Message, ...]:
        """The messages that an answer to `previous_id` goes on from; none without an id.

        Raises:
            InvalidQuestionError: there is no such answer.
        """
        if previous_id is None:
            return ()
        try:
            found = self.get(owner, previous_id)
        except GoneError as error:
            raise InvalidQuestionError(error.problem, cure=error.cure, field="previous_response_id") from error
        return (*found.messages, *found.answer)
