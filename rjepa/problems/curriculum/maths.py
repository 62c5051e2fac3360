"""Word problems: people who have more, fewer, twice as many ... of something than others.

Tom has 14 apples. Mia has 5 more than Tom. There are 7 shops in town. Leo has 2 times as many as Mia. How many
apples does Leo have?

Step 1: Mia has 5 more than Tom: 14 + 5 = 19
Step 2: Leo has 2 times as many as Mia: 19 * 2 = 38
"""

import random

from rjepa.problems.curriculum.program import (
    Program,
    Shape,
    expression,
    sample_lines,
)

NAMES = (
    "Tom Mia Leo Ann Bob Sam Zoe Max Eva Ben Kim Jon Lia Roy Ada Ned Ivy Gus Amy Dan Pia Rex Una Vic".split()  # noqa: SIM905
)
NOUNS = "apples coins books cards shells stamps pens marbles eggs keys".split()  # noqa: SIM905
SETTINGS = ("There are {n} shops in town.", "The walk takes {n} minutes.", "It is day {n} of the year.")

SHAPES = {
    "easy": [Shape(steps, distractors, 50) for steps in (3, 4) for distractors in (0, 1)],
    "medium": [Shape(steps, distractors, 99) for steps in (4, 5, 6) for distractors in (1, 2)],
    "hard": [Shape(steps, distractors, 199) for steps in (6, 7, 8) for distractors in (1, 2, 3)],
}
_UNARY = [("add", 2, 40), ("sub", 2, 40), ("mul", 2, 4), ("half", 2, 2)]
_BINARY = ["add", "sub"]


def sample(rng: random.Random, difficulty: str) -> tuple[Program, str]:
    """A program and its statement."""
    while True:
        lines = sample_lines(rng, rng.choice(SHAPES[difficulty]), _UNARY, _BINARY)
        if lines is not None and len(lines) <= len(NAMES):
            break
    program = Program(tuple(lines), tuple(rng.sample(NAMES, len(lines))), len(lines) - 1)
    return program, _statement(rng, program)


def step_text(program: Program, index: int, op: str, numbers: list[int], result: int) -> str:
    """The step that computes line `index`: what the problem says, then the arithmetic, right or wrong.

    Saying the relation first lets a small student look up one thing at a time (docs/lab-book/01-form-of-a-step.md).
    """
    return f"{program.names[index]} has {phrase(program, index)}: {expression(op, numbers)} = {result}"


def phrase(program: Program, index: int) -> str:
    """How a computed line relates to others: `5 more than Tom`."""
    line = program.lines[index]
    texts = [program.names[value] if kind == "ref" else str(value) for kind, value in line.operands]
    between_people = len(line.references) == 2
    match line.op:
        case "add" if between_people:
            return f"as many as {texts[0]} and {texts[1]} together"
        case "sub" if between_people:
            return f"as many as {texts[0]} has more than {texts[1]}"
        case "add":
            return f"{texts[1]} more than {texts[0]}"
        case "sub":
            return f"{texts[1]} fewer than {texts[0]}"
        case "mul":
            return f"{texts[1]} times as many as {texts[0]}"
        case "half":
            return f"half as many as {texts[0]}"
    raise ValueError(f"no phrase for {line.op!r}")


def _statement(rng: random.Random, program: Program) -> str:
    noun = rng.choice(NOUNS)
    sentences = []
    for index, (owner, line) in enumerate(zip(program.names, program.lines, strict=True)):
        amount = f"{line.operands[0][1]} {noun}" if line.op == "const" else phrase(program, index)
        sentences.append(f"{owner} has {amount}.")
    if rng.random() < 0.3:
        setting = rng.choice(SETTINGS).format(n=rng.randint(2, 60))
        sentences.insert(rng.randrange(1, len(sentences)), setting)
    return " ".join([*sentences, f"How many {noun} does {program.names[program.query]} have?"])
