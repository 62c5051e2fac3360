"""Make curriculum problems with their gold chains, and give each its split by the hash of its structure."""

import hashlib
import random

from rjepa.problems.curriculum import code, logic, maths
from rjepa.problems.curriculum.program import Program, evaluate, needed_lines, operand_values, structure
from rjepa.schemas import ChainOfThought, Difficulty, Problem, Split

CURRICULUM_DOMAINS = ("math", "code", "logic")
LICENCE = "Apache-2.0"
DIFFICULTIES: tuple[Difficulty, ...] = ("easy", "medium", "hard")
EQUAL_WEIGHTS = (1.0, 1.0, 1.0)
_TENTHS: dict[Split, range] = {"train": range(0, 8), "validation": range(8, 9), "test": range(9, 10)}
_WORDINGS = {"math": maths, "code": code}


def split_of(structure_text: str) -> Split:
    """Eight tenths of all structures are for training, one for validation, one for tests, whatever the seed."""
    tenth = int(hashlib.sha256(structure_text.encode()).hexdigest(), 16) % 10
    return next(split for split, tenths in _TENTHS.items() if tenth in tenths)


def generate_problems(
    split: Split,
    count: int,
    seed: int,
    domain: str,
    weights: tuple[float, float, float] = EQUAL_WEIGHTS,
) -> list[tuple[Problem, ChainOfThought]]:
    """`count` different problems of one split and domain, each with its gold chain (not yet validated).

    Args:
        weights: shares of easy, medium and hard problems.

    Raises:
        ValueError: an unknown domain.
    """
    if domain not in CURRICULUM_DOMAINS:
        raise ValueError(f"unknown curriculum domain {domain!r}; known: {', '.join(CURRICULUM_DOMAINS)}")
    rng = random.Random(f"{seed}/{domain}/{split}")
    made: dict[str, tuple[Problem, ChainOfThought]] = {}
    while len(made) < count:
        difficulty = rng.choices(DIFFICULTIES, weights)[0]
        problem, chain = sample_problem(rng, domain, difficulty)
        if problem.split == split:
            made.setdefault(problem.statement, (problem, chain))
    return list(made.values())


def sample_problem(rng: random.Random, domain: str, difficulty: Difficulty) -> tuple[Problem, ChainOfThought]:
    """One problem of whatever split its structure falls into."""
    if domain == "logic":
        rule_set, statement = logic.sample(rng, difficulty)
        path = logic.follow(rule_set, rule_set.start)
        steps = [logic.step_text(rule_set.name, rule) for rule in path]
        shape, spec, answer = logic.structure(rule_set), rule_set.to_json(), path[-1].target
    else:
        program, statement = _WORDINGS[domain].sample(rng, difficulty)
        steps, answer = solve_program(domain, program)
        shape, spec = structure(program), program.to_json()
    shape = f"{domain}:{shape}"
    problem_id = f"{domain}-{hashlib.sha256(statement.encode()).hexdigest()[:16]}"
    problem = Problem(
        problem_id=problem_id,
        domain=domain,
        subdomain=f"{len(steps)}-steps",
        source="curriculum",
        difficulty=difficulty,
        statement=statement,
        answer_gold=answer,
        licence=LICENCE,
        split=split_of(shape),
        meta={"spec": spec, "structure": shape},
    )
    return problem, ChainOfThought(cot_id=f"{problem_id}-gold", problem_id=problem_id, steps=steps, final_answer=answer)


def solve_program(domain: str, program: Program) -> tuple[list[str], str]:
    """The gold steps and answer of a math or code program."""
    values = evaluate(program)
    steps = []
    for index in needed_lines(program):
        line = program.lines[index]
        numbers = operand_values(line, values)
        steps.append(_WORDINGS[domain].step_text(program, index, line.op, numbers, values[index]))
    return steps, str(values[program.query])
