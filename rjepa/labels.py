"""How LLMs write the label of a step and the line of an answer, in every dress: bold, heading, list, other case.

Only what a label looks like is decided here: `step_labels` and `find_answer` take text and return offsets. How labels
cut a chain into segments is decided in `rjepa.chains`; what an answer says, in `rjepa.validation`.

A line that could be prose as well as an answer ("The answer is not clear yet.") is no answer line: a chain without an
answer is reported as such, one that ends too early is silently wrong.
"""

import re
from dataclasses import dataclass
from typing import Final

_MARKS: Final = r"[ \t]*(?:>[ \t]*){0,3}(?:(?:[-*+•]|\d{1,3}[.)])[ \t]+)?"
"""What Markdown puts before a line's words: quotes, a bullet or number."""
_OPEN: Final = r"(?P<open>\*{1,3}|_{1,3}|\\textbf\{|<b>|<strong>)?"
_CLOSE: Final = r"(?:(?P=open)|\}|</b>|</strong>)"

STEP_LABEL: Final = re.compile(
    rf"""^{_MARKS}(?P<heading>\#{{1,6}}[ \t]*)?(?:\d{{1,3}}[.)][ \t]+)?{_OPEN}(?P<bracket>[\[(])?
    step[ \t]*(?:\#|no\.)?[ \t]*
    (?:\d+|one|two|three|four|five|six|seven|eight|nine|ten)(?![\da-z])
    (?:[ \t]*(?:of|/)[ \t]*\d+)?
    (?(bracket)[\])])
    (?P<title>[ \t]*\([^()\n]{{1,80}}\))?
    (?(open)(?P<close>{_CLOSE})?)
    (?:
        [ \t]*[:.：](?!\d+[ \t]*[:：])[ \t]*  # "Step 1.1:" is no label of the form "Step 1."
      | [ \t]*\)[ \t]+
      | [ \t]+[-–—][ \t]+
      | [ \t]*(?=\r?\n)                       # the label has the line for itself
      | (?(title)(?!)|(?:(?<=[*_}}>\])])|(?(heading)|(?!))))[ \t]+  # a dress that ends is a separator
    )
    (?(close)|(?(open)(?P<late>{_CLOSE})?))[ \t]*
    """,
    re.MULTILINE | re.IGNORECASE | re.VERBOSE,
)
"""How a numbered step begins. A plain `Step 1: ` is matched whole, with the blanks around it, and nothing more."""

_ITEM: Final = re.compile(r"^(?P<dress>[ \t]*(?:\*\*)?)(?P<number>\d{1,3})(?P<end>[.)](?:\*\*)?)[ \t]+(?=\S)", re.MULTILINE)
_FENCE: Final = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n]*\n.*?(?:^[ \t]*\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_THINKING: Final = re.compile(r"<(?P<end>/?)(?:think|thinking|thought)>", re.IGNORECASE)

_BLANK_WORDS: Final = r"(?:[ \t]*,)?[ \t]+"
_ANSWER: Final = re.compile(
    rf"""^{_MARKS}(?:\#{{2,6}}[ \t]*)?{_OPEN}
    (?:(?:and[ \t]+)?(?:so|thus|hence|therefore|then|finally|consequently|accordingly|now|overall
        |in[ \t]+(?:conclusion|summary|total)|to[ \t]+conclude){_BLANK_WORDS})?
    (?:(?:the|my|our)[ \t]+)?
    (?:(?:final|correct|right|best)[ \t]+(?:answers?|options?|choices?|results?)|answers?)(?![\w'’])
    (?:[ \t]+(?:to|for)[ \t]+(?:the|this)[ \t]+(?:question|problem|task|exercise))?
    (?(open)(?P<close>{_CLOSE})?)
    (?:
        (?P<colon>[ \t]*(?:(?:is|are)[ \t]*)?[:：=]|[ \t]+[-–—](?=[ \t]))
      | (?P<copula>[ \t]+(?:is|are|equals)(?![\w'’]))
      | (?P<perhaps>[ \t]+(?:(?:would|will|must|should)[ \t]+be|turns[ \t]+out[ \t]+to[ \t]+be|comes[ \t]+(?:out[ \t]+)?to)\b)
      | (?P<bare>(?=[ \t]|\r?$))
    )[ \t]*
    (?(close)|(?(open)(?P<late>{_CLOSE}(?=[ \t]|\r?$))?))[ \t]*
    """,
    re.MULTILINE | re.IGNORECASE | re.VERBOSE,
)
_PLAIN_ANSWER: Final = re.compile(r"[ \t]*Answer[ \t]*:")
"""The form that students are taught: what follows is the answer to the character, whatever dress it wears itself."""
_TAGGED: Final = re.compile(r"<answer>(?P<answer>.*?)</answer>", re.IGNORECASE | re.DOTALL)
_HASHES: Final = re.compile(
    r"^[ \t]*\#{4}[ \t]*(?P<answer>[-+−]?[$€£]?[-+−]?\.?\d(?:[\d.,/:]*\d)?%?(?:[ \t]+[^\W\d]+){0,2}\.?|\\boxed\{.+|\$.+\$\.?)[ \t]*\r?$",
    re.MULTILINE,
)
"""GSM8K's `#### 14`. "#### 1. Add" and "#### Solution" are headings."""
_BOX: Final = re.compile(r"\\f?box(?:ed)?\s*\{")
_AFTER_BOX: Final = re.compile(r"(?:[ \t\r$.!*_]|\\\]|\\\))*(?:I hope it is correct\.?)?[ \t\r]*$", re.IGNORECASE)
_HOPE: Final = re.compile(r"[ \t]*I hope it is correct\.?[ \t]*$", re.IGNORECASE)

_WORD_ANSWER: Final = r"(?:yes|no|true|false|unknown|none|zero|infinity|undefined)"
_VALUE: Final = re.compile(
    rf"""(?:[-+−±≈~≤≥<>=]?[ \t]*[$€£]?[ \t]*[-+−]?\.?\d
    | \\[(\[a-zA-Z] | \$ | \*\*\S | ["“'‘`]\S
    | \(?[A-Ja-j][.)]*\s*$ | \([A-Ja-j]\) | [A-J][.):][ \t]
    | {_WORD_ANSWER}[.!]?\s*$)""",
    re.VERBOSE,
)
"""How a value begins: a number, a formula, an option, a quotation, or one of a few words alone."""

_TALK: Final = re.compile(
    r"""(?:
    (?:this|that|it|the[ \t]+(?:question|problem|task|exercise))[ \t]+(?:question|problem|asks?|requires?|needs?|wants?|means?|depends?|seems?)\b
  | (?:we|i|you|one)(?:[ \t]+(?:need|have|want)[ \t]+to|[ \t]+(?:must|should|can|could|know|think|believe|guess|will|would|first|am|are)|['’](?:ll|d|m|re))\b
  | let(?:['’]s|[ \t]+(?:me|us))\b
  | to[ \t]+(?:find|solve|answer|get|compute|calculate|determine|do|see|be)\b
  | (?:first|next|well|ok|okay|so|now)[ \t]*,
  | (?:h+m+|wait|unclear|pending|tbd)\b
  | not[ \t]+(?:yet|sure|clear|known|obvious|certain|so|quite|easy|simple|found|given|determined|available)\b
  | (?:see|as)[ \t]+(?:above|below|follows)\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)
"""How talk about an answer begins, that an answer does not begin with."""
_DOUBT: Final = re.compile(
    r"""\b(?:but|though|however)\b.{0,40}\b(?:check|verify|sure|wait|think|confirm|wrong|maybe|yet)\b
  | \blet(?:['’]s|[ \t]+(?:me|us))[ \t]+(?:\w+[ \t-]+)?(?:check|verify|see|recheck|confirm|think|recompute|recalculate|try)\b
  | \b(?:wait|hold[ \t]+on|h+m+)\b | \bnot[ \t]+(?:yet|sure|certain)\b | \?[*_"”'’)\s]*$""",
    re.IGNORECASE | re.VERBOSE,
)
"""What takes back the answer of the same line."""
_HEDGE: Final = re.compile(
    r"""(?:not|never|no[ \t]+\w+|(?:un)?clear|obvious|clearly|obviously|simpl[ey]|easy|hard|wrong|right|correct|incorrect
    |(?:un)?likely|probably|perhaps|maybe|possibly|presumably|apparently|supposed|expected|going|still|now|then|here|there
    |below|above|found|given|obtained|computed|calculated|determined|known|just|also|always|only|either|neither|between
    |less|more|greater|larger|smaller|bigger|higher|lower|fewer|at|close|near|in|on|by|from|for|to|of|if|whether|that
    |what|whatever|which|how|when|where|why|because|since|this|these|those|it|its|we|you|they|something|some|any|another
    |different|(?:an?|i)(?=[ \t]+\w)|as|with|without|too|very|quite|rather|even|odd|positive|negative|based|best|most
    |the[ \t]+(?:sum|product|difference|quotient|total|number|amount|result|same|value|ratio|one|remaining|smallest|largest
    |least|greatest|first|last|next|following|only|most)\b(?!.*\d)
    |(?:about|around|roughly|approximately|nearly|almost)(?![ \t]+[$€£\\]*[-−]?\.?\d))(?![\w'’-])""",
    re.IGNORECASE | re.VERBOSE,
)
"""How a sentence about the answer goes on after "The answer is", where it does not name it."""
_MAX_WORDS: Final = 15
"""Of an answer in words after "The answer is": longer ones without any digit explain and do not answer."""
_LAST_SENTENCE: Final = re.compile(
    r"(?:^|(?<=[.!?;:])[ \t]+|\n[ \t]*)(?:(?:so|thus|hence|therefore|finally)[ \t]*,?[ \t]+)?"
    r"(?:the[ \t]+)?(?:final[ \t]+)?answer(?:[ \t]+is(?:[ \t]*:)?|[ \t]*:)[ \t]+(?P<answer>[^\n]+?)[ \t]*$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class StepLabel:
    """Characters `[start, end)` of a label; `closing` is the mark of bold or italics that its line still has open."""

    start: int
    end: int
    closing: str = ""


@dataclass(frozen=True)
class AnswerLine:
    """Characters `[start, end)` of the line (or lines) with the answer, and the answer; None where it is cut off."""

    start: int
    end: int
    answer: str | None


def thinking_end(text: str) -> int:
    """Where the last thinking block ends: what stands before is a draft. All of the text, if it is still open."""
    end, is_open = 0, False
    for mark in _THINKING.finditer(text):
        is_open = not mark["end"]
        end = mark.end()
    return len(text) if is_open else end


def step_labels(text: str) -> list[StepLabel]:
    """Labels of the steps, in order: `Step 1:` in any dress. Where there is none, a list numbered 1, 2, 3 ... counts.

    Labels of a draft (a thinking block) count only where none comes after it, and a comment in a code block never.
    """
    fences = [fence.span() for fence in _FENCE.finditer(text)] if "```" in text or "~~~" in text else []
    found = []
    for match in STEP_LABEL.finditer(text):
        dressed = match.group().lstrip(" \t")[:1] not in ("S", "s")
        if not (dressed and any(start <= match.start() < end for start, end in fences)):
            closing = "" if match["close"] or match["late"] else _closing(match["open"])
            found.append(StepLabel(match.start(), match.end(), closing))
    found = found or _numbered_items(text, fences)
    start = thinking_end(text)
    return [label for label in found if label.start >= start] or found


def _numbered_items(text: str, fences: list[tuple[int, int]]) -> list[StepLabel]:
    """Items 1, 2, 3 ... of the text's one list, all dressed alike; none where fewer than two count up."""
    items: list[StepLabel] = []
    dress: tuple[str, str] | None = None
    for match in _ITEM.finditer(text):
        if any(start <= match.start() < end for start, end in fences):
            continue
        mine = (match["dress"], match["end"])
        if int(match["number"]) == len(items) + 1 and mine == (dress or mine):
            dress = mine
            is_open = "**" in match["dress"] and "**" not in match["end"]
            items.append(StepLabel(match.start(), match.end(), "**" if is_open else ""))
    return items if len(items) > 1 else []


def find_answer(text: str, start: int = 0) -> AnswerLine | None:
    """The answer line at or after `start`, or None.

    The first line that is labelled as the answer (`Answer: 14`, `**Final answer:** 14`, `The answer is 14.`) or between
    <answer> tags; where there is none, the last line that ends in a box (`$\\boxed{14}$`) or is GSM8K's `#### 14`. An
    answer's label that has its line for itself takes the next line, formula or code block. Drafts do not count.
    """
    start = max(start, thinking_end(text))
    found = [line for line in (_labelled(text, start), _tagged(text, start)) if line is not None]
    if found:
        return min(found, key=lambda line: line.start)
    return _boxed_or_hashed(text, start)


def answer_in_step(step: str) -> str | None:
    """The answer that a chain's last step names where no answer line follows: its last sentence, or its last box."""
    match = _LAST_SENTENCE.search(step.rstrip())
    if match is not None and _is_answer(match["answer"], "copula"):
        return _undressed(match["answer"])
    return _box_at_end(step.rstrip())


def _labelled(text: str, start: int) -> AnswerLine | None:
    for match in _ANSWER.finditer(text, start):
        newline = text.find("\n", match.end())
        end = len(text) if newline < 0 else newline + 1
        content = text[match.end() : end].strip()
        if not content:
            below = _below(text, end)
            if below is not None:
                return AnswerLine(match.start(), *below)
            continue
        if _PLAIN_ANSWER.match(match.group()):
            if not (_TALK.match(content) or _DOUBT.search(content)):
                return AnswerLine(match.start(), end, content.rstrip(".") or None)
            continue
        closing = "" if match["close"] or match["late"] else _closing(match["open"])
        content = content.removesuffix(closing).rstrip() if closing else content
        kind = next(name for name in ("colon", "copula", "perhaps", "bare") if match[name] is not None)
        if _is_answer(content, kind):
            return AnswerLine(match.start(), end, _undressed(content) or None)
    return None


def _is_answer(content: str, kind: str) -> bool:
    """Whether what follows a label names an answer: `kind` says how the label ended."""
    if _TALK.match(content) or _DOUBT.search(content):
        return False
    if kind in ("perhaps", "bare"):
        return _VALUE.match(content) is not None
    if kind == "colon" or _VALUE.match(content):
        return True
    is_long = len(content.split()) > _MAX_WORDS and not any(character.isdigit() for character in content)
    return not (_HEDGE.match(content) or is_long)


def _below(text: str, end: int) -> tuple[int, str | None] | None:
    """(end, answer) of what stands under a label that has its line for itself; None where that is more prose."""
    rest = text[end:]
    first = end + len(rest) - len(rest.lstrip())
    if first >= len(text):
        return end, None  # cut off, or the label alone
    first = text.rfind("\n", 0, first) + 1
    for opening in (_FENCE, re.compile(r"[ \t]*\\\[.*?\\\]", re.DOTALL), re.compile(r"[ \t]*\$\$.*?\$\$", re.DOTALL)):
        block = opening.match(text, first)
        if block is not None:
            newline = text.find("\n", block.end())
            return (len(text) if newline < 0 else newline + 1), block.group().strip()
    newline = text.find("\n", first)
    stop = len(text) if newline < 0 else newline + 1
    content = text[first:stop].strip()
    is_value = _VALUE.match(content) is not None and not _ITEM.match(content)
    alone = not text[stop:].strip() and not STEP_LABEL.match(content)
    if (is_value or alone) and not (_TALK.match(content) or _DOUBT.search(content)):
        return stop, _undressed(content) or None
    return None


def _tagged(text: str, start: int) -> AnswerLine | None:
    match = _TAGGED.search(text, start)
    if match is None:
        return None
    newline = text.find("\n", match.end())
    first = text.rfind("\n", 0, match.start()) + 1
    if text[first : match.start()].strip():
        first = match.start()
    return AnswerLine(first, len(text) if newline < 0 else newline + 1, match["answer"].strip() or None)


def _boxed_or_hashed(text: str, start: int) -> AnswerLine | None:
    found: AnswerLine | None = None
    first = start if start == 0 or text[start - 1] == "\n" else text.find("\n", start) + 1
    if start and first == 0:
        first = start
    while first < len(text):
        newline = text.find("\n", first)
        end = len(text) if newline < 0 else newline + 1
        line = text[first:end].rstrip("\n")
        hashed = _HASHES.match(line)
        if hashed is not None:
            found = AnswerLine(first, end, hashed["answer"].strip().rstrip(".") or None)
        elif "box" in line and not STEP_LABEL.match(line) and (boxed := _box_at_end(line)) is not None:
            found = AnswerLine(_formula_start(text, first), end, boxed)
        first = end
    return found


def _box_at_end(line: str) -> str | None:
    """The boxes that a line ends with, from the first of them on; None where it ends with something else."""
    box = _BOX.search(line)
    if box is None:
        return None
    last = box
    for last in _BOX.finditer(line):
        pass
    depth, place = 1, last.end()
    while place < len(line) and depth:
        depth += {"{": 1, "}": -1}.get(line[place], 0)
        place += 1
    if depth or not _AFTER_BOX.match(line, place):
        return None
    return line[box.start() : place]


def _formula_start(text: str, first: int) -> int:
    """Where a displayed formula begins whose second line is at `first`; else `first`."""
    before = text[:first].rstrip("\n")
    opening = before.rfind("\n") + 1
    return opening if first and before[opening:].strip() in ("\\[", "$$") else first


def _undressed(content: str) -> str:
    """An answer without the full stop, the wish and the bold that stand around all of it."""
    content = _HOPE.sub("", content).strip().rstrip(".")
    for mark in ("***", "**", "__", "*", "`"):
        inner = content.removeprefix(mark).removesuffix(mark)
        if len(inner) == len(content) - 2 * len(mark) and mark not in inner and inner.strip():
            return inner.strip().rstrip(".")
    return content


def _closing(opening: str | None) -> str:
    """The mark that ends what `opening` began."""
    return {None: "", "\\textbf{": "}", "<b>": "</b>", "<strong>": "</strong>"}.get(opening, opening or "")
