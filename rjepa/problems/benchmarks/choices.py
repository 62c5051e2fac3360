"""MMLU, ARC, HellaSwag and LogiQA: questions with options, answered by a letter."""

import re
from typing import Any

from rjepa.problems.benchmarks.rows import Adapted, multiple_choice, option_index, text, texts
from rjepa.problems.benchmarks.subjects import category

_BRACKETED = re.compile(r"\[[a-z_ ]+\]\s?", re.IGNORECASE)


def mmlu(row: dict[str, Any]) -> Adapted:
    """`question`, `choices` (four texts), `answer` (0 to 3, or a letter), `subject`."""
    statement, letter, meta = multiple_choice(
        text(row, "question"), texts(row, "choices"), option_index(_given(row, "answer"))
    )
    subject = str(row.get("subject") or "")
    return Adapted(statement, letter, category(subject), meta, subdomain=subject)


def arc(row: dict[str, Any]) -> Adapted:
    """`question`, `choices` ({"text": [...], "label": [...]}), `answerKey`: letters in most rows, digits from 1 in few.

    In the authors' own files `question` holds the text (`stem`) and the choices, one object each.
    """
    question: Any = row.get("question")
    choices: Any = row.get("choices")
    if isinstance(question, dict):
        question, choices = question.get("stem"), question.get("choices")
    rows = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    if isinstance(choices, list) and len(rows) == len(choices):
        choices = {name: [choice.get(name) for choice in rows] for name in ("text", "label")}
    if not isinstance(choices, dict):
        raise ValueError("choices is not an object with text and label")
    labels = [label.strip().upper() for label in texts(choices, "label")]
    right = text(row, "answerKey").upper()
    if right not in labels:
        raise ValueError(f"answerKey {right!r} is none of the labels {', '.join(labels)}")
    statement, letter, meta = multiple_choice(
        text({"question": question}, "question"), texts(choices, "text"), labels.index(right)
    )
    return Adapted(statement, letter, "science", meta, subdomain=str(row.get("arc_set") or "arc").lower())


def hellaswag(row: dict[str, Any]) -> Adapted:
    """`ctx`, `endings` (four texts), `label` ("0" to "3"; empty where it is held back), `activity_label`."""
    label = row.get("label")
    if label is None or str(label).strip() == "":
        raise ValueError("label is held back in this split; use train or validation")
    activity = str(row.get("activity_label") or "").strip()
    context = _without_marks(text(row, "ctx", "ctx_a"))
    statement, letter, meta = multiple_choice(
        f"{activity + ': ' if activity else ''}{context}\nWhich ending makes the most sense?",
        [_without_marks(ending) for ending in texts(row, "endings")],
        option_index(label),
    )
    return Adapted(statement, letter, "commonsense", meta, subdomain="hellaswag")


def logiqa(row: dict[str, Any]) -> Adapted:
    """`context`, `query` (or `question`), `options`, `correct_option` (0 to 3) or `label` ("a" to "d")."""
    right = row.get("correct_option")
    statement, letter, meta = multiple_choice(
        f"{text(row, 'context')}\n{text(row, 'query', 'question')}",
        texts(row, "options"),
        option_index(_given(row, "label", "answer") if right is None else right),
    )
    return Adapted(statement, letter, "logic", meta, subdomain="logiqa")


def _given(row: dict[str, Any], *names: str) -> Any:
    for name in names:
        if row.get(name) is not None:
            return row[name]
    raise ValueError(f"{' or '.join(names)}: missing")


def _without_marks(text_: str) -> str:
    """WikiHow's `[header]`, `[title]`, `[step]` marks left out."""
    return " ".join(_BRACKETED.sub("", text_.replace(" [title]", ". ")).split())
