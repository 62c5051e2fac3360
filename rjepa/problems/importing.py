"""Read problems that a user brings: JSON lines with `statement`, `answer` and, where known, `domain`, `steps` and more.

Either every line is good or the whole file is refused, with the first bad lines named. Nothing is written here; the
registering of a good file lives in `rjepa.datasets.registering`. The normalised form written there is read by the same
function.
"""

import json
import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.problems.splitting import split_by_hash, statement_key
from rjepa.schemas import ChainOfThought, Difficulty, Problem, Split

MAX_LINE = 1 << 20
"""Bytes of one line: a problem is a page or two, and a longer line is most likely no JSON-lines file at all."""
MAX_SHOWN = 10
UNKNOWN_LICENCE = "unknown"

_BOM = b"\xef\xbb\xbf"
_STEP_LABEL = re.compile(r"^Step\s+\d+\s*[:.]\s*", re.IGNORECASE)
_FIELDS = "statement and answer (text), and if you like domain, steps (a list of texts), difficulty, licence, split"


def _clean(text: Any) -> Any:
    """One spelling of equal text: NFC, `\\n` ends, no blanks around. Other types pass and are refused by pydantic."""
    if not isinstance(text, str):
        return text
    text.encode()  # a lone surrogate cannot be stored: UnicodeEncodeError is a ValueError
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n")).strip()


def _answer_text(answer: Any) -> Any:
    if isinstance(answer, int) and not isinstance(answer, bool):
        return str(answer)
    if not isinstance(answer, float):
        return _clean(answer)
    if not math.isfinite(answer):
        raise ValueError("is not a finite number")
    return str(int(answer)) if answer.is_integer() and abs(answer) < 1e15 else str(answer)


_Text = Annotated[str, BeforeValidator(_clean)]
_Name = Annotated[str, BeforeValidator(_clean), Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    statement: Annotated[_Text, Field(min_length=1)]
    answer: Annotated[str, BeforeValidator(_answer_text), Field(min_length=1)]
    domain: _Name = "custom"
    steps: list[Annotated[_Text, Field(min_length=1)]] | None = None
    difficulty: Difficulty = "medium"
    subdomain: _Text = ""
    licence: Annotated[_Text, Field(min_length=1)] = UNKNOWN_LICENCE
    split: Split | None = None
    problem_id: Annotated[_Text, Field(min_length=1, max_length=150, pattern=r"^\S+$")] | None = None

    @field_validator("steps")
    @classmethod
    def _plain_steps(cls, steps: list[str] | None) -> list[str] | None:
        return [" ".join(_STEP_LABEL.sub("", step).split()) or step for step in steps] if steps else None


@dataclass(frozen=True)
class ImportedProblems:
    """A good file's problems with their chains (None where a problem has no steps), and what its owner should know."""

    pairs: list[tuple[Problem, ChainOfThought | None]]
    warnings: list[str] = field(default_factory=list)

    def to_json_lines(self) -> str:
        """The normalised file, in which every line has its id and split: it reads back as the same problems."""
        rows = []
        for problem, chain in self.pairs:
            row = {
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
            rows.append(json.dumps(row, ensure_ascii=False))
        return "".join(f"{row}\n" for row in rows)


def read_problems(path: Path, name: str, created_at: datetime, split: Split | None = None) -> ImportedProblems:
    """Read a JSON-lines file as the data set `name`.

    Args:
        created_at: written into the chains.
        split: the split of every problem. None: what a line says, else the hash of its statement decides.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: something is wrong with any of its lines; up to 10 are named.
    """
    if not path.is_file():
        raise NotFoundError(f"{path} is not a file", cure="name a JSON-lines file, one problem a line")
    reader = _Reader(name, created_at, split)
    try:
        for number, raw in _lines(path):
            reader.read(number, raw)
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read ({error.strerror})", cure="check its permissions") from error
    if reader.bad_count:
        more = reader.bad_count - len(reader.bad)
        listed = "".join(f"\n  {line}" for line in reader.bad) + (f"\n  and {more} more" if more else "")
        raise InvalidInputError(
            f"{path} has {reader.bad_count} bad line(s), nothing was imported:{listed}",
            cure=f"mend these lines and import again; each line is one JSON object with {_FIELDS}",
        )
    if not reader.pairs:
        raise InvalidInputError(
            f"{path} holds no problems", cure=f"write one JSON object a line, with {_FIELDS}"
        )
    return ImportedProblems(reader.pairs, reader.warnings())


def _lines(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines, None for one that is too long: such a line is passed over in pieces and never held in memory."""
    with path.open("rb") as file:
        number = 0
        while raw := file.readline(MAX_LINE + 1):
            number += 1
            if number == 1:
                raw = raw.removeprefix(_BOM)
            if len(raw) <= MAX_LINE:
                yield number, raw
                continue
            while raw and not raw.endswith(b"\n"):
                raw = file.readline(MAX_LINE)
            yield number, None


class _Reader:
    """Gathers good problems and complaints about bad lines."""

    def __init__(self, name: str, created_at: datetime, split: Split | None) -> None:
        self.pairs: list[tuple[Problem, ChainOfThought | None]] = []
        self.bad: list[str] = []
        self.bad_count = 0
        self._name, self._created_at, self._split = name, created_at, split
        self._ids: dict[str, int] = {}
        self._statements: dict[str, int] = {}
        self._ignored: set[str] = set()

    def read(self, number: int, raw: bytes | None) -> None:
        try:
            if raw is None:
                raise ValueError(f"longer than {MAX_LINE} bytes")
            if raw.strip():
                self._accept(number, _parse(raw))
        except ValueError as error:
            self.bad_count += 1
            if len(self.bad) < MAX_SHOWN:
                self.bad.append(f"line {number}: {_reason(error)}")

    def warnings(self) -> list[str]:
        found = []
        unknown = sum(problem.licence == UNKNOWN_LICENCE for problem, _ in self.pairs)
        if unknown:
            found.append(f"the licence of {unknown} problem(s) is unknown: check it before you share what is made here")
        if self._ignored:
            names = ", ".join(sorted(self._ignored)[:MAX_SHOWN])
            found.append(f"{len(self._ignored)} unknown field(s) were ignored: {names}")
        return found

    def _accept(self, number: int, row: dict[str, Any]) -> None:
        line = _Line.model_validate(row)
        key = statement_key(line.statement)
        problem_id = line.problem_id or f"{self._name}-{key[:16]}"
        for seen, value, what in (
            (self._statements, key, "this statement"),
            (self._ids, problem_id, f"the problem_id {problem_id!r}"),
        ):
            if value in seen:
                raise ValueError(f"{what} is already on line {seen[value]}")
        self._statements[key] = self._ids[problem_id] = number
        self._ignored.update(str(name)[:40] for name in row.keys() - _Line.model_fields.keys())
        self.pairs.append(self._pair(line, problem_id))

    def _pair(self, line: _Line, problem_id: str) -> tuple[Problem, ChainOfThought | None]:
        source = f"import:{self._name}"
        problem = Problem(
            problem_id=problem_id,
            domain=line.domain,
            subdomain=line.subdomain,
            source=source,
            difficulty=line.difficulty,
            statement=line.statement,
            answer_gold=line.answer,
            licence=line.licence,
            split=self._split or line.split or split_by_hash(line.statement),
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
            created_at=self._created_at,
        )


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 (byte {error.start + 1}); save the file as UTF-8") from None
    try:
        row = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at character {error.pos + 1})") from None
    except RecursionError:
        raise ValueError("not a problem (nested too deeply)") from None
    if not isinstance(row, dict):
        raise ValueError(f"a JSON {type(row).__name__}, not an object {{...}}")
    return row


def _reason(error: ValueError) -> str:
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
    return str(detail["msg"]).removeprefix("Value error, ")
