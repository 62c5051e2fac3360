"""The text form of a chain: `Step 1: ...` lines, then `Answer: ...`. Rendering, parsing, segment and sentence spans.

One form for every student and teacher, so that a step is the same thing wherever it is read; for LLMs that will not
write it, modes that cut free text into steps (where, is `rjepa.clauses`' matter). How a problem is put to a student
(the prompt) lives in `rjepa.students.prompts`; token boundaries in `rjepa.students.segmentation`.
"""

import re
from dataclasses import dataclass
from typing import Literal

from rjepa.clauses import STARTS

Segmentation = Literal["guided", "punctuation", "connectives", "paragraph"]
"""What begins a step. guided: a step label alone. Otherwise a label, and besides each sentence or line, each clause
that opens with a connective, or each paragraph. The answer line is a segment of its own in every mode."""

STEP_LABEL = re.compile(r"^[ \t]*Step[ \t]+(\d+)[ \t]*[:.][ \t]*", re.MULTILINE)
"""How a numbered step begins."""

ANSWER_LABEL = re.compile(r"^[ \t]*(?:Answer|The answer is)[ \t]*:?[ \t]*", re.MULTILINE)
"""How an answer line begins."""

_SENTENCE_END = re.compile(r"(?<=[.?!])\s+|\s*\n\s*")

MAX_SENTENCES = 64
"""Of a prompt; what comes before the last of them counts as one."""


@dataclass(frozen=True)
class ParsedChain:
    """Steps and final answer as read from generated text. `final_answer` is None where no answer line came."""

    steps: list[str]
    final_answer: str | None


def render_chain(steps: list[str], final_answer: str | None) -> str:
    """`Step 1: a\\nStep 2: b\\nAnswer: c\\n`. A chain without an answer ends after its last step."""
    lines = [f"Step {number}: {' '.join(step.split())}\n" for number, step in enumerate(steps, start=1)]
    if final_answer is not None:
        lines.append(f"Answer: {final_answer}\n")
    return "".join(lines)


def segment_spans(text: str, segmentation: Segmentation = "guided") -> list[tuple[int, int]]:
    """Character spans `[start, end)` of the steps and the answer line of a chain's text, in order.

    Spans include their label and trailing newline and cover the text from its beginning to the answer line's end; what
    follows that is left out. Guided: text before the first label belongs to the first step, and text without any label
    is one step. Text of nothing but white space is one span.
    """
    labels = list(STEP_LABEL.finditer(text))
    answer = ANSWER_LABEL.search(text, labels[-1].start() if labels else 0)
    starts = [label.start() for label in labels]
    if segmentation != "guided":
        starts = _free_starts(text[: answer.start()] if answer else text, labels, segmentation)
    end = len(text)
    if answer is not None:
        if text[: answer.start()].strip() and not starts:
            starts.append(0)
        starts.append(answer.start())
        newline = text.find("\n", answer.end())
        end = len(text) if newline < 0 else newline + 1
    if not starts:
        return [(0, len(text))] if text else []
    starts[0] = 0
    return list(zip(starts, [*starts[1:], end], strict=True))


def _free_starts(body: str, labels: list[re.Match[str]], segmentation: Segmentation) -> list[int]:
    """Where the steps of free text begin, each with something in it. A label stays with what it labels."""
    within = [(label.start(), label.end()) for label in labels]
    found = [start for start in STARTS[segmentation](body) if not any(a < start <= b for a, b in within)]
    candidates = sorted({*found, *(start for start, _ in within)})
    starts: list[int] = []
    for start, end in zip(candidates, [*candidates[1:], len(body)], strict=True):
        if body[start:end].strip():  # blanks alone are part of the step before them
            starts.append(start)
    return starts


def step_segment(steps: list[str], step: int | None, segmentation: Segmentation) -> int | None:
    """The segment, counted from 0, that step number `step` of a rendered chain begins: modes cut within steps too."""
    if step is None or segmentation == "guided":
        return step
    return len(segment_spans(render_chain(steps[:step], None), segmentation))


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Character spans `[start, end)` of the sentences and lines of a prompt; they cover it without gaps."""
    starts = [0, *(match.end() for match in _SENTENCE_END.finditer(text))]
    starts = [start for start in starts if start < len(text)]
    starts = starts[:1] + starts[1:][-(MAX_SENTENCES - 1) :]
    return list(zip(starts, [*starts[1:], len(text)], strict=True))


def parse_chain(text: str, segmentation: Segmentation = "guided") -> ParsedChain:
    """Read steps and final answer back from text in the form above."""
    steps: list[str] = []
    final_answer: str | None = None
    spans = segment_spans(text, segmentation)
    for start, end in spans:
        piece = text[start:end]
        answer = ANSWER_LABEL.match(piece.lstrip())
        if answer is not None and (start, end) == spans[-1]:
            final_answer = piece.lstrip()[answer.end() :].strip().rstrip(".") or None
        else:
            label = STEP_LABEL.search(piece)
            steps.append(piece[label.end() if label else 0 :].strip())
    return ParsedChain([step for step in steps if step], final_answer)
