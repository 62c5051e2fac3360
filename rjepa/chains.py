"""The text form of a chain: `Step 1: ...` lines, then `Answer: ...`. Rendering, parsing, segment and sentence spans.

One form for every student and teacher, so that a step is the same thing wherever it is read; for LLMs that will not
write it, modes that cut free text into steps (where, is `rjepa.clauses`' matter). How labels and answer lines look is
decided in `rjepa.labels` and `rjepa.answer_lines`. How a problem is put to a student (the prompt) lives in
`rjepa.students.prompts`; token boundaries in `rjepa.students.segmentation`.
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from rjepa.answer_lines import AnswerLine, answer_in_step, find_answer
from rjepa.clauses import STARTS
from rjepa.labels import StepLabel, step_labels, thinking_end

Segmentation = Literal["guided", "punctuation", "connectives", "paragraph"]
"""What begins a step. guided: a step label alone. Otherwise a label, and besides each sentence or line, each clause
that opens with a connective, or each paragraph. The answer line is a segment of its own in every mode."""

_FENCE_LINE: Final = re.compile(r"^[ \t]*(?:```|~~~)", re.MULTILINE)
_SENTENCE_END: Final = re.compile(r"(?<=[.?!])\s+|\s*\n\s*")

MAX_SENTENCES: Final = 64
"""Of a prompt; what comes before the last of them counts as one: a prompt's length must not set the cost of its
latents."""


@dataclass(frozen=True)
class ParsedChain:
    """Steps and final answer as read from generated text. `final_answer` is None where no answer was found."""

    steps: list[str]
    final_answer: str | None


@dataclass(frozen=True)
class Segment:
    """Characters `[start, end)` of a chain's text. `text` is the step without its label, or the answer; either may be
    empty.
    """

    start: int
    end: int
    text: str
    is_answer: bool = False


def render_chain(steps: Sequence[str | None], final_answer: str | None) -> str:
    """`Step 1: a\\nStep 2: b\\nAnswer: c\\n`. A chain without an answer ends after its last step; a step that is None
    is left out, and the others keep their numbers.
    """
    numbered = [(number, step) for number, step in enumerate(steps, start=1) if step is not None]
    lines = [f"Step {number}: {' '.join(step.split())}\n" for number, step in numbered]
    if final_answer is not None:
        lines.append(f"Answer: {final_answer}\n")
    return "".join(lines)


def read_segments(text: str, segmentation: Segmentation = "guided") -> list[Segment]:
    """The steps and the answer line of a chain's text, in order.

    Segments include their label and trailing newline and cover the text from its beginning to the answer line's end;
    what follows that is left out. Guided: text before the first label belongs to the first step, and text without any
    label is one step. Text of nothing but white space is one segment, no text is none.
    """
    return list(_read(text, segmentation))


@functools.lru_cache(maxsize=128)
def _read(text: str, segmentation: Segmentation) -> tuple[Segment, ...]:
    """As `read_segments`. What a chain has of text when a step ends is asked for by all who look at that step."""
    labels = step_labels(text)
    answer = find_answer(text, labels[-1].start if labels else 0)
    spans = _spans(text, labels, answer, segmentation)
    segments = [Segment(start, end, _step_text(text, start, end, labels)) for start, end in spans]
    if answer is not None:
        segments[-1] = Segment(*spans[-1], answer.answer or "", is_answer=True)
    return tuple(segments)


def segment_spans(text: str, segmentation: Segmentation = "guided") -> list[tuple[int, int]]:
    """Character spans `[start, end)` of `read_segments`."""
    return [(segment.start, segment.end) for segment in read_segments(text, segmentation)]


def _spans(
    text: str, labels: list[StepLabel], answer: AnswerLine | None, segmentation: Segmentation
) -> list[tuple[int, int]]:
    starts = [label.start for label in labels]
    if segmentation != "guided":
        starts = _free_starts(text[: answer.start] if answer else text, labels, segmentation)
    end = len(text)
    if answer is not None:
        if text[: answer.start].strip() and not starts:
            starts.append(0)
        starts.append(answer.start)
        end = answer.end
    if not starts:
        return [(0, len(text))] if text else []
    starts[0] = 0
    return list(zip(starts, [*starts[1:], end], strict=True))


def _step_text(text: str, start: int, end: int, labels: list[StepLabel]) -> str:
    """What a segment says after its label. Bold that began before the label's words ends without a trace."""
    label = next((label for label in labels if start <= label.start < end), None)
    if label is None:
        return text[start:end].strip()
    content = text[label.end : end]
    return (content.replace(label.closing, "", 1) if label.closing else content).strip()


def _free_starts(body: str, labels: list[StepLabel], segmentation: Segmentation) -> list[int]:
    """Where the steps of free text begin, each with something in it. A label stays with what it labels."""
    within = [(label.start, label.end) for label in labels]
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
    """Read steps and final answer back from text in the form above.

    Where no answer line was written, the answer that the last step ends with counts ("... The answer is 14.", a box).
    A single labelled step is not asked, and neither is a thinking block that is still open: more is to come.
    """
    segments = read_segments(text, segmentation)
    steps = [segment.text for segment in segments if segment.text and not segment.is_answer]
    answer = segments[-1].text or None if segments and segments[-1].is_answer else None
    is_draft = bool(steps) and thinking_end(text) >= len(text)
    if steps and not segments[-1].is_answer and not is_draft and (len(steps) > 1 or not step_labels(text)):
        answer = answer_in_step(steps[-1])
    return ParsedChain(steps, answer)


def completes_answer(text: str, line: int) -> bool:
    """Whether the last line of a growing text, which begins at `line` and is finished, makes its answer whole.

    The line may be an answer line by itself, or stand under the label of one: a value, or the end of a formula or of a
    code block. Within a thinking block it is a draft.
    """
    if thinking_end(text) > line:
        return False
    if parse_chain(text[line:]).final_answer is not None:
        return True
    if "nswer" not in text[:line].lower():
        return False
    found = find_answer(text)
    if found is None or found.answer is None or not found.start < line < found.end:
        return False
    return len(_FENCE_LINE.findall(text, found.start, found.end)) % 2 == 0
