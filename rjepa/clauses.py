"""Where sentences, connected clauses and paragraphs of free text begin: one function a mode, text in, offsets out.

What is a step and what an answer line is decided in `rjepa.chains`. Blanks on a line go with the word after them, as
they do in the tokens of most LLMs (" So" is one token), and line ends with the line they end.
"""

import re
from collections.abc import Callable
from typing import Final

MAX_PARAGRAPH: Final = 600
"""Characters; a longer paragraph is cut between its sentences. About 150 tokens, some times a numbered step."""

_SENTENCE: Final = re.compile(r"""[.?!]["')\]]*(?=\s)|[。！？]["'」』）]*|\n""")
_ABBREVIATION: Final = re.compile(
    r"(?:\b(?:e\.g|i\.e|cf|vs|etc|approx|resp|Mr|Mrs|Ms|Dr|Prof|No|Nr|Fig|Eq)|^[ \t]*(?:\d{1,3}|[A-Za-z]))\.$",
    re.MULTILINE,
)
"""Stops that end no sentence: after an abbreviation, or after the number or letter of a list's item."""

_NEARBY: Final = 64
"""Characters before a stop that are looked at: a line may be as long as its text."""

INFERENCES: Final = ("so", "thus", "hence", "therefore", "consequently", "accordingly", "because", "since")
"""Connectives that say that something follows."""

_SEQUENCES: Final = ("then", "next", "after that", "finally", "lastly", "now")
_CONNECTIVE: Final = re.compile(
    r"(?:^|(?<=[.?!;:,]))[ \t]*(?:(?:and|but)[ \t]+)?"
    rf"(?:{'|'.join([*INFERENCES, *_SEQUENCES])})"
    r"(?![-\w])",
    re.IGNORECASE | re.MULTILINE,
)
_BLANK_LINES: Final = re.compile(r"\n[ \t\r]*\n\s*?(?=[ \t]*\S)")


def sentence_starts(text: str) -> list[int]:
    """Where sentences and lines begin."""
    starts = [0]
    for match in _SENTENCE.finditer(text):
        near = max(match.end() - _NEARBY, 0)
        line = text.rfind("\n", near, match.start()) + 1
        before = text[line or near : match.end()] if line or not near else f"\0{text[near : match.end()]}"
        if match.group() == "\n" or not _ABBREVIATION.search(before):
            starts.append(match.end())
    return starts


def connective_starts(text: str) -> list[int]:
    """Where clauses begin that open with a connective: so, then, therefore, because, next, finally and their like."""
    return [0, *(match.start() for match in _CONNECTIVE.finditer(text))]


def paragraph_starts(text: str) -> list[int]:
    """Where paragraphs begin, and the parts of those longer than `MAX_PARAGRAPH`."""
    last = len(text.rstrip())  # blank lines at the end begin nothing
    starts = [0, *(match.end() for match in _BLANK_LINES.finditer(text, 0, last))]
    return [cut for start, end in zip(starts, [*starts[1:], len(text)], strict=True) for cut in _cuts(text, start, end)]


STARTS: Final[dict[str, Callable[[str], list[int]]]] = {
    "punctuation": sentence_starts,
    "connectives": connective_starts,
    "paragraph": paragraph_starts,
}
"""By the mode's name. A start may be named twice, or stand before blanks alone: the caller joins those."""


def _cuts(text: str, start: int, end: int) -> list[int]:
    """The start of a paragraph and of its parts: as many whole sentences as fit, failing which, words, failing which,
    characters.
    """
    cuts = [start]
    sentences = [start + offset for offset in sentence_starts(text[start:end])]
    while (limit := _first_word(text, cuts[-1], end) + MAX_PARAGRAPH) < end:
        first = cuts[-1]
        fitting = [offset for offset in sentences if first < offset <= limit]
        words = [offset for offset in range(limit, first, -1) if text[offset].isspace()] if not fitting else []
        cuts.append(fitting[-1] if fitting else words[0] if words else limit)
    return cuts


def _first_word(text: str, start: int, end: int) -> int:
    """Where a part says something: blanks before it, which some tokenizers add to a text's beginning, do not count."""
    return start + len(text[start:end]) - len(text[start:end].lstrip())
