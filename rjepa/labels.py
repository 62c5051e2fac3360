"""How LLMs write the label of a step, in every dress: bold, a heading, a list, other case; and which text is a draft.

Only what a label looks like is decided here. The line of an answer is in `rjepa.answer_lines`; how labels cut a chain
into segments is decided in `rjepa.chains`.
"""

import re
from dataclasses import dataclass
from typing import Final

MARKS: Final = r"[ \t]*(?:>[ \t]*){0,3}(?:(?:[-*+•]|\d{1,3}[.)])[ \t]+)?(?:[✅✔☑👉➡→▶►🔹🔸🔵📌🎯💡⭐]\ufe0f?[ \t]*)?"
"""What stands before a line's words: Markdown's quotes, a bullet or number, a sign that points at them."""
OPEN: Final = r"(?P<open>\*{1,3}|_{1,3}|`|\\textbf\{|<b>|<strong>)?"
CLOSE: Final = r"(?:(?P=open)|\}|</b>|</strong>)"
"""How bold, italics and LaTeX's bold begin, and end again."""

STEP_LABEL: Final = re.compile(
    rf"""^{MARKS}(?P<heading>\#{{1,6}}[ \t]*)?(?:\d{{1,3}}[.)][ \t]+)?{OPEN}(?P<bracket>[\[(])?
    (?:(?:step|schritt|étape|paso|passo|passaggio|шаг|步骤|步驟|ステップ|단계)[ \t\u00a0_-]*(?:\#|no\.)?
      |第(?=\d+[步歩]))[ \t]*
    (?:\d+[步歩]?|one|two|three|four|five|six|seven|eight|nine|ten|[ivx]{{1,4}}(?=[ \t]*[:：]))(?![\da-z])
    (?:[ \t]*(?:of|/)[ \t]*\d+)?
    (?(bracket)[\])])
    (?P<title>[ \t]*\([^()\n]{{1,80}}\))?
    (?(open)(?P<close>{CLOSE})?)
    (?:
        [ \t]*[:.：](?!\d+[ \t]*[:：])[ \t]*  # "Step 1.1:" is no label of the form "Step 1."
      | [ \t]*\)[ \t]+
      | [ \t]+(?:[-–—]|[-=]>|→)[ \t]+
      | [ \t]*(?=\r?\n)                       # the label has the line for itself
      | (?(title)(?!)|(?:(?<=[*_}}>\])])|(?(heading)|(?!))))[ \t]+  # a dress that ends is a separator
    )
    (?(close)|(?(open)(?P<late>{CLOSE})?))[ \t]*
    """,
    re.MULTILINE | re.IGNORECASE | re.VERBOSE,
)
"""How a numbered step begins. A plain `Step 1: ` is matched whole, with the blanks around it, and nothing more."""

ITEM: Final = re.compile(
    r"^(?P<dress>[ \t]*(?:\#{1,6}[ \t]*)?(?:\*\*)?\(?)(?P<number>\d{1,3})(?P<end>[.)](?:\*\*)?)[ \t]+(?=\S)",
    re.MULTILINE,
)
FENCE: Final = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n]*\n.*?(?:^[ \t]*\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_QUOTES: Final = "\"'`"
_THINKING: Final = re.compile(
    r"<(?P<end>/?)(?:seed:)?(?:think(?:ing)?|thought|reasoning|reflection|scratchpad)>|\[(?P<close>/?)THINK\]"
    r"|◁(?P<shut>/?)think▷|<\|(?:begin|(?P<over>end))_of_thought\|>"
    r"|<\|channel\|>(?:analysis|(?P<final>final)\b)",
    re.IGNORECASE,
)
"""The marks of a thinking block, as DeepSeek, Qwen, Mistral, Kimi, Seed, Sky-T1 and gpt-oss write them. A mark between
quotes is mentioned and not used."""


@dataclass(frozen=True)
class StepLabel:
    """Characters `[start, end)` of a label; `closing` is the mark of bold or italics that its line still has open."""

    start: int
    end: int
    closing: str = ""


def thinking_end(text: str) -> int:
    """Where the last thinking block ends: what stands before is a draft. All of the text, if it is still open."""
    end, is_open = 0, False
    for mark in _THINKING.finditer(text):
        before, after = text[max(mark.start() - 1, 0) : mark.start()], text[mark.end() : mark.end() + 1]
        if before and before == after and before in _QUOTES:
            continue
        is_open = not any(mark.groups())
        end = mark.end()
    return len(text) if is_open else end


def step_labels(text: str) -> list[StepLabel]:
    """Labels of the steps, in order: `Step 1:` in any dress. Where there is none, a list numbered 1, 2, 3 ... counts.

    Labels of a draft (a thinking block) count only where none comes after it, and a comment in a code block never.
    """
    fences = [fence.span() for fence in FENCE.finditer(text)] if "```" in text or "~~~" in text else []
    found = []
    for match in STEP_LABEL.finditer(text):
        dressed = match.group().lstrip(" \t")[:1] not in ("S", "s")
        if not (dressed and any(start <= match.start() < end for start, end in fences)):
            closing = "" if match["close"] or match["late"] else closing_mark(match["open"])
            found.append(StepLabel(match.start(), match.end(), closing))
    found = found or _numbered_items(text, fences)
    start = thinking_end(text)
    return [label for label in found if label.start >= start] or found


def _numbered_items(text: str, fences: list[tuple[int, int]]) -> list[StepLabel]:
    """Items 1, 2, 3 ... of the text's one list, all dressed alike; none where fewer than two count up."""
    items: list[StepLabel] = []
    dress: tuple[str, str] | None = None
    for match in ITEM.finditer(text):
        if any(start <= match.start() < end for start, end in fences):
            continue
        mine = (match["dress"], match["end"])
        if int(match["number"]) == len(items) + 1 and mine == (dress or mine):
            dress = mine
            is_open = "**" in match["dress"] and "**" not in match["end"]
            items.append(StepLabel(match.start(), match.end(), "**" if is_open else ""))
    return items if len(items) > 1 else []


def closing_mark(opening: str | None) -> str:
    """The mark that ends what `opening` began."""
    return {None: "", "\\textbf{": "}", "<b>": "</b>", "<strong>": "</strong>"}.get(opening, opening or "")
