"""BIG-Bench Hard: 27 tasks of one schema, `input` and `target`, where the target is a letter, a word or a number."""

import re
from typing import Any

from rjepa.problems.benchmarks.rows import LETTERS, Adapted, multiple_choice, option_index, text

TASKS = (
    "boolean_expressions", "causal_judgement", "date_understanding", "disambiguation_qa", "dyck_languages",
    "formal_fallacies", "geometric_shapes", "hyperbaton", "logical_deduction_five_objects",
    "logical_deduction_seven_objects", "logical_deduction_three_objects", "movie_recommendation",
    "multistep_arithmetic_two", "navigate", "object_counting", "penguins_in_a_table",
    "reasoning_about_colored_objects", "ruin_names", "salient_translation_error_detection", "snarks",
    "sports_understanding", "temporal_sequences", "tracking_shuffled_objects_five_objects",
    "tracking_shuffled_objects_seven_objects", "tracking_shuffled_objects_three_objects", "web_of_lies",
    "word_sorting",
)  # fmt: skip

_NUMBERS = {"multistep_arithmetic_two", "object_counting"}
_OPTION = re.compile(r"^\(([A-Z])\)\s*(.*)$", re.MULTILINE)
_LETTER = re.compile(r"^\(([A-Z])\)$")


def bbh(row: dict[str, Any]) -> Adapted:
    """`input`, `target`: "(B)" where the input lists options, else `True`, `valid`, `7`, sorted words, ..."""
    question, target = text(row, "input"), text(row, "target")
    task = str(row.get("task") or "")
    head, options = _options(question)
    letter = _LETTER.match(target)
    if letter is None or option_index(letter[1]) >= len(options):
        # A few published rows name a film instead of its letter, or a letter that is not listed: their target as it is.
        check = "maths" if task in _NUMBERS else "exact"
        return Adapted(question, target, "logic", {"check": check}, subdomain=task)
    statement, right, meta = multiple_choice(head, options, option_index(letter[1]))
    return Adapted(statement, right, "logic", meta, subdomain=task)


def _options(question: str) -> tuple[str, list[str]]:
    """The question without its list of options, and the options; none where they are not (A), (B), ... in order."""
    head, _, listed = question.rpartition("Options:")
    found = _OPTION.findall(listed)
    if len(found) < 2 or [letter for letter, _ in found] != list(LETTERS[: len(found)]):
        return question, []
    return head.strip(), [option.strip() for _, option in found]
