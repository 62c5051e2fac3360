"""GSM8K, MATH and SVAMP: word problems and competition problems with worked solutions."""

import re
from typing import Any

from rjepa.problems.benchmarks.rows import Adapted, number, plain_number, text
from rjepa.schemas import Difficulty

_CALCULATOR = re.compile(r"<<[^<>]*>>")
_FIGURE = re.compile(r"\[asy\].*?\[/asy\]", re.DOTALL)
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z$\\])")
_LEVEL = re.compile(r"(\d)")
_ZEROS = re.compile(r"(?<=\d)\.0+(?!\d)")


def gsm8k(row: dict[str, Any]) -> Adapted:
    """`question`, and `answer`: one step a line with `<<48/2=24>>` calculator marks, then `#### 72`."""
    worked, mark, stated = text(row, "answer").rpartition("####")
    if not mark or not stated.strip():
        raise ValueError("answer has no '#### ' line with the final answer")
    steps = [" ".join(_CALCULATOR.sub("", line).split()) for line in worked.split("\n")]
    steps = [step for step in steps if step]
    return Adapted(
        statement=text(row, "question"),
        answer=plain_number(stated),
        domain="math",
        subdomain="grade-school",
        difficulty="easy" if len(steps) <= 2 else "medium" if len(steps) <= 4 else "hard",
        steps=steps,
        meta={"check": "maths"},
    )


def math(row: dict[str, Any]) -> Adapted:
    r"""`problem`, `solution` with the answer in its last `\boxed{}`, `level` ("Level 3"), `type` ("Algebra")."""
    solution = text(row, "solution")
    return Adapted(
        statement=text(row, "problem"),
        answer=last_boxed(solution),
        domain="math",
        subdomain=str(row.get("type") or "").lower().replace(" & ", " and ").replace(" ", "-"),
        difficulty=_difficulty(str(row.get("level") or "")),
        steps=_sentences(solution),
        meta={"check": "maths"},
    )


def svamp(row: dict[str, Any]) -> Adapted:
    """`Body`, `Question`, `Answer` (a number), `Equation` ("( 8.0 - 3.0 )"), `Type` ("Subtraction")."""
    body, answer = text(row, "Body"), number(row, "Answer")
    equation = row.get("Equation")
    worked = _ZEROS.sub("", " ".join(equation.split())) if isinstance(equation, str) else ""
    worked = worked[2:-2] if worked.startswith("( ") and worked.count("(") == 1 else worked
    return Adapted(
        statement=f"{body if body[-1] in '.!?' else f'{body}.'} {text(row, 'Question')}",
        answer=answer,
        domain="math",
        subdomain=str(row.get("Type") or "").lower(),
        difficulty="easy",
        steps=[f"{worked} = {answer}"] if worked else [],
        meta={"check": "maths"},
    )


def last_boxed(solution: str) -> str:
    r"""What the last `\boxed{...}` (or `\fbox`, or `\boxed 7`) holds, with its braces balanced.

    Raises:
        ValueError: there is none, or it does not end.
    """
    start = max(solution.rfind("\\boxed"), solution.rfind("\\fbox"))
    if start < 0:
        raise ValueError("solution has no \\boxed{} answer")
    rest = solution[start:].split("boxed" if solution.startswith("\\boxed", start) else "fbox", 1)[1]
    if not rest.startswith("{"):
        bare = re.match(r"\s+([^\s$]+)", rest)
        if bare is None:
            raise ValueError("solution has an empty \\boxed answer")
        return bare[1].rstrip(".")
    depth = 0
    for position, character in enumerate(rest):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            found = rest[1:position].strip()
            if not found:
                raise ValueError("solution has an empty \\boxed{} answer")
            return found
    raise ValueError("the \\boxed{} answer of solution does not end")


def _sentences(solution: str) -> list[str]:
    """Sentences outside formulas: a full stop inside `$...$` or `\\[...\\]` ends nothing."""
    plain = " ".join(_FIGURE.sub("[figure]", solution).split())
    steps, kept = [], ""
    for piece in _SENTENCE.split(plain):
        kept = f"{kept} {piece}".strip()
        if kept.count("$") % 2 == 0 and kept.count("\\[") == kept.count("\\]"):
            steps.append(kept)
            kept = ""
    return [*steps, kept] if kept else steps


def _difficulty(level: str) -> Difficulty:
    found = _LEVEL.search(level)
    if found is None:
        return "medium"
    return "easy" if int(found[1]) <= 2 else "medium" if int(found[1]) == 3 else "hard"
