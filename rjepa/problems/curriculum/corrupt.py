"""Make a gold chain wrong at one chosen step, and go on consistently from the wrong value, as a student would.

The steps before the chosen one stay as they are, so that right and wrong chains share their prefix. A corrupted chain
is not marked wrong here: the step checker judges it like any other.
"""

import random

from rjepa.problems.curriculum import code, logic, maths
from rjepa.problems.curriculum.program import (
    CALLS,
    Program,
    apply_operation,
    evaluate,
    expression,
    needed_lines,
    operand_values,
)
from rjepa.schemas import ChainOfThought, Problem

CORRUPTIONS = ("wrong_arithmetic", "wrong_operand", "wrong_operation", "wrong_rule")
_WORDINGS = {"math": maths, "code": code}


def corrupt(problem: Problem, chain: ChainOfThought, rng: random.Random, kind: str | None = None) -> ChainOfThought:
    """A copy of `chain` with one wrong step at a random place.

    Args:
        kind: one of CORRUPTIONS that fits the domain; None draws one.

    Raises:
        ValueError: the problem is not from the curriculum, or the kind does not fit its domain.
    """
    spec = problem.meta.get("spec")
    if spec is None:
        raise ValueError(f"{problem.problem_id} is not from the curriculum: it cannot be corrupted")
    if spec["kind"] == "rules":
        if kind not in (None, "wrong_rule"):
            raise ValueError(f"{kind!r} does not fit a logic problem; use 'wrong_rule'")
        kind = "wrong_rule"
        position, steps, answer = _corrupt_rules(logic.RuleSet.from_json(spec), rng)
    else:
        kind = kind or rng.choice(CORRUPTIONS[:3])
        if kind not in CORRUPTIONS[:3]:
            raise ValueError(f"{kind!r} does not fit a {problem.domain} problem; use one of {CORRUPTIONS[:3]}")
        position, steps, answer = _corrupt_program(problem.domain, Program.from_json(spec), rng, kind)
    return chain.model_copy(
        update={
            "cot_id": f"{problem.problem_id}-{kind}-{position}-{rng.getrandbits(32):08x}",
            "steps": steps,
            "final_answer": answer,
            "is_valid": None,
            "first_error_step": None,
            "meta": {"corruption": kind, "corrupted_step": position},
        }
    )


def _corrupt_program(domain: str, program: Program, rng: random.Random, kind: str) -> tuple[int, list[str], str]:
    needed = needed_lines(program)
    position = rng.randrange(len(needed))
    values = evaluate(program)
    wording = _WORDINGS[domain]
    steps: list[str] = []
    for index, line in enumerate(program.lines):
        if line.op == "const" or index not in needed:
            continue
        if index != needed[position]:
            values[index] = apply_operation(line.op, operand_values(line, values))
            steps.append(wording.step_text(program, index, values, values[index]))
            continue
        right = wording.step_text(program, index, values, values[index])
        text, values[index] = _wrong_step(wording, program, index, values, kind, rng)
        if text == right:
            raise AssertionError("a corruption must change the step")
        steps.append(text)
    return position, steps, str(values[program.query])


def _wrong_step(
    wording: object, program: Program, index: int, values: list[int], kind: str, rng: random.Random
) -> tuple[str, int]:
    line = program.lines[index]
    numbers = operand_values(line, values)
    right = apply_operation(line.op, numbers)
    op = line.op
    if kind == "wrong_operation":
        others = [
            other for other in ("add", "sub", "mul", "max") if other != op and (other not in CALLS or op in CALLS)
        ]
        op = next((o for o in rng.sample(others, len(others)) if apply_operation(o, numbers) != right), op)
    elif kind == "wrong_operand":
        place = 0 if line.operands[1][0] == "num" else rng.randrange(2)
        choices = sorted({value for value in values[:index] if value != numbers[place]})
        for choice in rng.sample(choices, len(choices)):
            changed = [choice if at == place else number for at, number in enumerate(numbers)]
            if sorted(changed) != sorted(numbers) and not (op in ("mod", "floordiv") and changed[1] == 0):
                numbers = changed
                break
    result = apply_operation(op, numbers)
    if op == line.op and numbers == operand_values(line, values):
        result = _slip(right, rng)
    left = program.names[index] + (" has " if wording is maths else " = ")
    return f"{left}{expression(op, numbers)} = {result}", result


def _slip(right: int, rng: random.Random) -> int:
    """A number that a careless student writes instead: off by one or ten, or two digits swapped."""
    slips = {right + 1, right - 1, right + 10, right - 10, right + 2}
    if right > 11:
        slips.add(int(str(right)[::-1]))
    return rng.choice(sorted(value for value in slips if value >= 0 and value != right))


def _corrupt_rules(rule_set: logic.RuleSet, rng: random.Random) -> tuple[int, list[str], str]:
    path = logic.follow(rule_set, rule_set.start)
    position = rng.randrange(len(path))
    rule = path[position]
    siblings = [other for other in rule_set.rules if other.source == rule.source and other != rule]
    others = [other for other in rule_set.rules if other.target != rule.target]
    if siblings and rng.random() < 0.6:
        # Takes the branch whose condition does not hold.
        wrong = rng.choice(siblings)
    else:
        # Misreads where the rule leads.
        wrong = logic.Rule(rule.source, rule.conditions, rng.choice(others).target if others else rule_set.start)
    rest = logic.follow(rule_set, wrong.target)
    steps = [logic.step_text(rule_set.name, step) for step in [*path[:position], wrong, *rest]]
    return position, steps, rest[-1].target if rest else wrong.target
