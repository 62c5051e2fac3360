"""Which tokens end what a student writes: gathered from every place where models say so, as they seldom agree.

Stopping at them belongs to `rjepa.students.generation`.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rjepa.students.templates import FAULTS, read_object

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_FILES: Final = ("generation_config.json", "config.json", "tokenizer_config.json", "special_tokens_map.json")
_KEYS: Final = ("eos_token_id", "eos_token_ids", "eos_token", "eos_tokens", "eot_token", "eot_token_id")
_WRITTEN: Final = "rjepa-writes-this"
"""Stands for what an assistant wrote, where a chat template is asked what follows it."""


def end_ids(folder: Path, tokenizer: "PreTrainedTokenizerBase", *, chat: bool, rows: int) -> frozenset[int]:
    """The ids that end a chain: those that any of a folder's files names, the tokenizer's own, and with `chat` the
    special token that the chat template puts after an assistant's message.

    Args:
        rows: size of the output head; ids beyond it can never be drawn and are left out.
    """
    named: set[int | str] = set()
    for name in _FILES:
        values = read_object(folder / name)
        for part in (values, values.get("text_config")):
            if isinstance(part, Mapping):
                named.update(token for key in _KEYS for token in _tokens(part.get(key)))
    ids = {token for token in named if isinstance(token, int)}
    vocabulary = tokenizer.get_vocab()
    ids |= {vocabulary[token] for token in named if isinstance(token, str) and token in vocabulary}
    if tokenizer.eos_token_id is not None:
        ids.add(int(tokenizer.eos_token_id))
    if chat and tokenizer.chat_template:
        ids |= _turn_end(tokenizer)
    return frozenset(index for index in ids if 0 <= index < rows)


def _tokens(value: Any) -> Iterable[int | str]:
    """Ids and texts of tokens, as JSON files hold them: one, a list, or an object with its text."""
    if isinstance(value, bool) or value is None:
        return ()
    if isinstance(value, int | str):
        return (value,)
    if isinstance(value, Mapping):
        return _tokens(value.get("content"))
    return [token for one in value for token in _tokens(one)] if isinstance(value, list) else ()


def _turn_end(tokenizer: "PreTrainedTokenizerBase") -> set[int]:
    """The special token right behind an assistant's message, if the template writes one. One that also opens messages
    is none.
    """
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _WRITTEN}]
    try:
        text = str(tokenizer.apply_chat_template(messages, tokenize=False))
    except FAULTS:  # rendering a prompt says what is wrong with it
        return set()
    _, found, after = text.partition(_WRITTEN)
    after = after.lstrip()
    special = {token.content: index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    ending = max((token for token in special if found and after.startswith(token)), key=len, default="")
    before = text.partition(_WRITTEN)[0].rstrip()
    return {special[ending]} if ending and not before.startswith(ending) else set()
