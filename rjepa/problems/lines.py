"""One row of an import as a problem with its chain, and back: which fields a row may have, and what they must be.

How a cell is read in which a library wrote a list or no value is in `rjepa.problems.cells`.

A stranger's row (`read_row`) may not say how it is checked: `meta` can hold code that a checker runs. Only the
normalised rows that this module wrote itself (`read_normalised`) carry it.
"""

import json
import unicodedata
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from rjepa.labels import STEP_LABEL
from rjepa.problems.cells import number_text
from rjepa.problems.splitting import split_by_hash, statement_key
from rjepa.schemas import ChainOfThought, Difficulty, Problem, Split

UNKNOWN_LICENCE = "unknown"

_MAX_SHOWN = 40
"""Characters of a value that is refused."""

WorkedProblem = tuple[Problem, ChainOfThought | None]
"""A problem and its worked solution; None where it has none."""

SplitChoice = Split | Literal["by-hash"]
"""Where an import's problems go: all into one split, or each where the hash of its statement says (80, 10, 10 %)."""


def _clean(text: Any) -> Any:
    """One spelling of equal text: NFC, `\\n` ends, no blanks around. Other types pass and are refused by pydantic."""
    if not isinstance(text, str):
        return text
    if text.isascii():
        return text.replace("\r\n", "\n").strip()
    text.encode()  # a lone surrogate cannot be stored: UnicodeEncodeError is a ValueError
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n")).strip()


def _answer_text(answer: Any) -> Any:
    if isinstance(answer, int) and not isinstance(answer, bool):
        return str(answer)
    return number_text(answer) if isinstance(answer, float | Decimal) else _clean(answer)


_Text = Annotated[str, BeforeValidator(_clean)]
_Name = Annotated[str, BeforeValidator(_clean), Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]


class Line(BaseModel):
    """What a row of a file may say. Other fields are ignored and named in a warning."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    statement: Annotated[_Text, Field(min_length=1)]
    answer: Annotated[str, BeforeValidator(_answer_text), Field(min_length=1)]
    domain: _Name = "custom"
    steps: list[Annotated[_Text, Field(min_length=1)]] | None = None
    difficulty: Difficulty = "medium"
    subdomain: _Text = ""
    licence: Annotated[_Text, Field(min_length=1)] = UNKNOWN_LICENCE
    split: Split | None = None
    problem_id: (
        Annotated[str, BeforeValidator(_answer_text), Field(min_length=1, max_length=150, pattern=r"^\S+$")] | None
    ) = None

    @field_validator("steps")
    @classmethod
    def _plain_steps(cls, steps: list[str] | None) -> list[str] | None:
        return [_without_label(step) for step in steps] if steps else None


def _without_label(step: str) -> str:
    """A step on one line, without its label; a label alone stays."""
    label = STEP_LABEL.match(step) if "step" in step.casefold() else None
    return " ".join(step[label.end() if label else 0 :].split()) or step


def read_row(
    row: dict[str, Any], name: str, created_at: datetime, split: SplitChoice | None = None, licence: str | None = None
) -> WorkedProblem:
    """A stranger's row as a problem of the data set `name`.

    Args:
        split: of every problem, or "by-hash". None: what the row says, else `test`: problems that are not offered for
            training are evaluated, all of them.
        licence: of rows that name none.

    Raises:
        ValueError: a field is missing or wrong (`reason_of` says which).
    """
    line = Line.model_validate(row)
    problem_id = line.problem_id or f"{name}-{statement_key(line.statement)[:16]}"
    source = f"import:{name}"
    problem = Problem(
        problem_id=problem_id,
        domain=line.domain,
        subdomain=line.subdomain,
        source=source,
        difficulty=line.difficulty,
        statement=line.statement,
        answer_gold=line.answer,
        licence=(licence if licence and line.licence == UNKNOWN_LICENCE else line.licence),
        split=_split_of(line, split),
    )
    if not line.steps:
        return problem, None
    return problem, ChainOfThought(
        cot_id=f"{problem_id}-gold",
        problem_id=problem_id,
        steps=line.steps,
        final_answer=line.answer,
        teacher_model="imported",
        source=source,
        created_at=created_at,
    )


def _split_of(line: Line, choice: SplitChoice | None) -> Split:
    if choice == "by-hash":
        return line.split or split_by_hash(line.statement)
    return choice or line.split or "test"


def normalised(pair: WorkedProblem) -> str:
    """A pair as one line of JSON that `read_normalised` reads back."""
    problem, chain = pair
    row: dict[str, Any] = {
        "problem_id": problem.problem_id,
        "split": problem.split,
        "domain": problem.domain,
        "subdomain": problem.subdomain,
        "difficulty": problem.difficulty,
        "licence": problem.licence,
        "statement": problem.statement,
        "answer": problem.answer_gold,
        "steps": chain.steps if chain is not None else None,
    }
    if problem.meta:
        row |= {"source": problem.source, "meta": problem.meta}
    return json.dumps(row, ensure_ascii=False) + "\n"


def read_normalised(row: dict[str, Any], name: str, created_at: datetime) -> WorkedProblem:
    """A row that `normalised` wrote, as its problem and chain."""
    problem, chain = read_row(row, name, created_at)
    if "meta" not in row:
        return problem, chain
    source = {"source": row["source"]}
    problem = problem.model_copy(update=source | {"meta": row["meta"]})
    return problem, chain and chain.model_copy(update=source | {"teacher_model": row["source"]})


def reason_of(error: ValueError) -> str:
    """Why a row was refused, in a few words."""
    if isinstance(error, ValidationError):
        found = [f"{'.'.join(map(str, e['loc']))}: {_short(e)}" for e in error.errors(include_url=False)[:3]]
        return "; ".join(found)
    if isinstance(error, UnicodeEncodeError):
        return "holds a broken character (half of a surrogate pair)"
    return str(error)


def _short(detail: Any) -> str:
    if detail["type"] == "missing":
        return "missing"
    if detail["type"] in ("string_too_short", "too_short"):
        return "empty"
    message = str(detail["msg"]).removeprefix("Value error, ")
    if detail["type"] != "string_type":
        return message
    found = detail["input"]
    if isinstance(found, dict):
        keys = ", ".join(map(repr, list(found)[:3]))
        return f"{message}, and is an object with {keys}; name one with --map FIELD=COLUMN.KEY"
    if isinstance(found, list):
        return f"{message}, and is a list of {len(found)}; name one with --map FIELD=COLUMN.0"
    return f"{message}, and is {json.dumps(found, default=str)[:_MAX_SHOWN]}"
