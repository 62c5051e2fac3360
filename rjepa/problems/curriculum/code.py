"""Straight-line code tracing: what does this program print?

a = 7
b = a + 5
a = max(b, 3)
print(a)

Step 1: b = a + 5 = 7 + 5 = 12
Step 2: a = max(b, 3) = max(12, 3) = 12
"""

import random

from rjepa.problems.curriculum.program import (
    INFIX,
    Line,
    Program,
    Shape,
    expression,
    sample_lines,
)

VARIABLES = "abcdefghkmnpqrstuvwxyz"
REASSIGNED = 0.3
"""Share of lines that overwrite a variable which is no longer read: the trace must follow values, not names."""

SHAPES = {
    "easy": [Shape(steps, distractors, 50) for steps in (3, 4) for distractors in (0, 1)],
    "medium": [Shape(steps, distractors, 99) for steps in (4, 5, 6) for distractors in (1, 2)],
    "hard": [Shape(steps, distractors, 199) for steps in (6, 7, 8) for distractors in (1, 2, 3)],
}
_UNARY = [("add", 2, 50)] * 3 + [("sub", 2, 50)] * 3 + [("mul", 2, 5)] * 2 + [("floordiv", 2, 4), ("mod", 3, 9)]
_BINARY = ["add"] * 3 + ["sub"] * 3 + ["max", "min"]
"""Operations that forget their input (mod, max, ...) are rare: they let a wrong step end in the right answer."""


def sample(rng: random.Random, difficulty: str) -> tuple[Program, str]:
    """A program and its statement."""
    while True:
        lines = sample_lines(rng, rng.choice(SHAPES[difficulty]), _UNARY, _BINARY)
        if lines is not None and len(lines) <= len(VARIABLES):
            break
    program = Program(tuple(lines), _names(rng, lines), len(lines) - 1)
    return program, _statement(program)


def step_text(program: Program, index: int, op: str, numbers: list[int], result: int) -> str:
    """The step that computes line `index`: the line itself, then the arithmetic, right or wrong."""
    return f"{program.names[index]} = {phrase(program, index)} = {expression(op, numbers)} = {result}"


def phrase(program: Program, index: int) -> str:
    """The right side of a line: `7`, `a + 5`, `max(b, 3)`."""
    line = program.lines[index]
    texts = [program.names[value] if kind == "ref" else str(value) for kind, value in line.operands]
    if line.op == "const":
        return texts[0]
    if line.op in INFIX:
        return f"{texts[0]} {INFIX[line.op]} {texts[1]}"
    return f"{line.op}({texts[0]}, {texts[1]})"


def _names(rng: random.Random, lines: list[Line]) -> tuple[str, ...]:
    last_read = {value: index for index, line in enumerate(lines) for value in line.references}
    fresh = rng.sample(VARIABLES, len(lines))
    names: list[str] = []
    holder: dict[str, int] = {}
    for index in range(len(lines)):
        dead = sorted(name for name, line in holder.items() if last_read.get(line, line) <= index)
        name = rng.choice(dead) if dead and rng.random() < REASSIGNED else fresh.pop()
        names.append(name)
        holder[name] = index
    return tuple(names)


def _statement(program: Program) -> str:
    rows = [f"{name} = {phrase(program, index)}" for index, name in enumerate(program.names)]
    return "\n".join([*rows, f"print({program.names[program.query]})"])
