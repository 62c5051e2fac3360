"""Make a gold chain wrong at one chosen step, and go on consistently from the wrong value, as a student would.

The steps before the chosen one stay as they are, so that right and wrong chains share their prefix. A corrupted chain
is not marked wrong here: the step checker judges it like any other.
"""

import random

from rjepa.problems.curriculum import code, logic, maths
from rjepa.problems.curriculum.program import (
    CALLS,
    COMMUTATIVE,
    Program,
    apply_operation,
    evaluate,
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
    values = evaluate(program)
    right = {
        _statement(program.names[index], line.op, operand_values(line, values), values[index])
        for index, line in enumerate(program.lines)
    }
    while True:
        position = rng.randrange(len(needed))
        broken = needed[position]
        op, numbers, result = _wrong_step(program, broken, values, kind, rng)
        # By chance, a wrong step may be what another line of the same variable says.
        if _statement(program.names[broken], op, numbers, result) not in right:
            break
    values[broken] = result
    wording = _WORDINGS[domain]
    steps: list[str] = []
    for index in needed:
        if index == broken:
            steps.append(wording.step_text(program, index, op, numbers, result))
            continue
        line = program.lines[index]
        read = operand_values(line, values)
        if index > broken:
            values[index] = apply_operation(line.op, read)
        steps.append(wording.step_text(program, index, line.op, read, values[index]))
    return position, steps, str(values[program.query])


def _statement(name: str, op: str, numbers: list[int], result: int) -> tuple[str, str, tuple[int, ...], int]:
    """What a step says, whatever the order of operands that may be swapped."""
    return name, op, tuple(sorted(numbers) if op in COMMUTATIVE else numbers), result


def _wrong_step(
    program: Program, index: int, values: list[int], kind: str, rng: random.Random
) -> tuple[str, list[int], int]:
    """Operation, operands and result of a wrong version of line `index`."""
    line = program.lines[index]
    numbers = operand_values(line, values)
    right = apply_operation(line.op, numbers)
    if kind == "wrong_operation":
        others = [op for op in ("add", "sub", "mul", "max") if op != line.op and (op not in CALLS or line.op in CALLS)]
        for op in rng.sample(others, len(others)):
            if apply_operation(op, numbers) != right:
                return op, numbers, apply_operation(op, numbers)
    if kind == "wrong_operand":
        place = 0 if line.operands[1][0] == "num" else rng.randrange(2)
        choices = sorted({value for value in values[:index] if value != numbers[place]})
        for choice in rng.sample(choices, len(choices)):
            changed = [choice if at == place else number for at, number in enumerate(numbers)]
            if sorted(changed) != sorted(numbers) and not (line.op in ("mod", "floordiv") and changed[1] == 0):
                return line.op, changed, apply_operation(line.op, changed)
    return line.op, numbers, _slip(right, rng)


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
