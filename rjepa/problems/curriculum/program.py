"""Arithmetic programs: what lies under a word problem and a piece of straight-line code alike.

A program is a list of lines; each line is a constant or an operation on earlier lines and small numbers. This module
samples, evaluates and slices programs and writes their expressions. Wording lives in `maths` and `code`.
"""

import random
from dataclasses import dataclass
from typing import Any

Operand = tuple[str, int]
"""("ref", index of an earlier line) or ("num", a literal number)."""

INFIX = {"add": "+", "sub": "-", "mul": "*", "half": "/", "floordiv": "//", "mod": "%"}
CALLS = {"max", "min"}
COMMUTATIVE = {"add", "mul", "max", "min"}


@dataclass(frozen=True)
class Line:
    """`op` is "const" (one literal operand) or one of INFIX and CALLS (two operands)."""

    op: str
    operands: tuple[Operand, ...]

    @property
    def references(self) -> list[int]:
        """Indices of the lines this one reads."""
        return [value for kind, value in self.operands if kind == "ref"]


@dataclass(frozen=True)
class Program:
    """Lines in order; the last needed one, `query`, is what is asked for."""

    lines: tuple[Line, ...]
    names: tuple[str, ...]
    query: int

    def to_json(self) -> dict[str, Any]:
        """A JSON value for `Problem.meta["spec"]`."""
        lines = [[line.op, [list(operand) for operand in line.operands]] for line in self.lines]
        return {"kind": "program", "lines": lines, "names": list(self.names), "query": self.query}

    @classmethod
    def from_json(cls, spec: dict[str, Any]) -> "Program":
        """The inverse of `to_json`."""
        lines = tuple(Line(op, tuple((str(kind), int(value)) for kind, value in args)) for op, args in spec["lines"])
        return cls(lines, tuple(spec["names"]), int(spec["query"]))


def apply_operation(op: str, values: list[int]) -> int:
    """The integer result of one operation. Halves are rounded down: only corrupted chains halve an odd number."""
    match op:
        case "const":
            return values[0]
        case "add":
            return values[0] + values[1]
        case "sub":
            return values[0] - values[1]
        case "mul":
            return values[0] * values[1]
        case "half" | "floordiv":
            return values[0] // values[1]
        case "mod":
            return values[0] % values[1]
        case "max":
            return max(values)
        case "min":
            return min(values)
    raise ValueError(f"unknown operation {op!r}")


def operand_values(line: Line, values: list[int]) -> list[int]:
    """The numbers a line works on, given the values of the lines before it."""
    return [values[value] if kind == "ref" else value for kind, value in line.operands]


def evaluate(program: Program) -> list[int]:
    """The value of every line."""
    values: list[int] = []
    for line in program.lines:
        values.append(apply_operation(line.op, operand_values(line, values)))
    return values


def needed_lines(program: Program) -> list[int]:
    """Indices of the computed (non-constant) lines that the queried line depends on, in order: the gold steps."""
    needed: set[int] = set()
    pending = [program.query]
    while pending:
        index = pending.pop()
        if index not in needed:
            needed.add(index)
            pending.extend(program.lines[index].references)
    return sorted(index for index in needed if program.lines[index].op != "const")


def expression(op: str, values: list[int]) -> str:
    """`14 + 5`, `max(3, 8)`, ..."""
    if op in CALLS:
        return f"{op}({values[0]}, {values[1]})"
    return f"{values[0]} {INFIX[op]} {values[1]}"


def structure(program: Program) -> str:
    """What stays when names and numbers are forgotten: operations, which line reads which, what is asked.

    Two problems of one structure never fall into different splits.
    """
    lines = [
        line.op + "".join(f",{index - value}" if kind == "ref" else ",n" for kind, value in line.operands)
        for index, line in enumerate(program.lines)
    ]
    return ";".join(lines) + f"?{len(program.lines) - program.query}"


@dataclass(frozen=True)
class Shape:
    """How large a program is: `steps` needed lines, `distractors` lines that nothing needed reads, values up to
    `largest`.
    """

    steps: int
    distractors: int
    largest: int


def sample_lines(
    rng: random.Random, shape: Shape, unary: list[tuple[str, int, int]], binary: list[str]
) -> list[Line] | None:
    """Sample lines whose last one needs exactly `shape.steps` computed lines, or None if values ran out of range.

    Args:
        unary: operations with a literal operand and its range, e.g. ("add", 2, 40); repeat one to draw it more often.
        binary: operations between two lines.
    """
    lines: list[Line] = []
    values: list[int] = []
    trunk: list[int] = []

    def push(line: Line) -> int | None:
        value = apply_operation(line.op, operand_values(line, values))
        if not 0 <= value <= shape.largest:
            return None
        lines.append(line)
        values.append(value)
        return len(lines) - 1

    def constant() -> int:
        lines.append(Line("const", (("num", rng.randint(2, max(5, shape.largest // 2))),)))
        values.append(lines[-1].operands[0][1])
        return len(lines) - 1

    def computed(base: int, partners: list[int]) -> int | None:
        for _ in range(20):
            if partners and rng.random() < 0.4:
                partner = rng.choice(partners)
                pair = [base, partner] if rng.random() < 0.5 else [partner, base]
                op = rng.choice(binary)
                if op == "sub" and values[pair[0]] < values[pair[1]]:
                    pair.reverse()
                line = Line(op, (("ref", pair[0]), ("ref", pair[1])))
            else:
                op, low, high = rng.choice(unary)
                if op == "half" and values[base] % 2:
                    continue
                line = Line(op, (("ref", base), ("num", rng.randint(low, high))))
            index = push(line)
            if index is not None:
                return index
        return None

    trunk.append(constant())
    plan = ["step"] * (shape.steps - 1) + ["distractor"] * shape.distractors
    rng.shuffle(plan)
    for kind in [*plan, "step"]:
        if kind == "distractor":
            if rng.random() < 0.4:
                constant()
            elif computed(rng.randrange(len(lines)), list(range(len(lines)))) is None:
                return None
            continue
        partners = trunk[:-1]
        if rng.random() < 0.25:
            trunk.insert(len(trunk) - 1, constant())
            partners = [trunk[-2]]
        index = computed(trunk[-1], partners)
        if index is None:
            return None
        trunk.append(index)
    return lines
