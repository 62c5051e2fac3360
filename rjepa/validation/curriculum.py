"""Judge a chain of a curriculum problem step by step against the problem's structured form.

A step is right if it says what the problem says (operands, operation, rule) and its result is true, in any order that
derives what it uses first. The first step that is not is the first error; what follows it is not looked at.
"""

import re
from collections.abc import Callable

from rjepa.problems.curriculum import code, logic, maths
from rjepa.problems.curriculum.program import (
    COMMUTATIVE,
    INFIX,
    Program,
    apply_operation,
    evaluate,
    operand_values,
)
from rjepa.schemas import Problem, Verdict

_NUMBER = r"-?\d{1,9}"
_EXPRESSION = re.compile(
    rf"^(?:(?P<a>{_NUMBER}) (?P<infix>\+|-|\*|//|/|%) (?P<b>{_NUMBER})"
    rf"|(?P<call>max|min)\((?P<c>{_NUMBER}), (?P<d>{_NUMBER})\)) = (?P<result>{_NUMBER})$"
)
_STEP = {"math": re.compile(r"^(\w+) has (.+?): (.+)$"), "code": re.compile(r"^(\w+) = (.+?) = (.+)$")}
_PHRASE = {"math": maths.phrase, "code": code.phrase}
_RULE_STEP = re.compile(r"^(?P<rule>Every (?P<kind>\w+) is a (?P<to>\w+)\b.*), so (?P<name>\w+) is a (?P=to)$")

StepCheck = Callable[[str], str]
"""Takes a step, returns "ok" or the reason why it is wrong, and remembers what right steps have derived."""


def check_chain(problem: Problem, steps: list[str], final_answer: str | None) -> Verdict:
    """Judge one chain. `problem.meta["spec"]` must be a curriculum spec."""
    is_correct = final_answer is not None and final_answer.strip() == problem.answer_gold
    if not steps:
        return Verdict(is_valid=False, is_correct=is_correct, reason="no_steps", first_error_step=0)
    spec = problem.meta["spec"]
    if spec["kind"] == "rules":
        check, derived = _rule_checker(logic.RuleSet.from_json(spec))
    else:
        check, derived = _program_checker(problem.domain, Program.from_json(spec))
    for index, step in enumerate(steps):
        reason = check(step)
        if reason != "ok":
            return Verdict(is_valid=False, is_correct=is_correct, reason=reason, first_error_step=index)
    if is_correct and derived():
        return Verdict(is_valid=True, is_correct=True, reason="ok")
    reason = "missing_step" if is_correct else "no_answer" if final_answer is None else "wrong_answer"
    return Verdict(is_valid=False, is_correct=is_correct, reason=reason, first_error_step=len(steps))


def _program_checker(domain: str, program: Program) -> tuple[StepCheck, Callable[[], bool]]:
    values = evaluate(program)
    known = {index for index, line in enumerate(program.lines) if line.op == "const"}

    def check(step: str) -> str:
        parts = _STEP[domain].match(step)
        expression = _EXPRESSION.match(parts.group(3)) if parts else None
        if parts is None or expression is None:
            return "unreadable_step"
        name, phrase = parts.group(1), parts.group(2)
        if name not in program.names:
            return "unknown_name"
        lines = [i for i, line in enumerate(program.lines) if program.names[i] == name and line.op != "const"]
        lines = [i for i in lines if _PHRASE[domain](program, i) == phrase]
        if not lines:
            return "misread_statement"
        lines = [i for i in lines if i not in known]
        if not lines:
            return "repeated_step"
        reasons = [_compare(program, index, values, known, expression) for index in lines]
        # A variable may be assigned the same expression twice: the step then states both.
        stated = [index for index, reason in zip(lines, reasons, strict=True) if reason == "ok"]
        known.update(stated)
        return "ok" if stated else reasons[0]

    return check, lambda: program.query in known


def _compare(program: Program, index: int, values: list[int], known: set[int], expression: re.Match[str]) -> str:
    line = program.lines[index]
    given = [int(expression["a"] or expression["c"]), int(expression["b"] or expression["d"])]
    expected = operand_values(line, values)
    same = given == expected or (line.op in COMMUTATIVE and sorted(given) == sorted(expected))
    symbol = expression["call"] or expression["infix"]
    right_symbol = symbol == INFIX.get(line.op, line.op)
    if not right_symbol:
        return "wrong_operation"
    if not same:
        return "wrong_operand"
    if int(expression["result"]) != apply_operation(line.op, expected):
        return "wrong_arithmetic"
    if not known.issuperset(line.references):
        return "missing_premise"
    return "ok"


def _rule_checker(rule_set: logic.RuleSet) -> tuple[StepCheck, Callable[[], bool]]:
    kind = rule_set.start

    def check(step: str) -> str:
        nonlocal kind
        stated_rule = _RULE_STEP.match(step)
        if stated_rule is None or stated_rule["name"] != rule_set.name:
            return "unreadable_step"
        if stated_rule["kind"] != kind:
            return "wrong_premise"
        rules = [rule for rule in rule_set.rules if logic.rule_text(rule) == stated_rule["rule"]]
        if not rules:
            return "no_such_rule"
        if not all(rule_set.facts.get(attribute) is value for attribute, value in rules[0].conditions):
            return "wrong_condition"
        kind = stated_rule["to"]
        return "ok"

    return check, lambda: logic.applicable(rule_set, kind) is None
