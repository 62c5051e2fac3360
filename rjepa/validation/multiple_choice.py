"""Which option does an answer choose? A letter in any of its usual spellings, or an option's own text.

    read_choice("The answer is (B).", ["Rome", "Paris"])   # "B"
    read_choice("paris", ["Rome", "Paris"])                # "B"

An answer that names two options, or a letter with another option's text, chooses none.
"""

import re
from collections.abc import Sequence
from string import ascii_uppercase

from rjepa.validation.answers import answers_match
from rjepa.validation.spelling import plain

_MAX_ANSWER = 2000
_LEAD = re.compile(
    r"^(?:so|thus|therefore|hence)?[\s,]*(?:the\s+)?(?:(?:correct|right|best|final)\s+)?"
    r"(?:answer|option|choice)(?:\s+is)?(?:\s+(?:option|choice))?\s*[:=]?\s*",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"^(?P<open>[(\[])?(?P<letter>[A-Za-z])(?P<mark>[)\].:]+)?(?:\s+|$|(?<=[)\].:]))(?P<text>.*)$", re.DOTALL
)
_OTHER_LABEL = re.compile(r"(?:^|\s)[(\[]?([A-Z])[)\].:]+(?=\s|$)")
_JOINED = re.compile(r"^[(\[]?[A-Za-z][)\].:]{0,2}\s*(?:,|/|or\b|and\b|&)\s*[(\[]?[A-Za-z][)\].:]{0,2}$", re.IGNORECASE)


def read_choice(answer: str, choices: Sequence[str]) -> str | None:
    """The letter (`A` is the first option) that an answer chooses, None where it chooses none or more than one.

    Where an option's text is itself a letter, the letter of the label is meant.
    """
    if len(answer) > _MAX_ANSWER:
        return None
    said = _undressed(answer)
    if _JOINED.match(said):
        return None
    label = _LABEL.match(said)
    index = ascii_uppercase.find(label["letter"].upper()) if label else -1
    if label is None or index >= len(choices):
        return _by_text(said, choices)
    letter, rest, marked = ascii_uppercase[index], label["text"].strip(), bool(label["open"] or label["mark"])
    if not rest or _same_text(rest, choices[index]):
        return letter
    if not marked or _by_text(said, choices) is not None:
        return _by_text(said, choices)
    others = {name for name in _OTHER_LABEL.findall(rest) if name != letter}
    return None if others or any(_same_text(rest, choice) for choice in choices) else letter


def check_choice(gold: str, choices: Sequence[str], answer: str) -> str:
    """Judge an answer against the gold one, which is a letter or an option's text.

    Returns: `ok`, `wrong_choice`, `unreadable_choice` or `broken_gold` (the gold answer names no option).
    """
    expected = read_choice(gold, choices)
    if expected is None:
        return "broken_gold"
    found = read_choice(answer, choices)
    if found is None:
        return "unreadable_choice"
    return "ok" if found == expected else "wrong_choice"


def _undressed(answer: str) -> str:
    """Without the sentence, the emphasis and the LaTeX around it."""
    text = plain(" ".join(answer.replace("**", " ").replace("`", " ").split()))
    text = _LEAD.sub("", text, count=1).strip()
    return plain(text).strip(" .").lstrip(":- ")


def _by_text(said: str, choices: Sequence[str]) -> str | None:
    found = [letter for letter, choice in zip(ascii_uppercase, choices, strict=False) if _same_text(said, choice)]
    return found[0] if len(found) == 1 else None


def _same_text(said: str, choice: str) -> bool:
    return answers_match(_undressed(choice), said.rstrip("."))
