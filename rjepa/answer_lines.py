"""How LLMs write the line of an answer, in every dress, and which lines only begin like one.

A line that could be prose as well as an answer ("The answer is not clear yet.") is no answer line: a chain without an
answer is reported as such, one that ends too early is silently wrong. What an answer says is judged in
`rjepa.validation`; labels of steps are in `rjepa.labels`.
"""

import re
from dataclasses import dataclass
from typing import Final

from rjepa.labels import CLOSE, FENCE, ITEM, MARKS, OPEN, STEP_LABEL, closing_mark, thinking_end

_BLANK_WORDS: Final = r"(?:[ \t]*,)?[ \t]+"
_ANSWER: Final = re.compile(
    rf"""^{MARKS}(?:\#{{2,6}}[ \t]*)?{OPEN}
    (?:(?:and[ \t]+)?(?:so|thus|hence|therefore|then|finally|consequently|accordingly|now|overall
        |in[ \t]+(?:conclusion|summary|total)|to[ \t]+conclude){_BLANK_WORDS})?
    (?:(?:the|my|our)[ \t]+)?
    (?:(?:final|correct|right|best)[ \t]+(?:answers?|options?|choices?|results?)|answers?|ans\.?(?=[ \t]*[:：=])
        |(?:最终|最終)?(?:答案|答え|答)|정답|antwort|réponse|respuesta|resposta|risposta|ответ)
    (?:(?![^\W_]|['’])|(?=[是为]))
    (?:[ \t]+(?:to|for)[ \t]+(?:the|this)[ \t]+(?:question|problem|task|exercise))?
    (?(open)(?P<close>{CLOSE})?)
    (?:
        (?P<colon>[ \t]*(?:(?:is|are)[ \t]*)?[:：=]|[ \t]+(?:[-–—]|->|→)(?=[ \t])|(?:是|为)(?=[ \t]*[-\d$\\]))
      | (?P<copula>[ \t]+(?:is|are|equals)(?![\w'’]))
      | (?P<perhaps>[ \t]+(?:(?:would|will|must|should)[ \t]+be|turns[ \t]+out[ \t]+to[ \t]+be
        |comes[ \t]+(?:out[ \t]+)?to)\b)
      | (?P<bare>(?=[ \t]|\r?$))
    )[ \t]*
    (?(close)|(?(open)(?P<late>{CLOSE}(?=[ \t]|\r?$))?))[ \t]*
    """,
    re.MULTILINE | re.IGNORECASE | re.VERBOSE,
)
_PLAIN_ANSWER: Final = re.compile(r"[ \t]*Answer[ \t]*:")
"""The form that students are taught: what follows is the answer to the character, whatever dress it wears itself."""
_TAG: Final = re.compile(r"<(?:final_)?answer>", re.IGNORECASE)
_TAG_END: Final = re.compile(r"</(?:final_)?answer>", re.IGNORECASE)
_HASHES: Final = re.compile(
    r"^[ \t]*\#{4}[ \t]*"
    r"(?P<answer>[-+−]?[$€£]?[-+−]?\.?\d(?:[\d.,/:]*\d)?%?(?:[ \t]+[^\W\d]+){0,2}\.?|\\boxed\{.+|\$.+\$\.?)[ \t]*\r?$",
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
    (?:this|that|it|the[ \t]+(?:question|problem|task|exercise))
        [ \t]+(?:question|problem|asks?|requires?|needs?|wants?|means?|depends?|seems?)\b
  | (?:we|i|you|one)(?:[ \t]+(?:need|have|want)[ \t]+to|['’](?:ll|d|m|re)
        |[ \t]+(?:must|should|can|could|know|think|believe|guess|will|would|first|am|are))\b
  | let(?:['’]s|[ \t]+(?:me|us))\b
  | to[ \t]+(?:find|solve|answer|get|compute|calculate|determine|do|see|be)\b
  | (?:first|next|well|ok|okay|so|now)[ \t]*,
  | (?:h+m+|wait|unclear|pending|tbd)\b
  | not[ \t]+(?:yet|sure|clear|known|obvious|certain|so|quite|easy|simple|found|given|determined|available)\b
  | (?:see|as)[ \t]+(?:above|below|follows)\b
  | \(?[A-J]\)?[ \t]+(?:is|seems|looks|cannot|can't)[ \t]+(?:wrong|incorrect|not|false|unlikely|be)\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)
"""How talk about an answer begins, that an answer does not begin with."""
_DOUBT: Final = re.compile(
    r"""\b(?:but|though|however)\b.{0,40}\b(?:check|verify|sure|wait|think|confirm|wrong|maybe|yet)\b
  | \blet(?:['’]s|[ \t]+(?:me|us))[ \t]+(?:\w+[ \t-]+)?
        (?:check|verify|see|recheck|confirm|think|recompute|recalculate|try)\b
  | \b(?:wait|hold[ \t]+on|h+m+)\b | \bnot[ \t]+(?:yet|sure|certain)\b
  | \?[*_"”'’)]*(?:\s|$)""",
    re.IGNORECASE | re.VERBOSE,
)
"""What takes back the answer of the same line."""
_HEDGE: Final = re.compile(
    r"""(?:not|never|no[ \t]+\w+|(?:un)?clear|obvious|clearly|obviously|simpl[ey]|easy|hard|wrong|right|correct
    |incorrect|(?:un)?likely|probably|perhaps|maybe|possibly|presumably|apparently|supposed|expected|going|still|now|then|here|there
    |below|above|found|given|obtained|computed|calculated|determined|known|just|also|always|only|either|neither|between
    |less|more|greater|larger|smaller|bigger|higher|lower|fewer|at|close|near|in|on|by|from|for|to|of|if|whether|that
    |what|whatever|which|how|when|where|why|because|since|this|these|those|it|its|we|you|they|something|some|any|another
    |different|(?:an?|i)(?=[ \t]+\w)|as|with|without|too|very|quite|rather|even|odd|positive|negative|based|best|most
    |the[ \t]+(?:sum|product|difference|quotient|total|number|amount|result|same|value|ratio|one|remaining|smallest
    |largest|least|greatest|first|last|next|following|only|most)\b(?!.*\d)
    |twice|thrice|(?:double|triple|half)[ \t]+(?:of|as|the|that)
    |(?:about|around|roughly|approximately|nearly|almost)(?![ \t]+[$€£\\]*[-−]?\.?\d))(?![\w'’-])""",
    re.IGNORECASE | re.VERBOSE,
)
"""How a sentence about the answer goes on after "The answer is", where it does not name it."""
_COMPARISON: Final = re.compile(
    r"\b(?:more|less|fewer|greater|larger|smaller|bigger|higher|lower)[ \t]+than\b|\btimes[ \t]"
)
"""What says how an answer is found and does not name it: "3 more than 4"."""
_NUMBERING: Final = re.compile(r"\d+[ \t]*(?:[:.)](?:[ \t]|$)|of[ \t]+\d)")
_MAX_BARE: Final = 3
"""Words of an answer that follows its label without a colon: "Answer 14 pens"."""
_MAX_WORDS: Final = 15
"""Of an answer in words after "The answer is": longer ones without any digit explain and do not answer."""
_LAST_SENTENCE: Final = re.compile(
    r"(?:^|(?<=[.!?;:])[ \t]+|\n[ \t]*|(?<=,)[ \t]+(?=(?:and[ \t]+)?(?:so|thus|hence|therefore)\b)(?:and[ \t]+)?)"
    r"(?:(?:so|thus|hence|therefore|finally)[ \t]*,?[ \t]+)?"
    r"(?:the[ \t]+)?(?:final[ \t]+)?answer(?:[ \t]+is(?:[ \t]*:)?|[ \t]*:)[ \t]+(?P<answer>[^\n]+?)[ \t]*$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class AnswerLine:
    """Characters `[start, end)` of the line (or lines) with the answer, and the answer; None where it is cut off."""

    start: int
    end: int
    answer: str | None


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
        closing = "" if match["close"] or match["late"] else closing_mark(match["open"])
        content = content.removesuffix(closing).rstrip() if closing else content
        kind = next(name for name in ("colon", "copula", "perhaps", "bare") if match[name] is not None)
        if _is_answer(content, kind):
            return AnswerLine(match.start(), end, _undressed(content) or None)
    return None


def _is_answer(content: str, kind: str) -> bool:
    """Whether what follows a label names an answer: `kind` says how the label ended."""
    if _TALK.match(content) or _DOUBT.search(content):
        return False
    is_value = _VALUE.match(content) is not None
    if kind == "bare":
        return is_value and len(content.split()) <= _MAX_BARE and not _NUMBERING.match(content)
    if kind == "perhaps":
        return is_value
    if kind == "copula" and _COMPARISON.search(content):
        return False
    if kind == "colon" or is_value:
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
    for opening in (FENCE, re.compile(r"[ \t]*\\\[.*?\\\]", re.DOTALL), re.compile(r"[ \t]*\$\$.*?\$\$", re.DOTALL)):
        block = opening.match(text, first)
        if block is not None:
            newline = text.find("\n", block.end())
            return (len(text) if newline < 0 else newline + 1), block.group().strip()
    newline = text.find("\n", first)
    stop = len(text) if newline < 0 else newline + 1
    content = text[first:stop].strip()
    if content in ("\\[", "$$"):
        return len(text), None  # the formula is cut off
    if content.startswith("- "):
        return None  # a bullet or a minus
    content = content.removeprefix("* ").removeprefix("\u2022 ").lstrip()
    is_value = _VALUE.match(content) is not None and not ITEM.match(content)
    alone = not text[stop:].strip() and not STEP_LABEL.match(content)
    if (is_value or alone) and not (_TALK.match(content) or _DOUBT.search(content)):
        return stop, _undressed(content) or None
    return None


def _tagged(text: str, start: int) -> AnswerLine | None:
    tag = _TAG.search(text, start)
    closing = _TAG_END.search(text, tag.end()) if tag is not None else None
    if tag is None or closing is None:
        return None
    newline = text.find("\n", closing.end())
    first = text.rfind("\n", 0, tag.start()) + 1
    if text[first : tag.start()].strip():
        first = tag.start()
    answer = text[tag.end() : closing.start()].strip() or None
    return AnswerLine(first, len(text) if newline < 0 else newline + 1, answer)


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
    depth, place = 1, [found.end() for found in _BOX.finditer(line)][-1]
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
