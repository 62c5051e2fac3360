"""One door to every checker: which one judges a chain depends on what its problem knows about itself.

`problem.meta["check"]` names the checker; what else each reads:

    check             reads                                      a chain's final answer is
    (none) + spec     meta: spec                                 the curriculum's, every step is checked
    (none)            answer_gold                                as `maths` if the domain is math, else number or text
    maths             answer_gold                                a number, formula, interval, set
    exact             answer_gold                                text, equal but for case and spaces
    multiple_choice   answer_gold, meta: choices                 a letter or an option's text
    unit_tests        meta: tests, entry_point?, prompt?         code, fenced or not; run in the sandbox
    propositional     meta: premises, conclusion?; answer_gold?  yes/no/unknown, or a formula that follows
    reasoning_gym     meta: task, entry, config                  what the task's own verifier takes

Reasons, beside the curriculum's own: ok, no_steps, no_answer, no_gold_answer, wrong_answer, wrong_arithmetic (a step's
equation), not_entailed (a step or answer that does not follow), unknown_check, broken_check (meta cannot be used),
answer_ and one of timeout, too_large, unparsable (the gold answer or the given one), worker_died; wrong_choice,
unreadable_choice; and for code those of
`rjepa.validation.unit_tests` with `tests_` before them (tests_test_failed, tests_wall_limit, ...).
Those of `PROBLEM_FAULTS` are no verdict.
"""

from collections.abc import Callable
from typing import Final

from rjepa.schemas import ChainOfThought, Problem, Verdict
from rjepa.validation.answers import answers_match
from rjepa.validation.equations import first_wrong_equation
from rjepa.validation.spelling import is_malformed, plain

PROBLEM_FAULTS: Final = frozenset({"broken_check", "tests_broken_tests"})
"""Reasons that say nothing of the solution: what the problem would check it with cannot be used."""

AnswerCheck = Callable[[Problem, list[str], str], str]
"""(problem, steps, final answer) -> "ok" or the reason why the answer is not right."""


def judge(problem: Problem, steps: list[str], final_answer: str | None) -> Verdict:
    """Judge a chain of a problem. A problem that nothing is known of has no valid chains (`no_gold_answer`).

    Raises:
        SandboxUnavailableError: code is to be run and this machine cannot do it safely.
        WorkerError: a worker process that compares formulas cannot be started.
    """
    check = problem.meta.get("check")
    if check is None and "spec" in problem.meta:
        from rjepa.validation.curriculum import check_chain

        return check_chain(problem, steps, final_answer)
    if not isinstance(check, str | None) or check not in _ANSWER_CHECKS:
        return _verdict("unknown_check")
    reason = _answer_reason(problem, steps, final_answer)
    correct = reason == "ok"
    if not steps:
        return _verdict("no_steps", correct, 0)
    if check in (None, "maths") and (wrong := first_wrong_equation(steps)) is not None:
        return _verdict("wrong_arithmetic", correct, wrong)
    if check == "propositional" and (wrong := _first_not_entailed(problem, steps)) is not None:
        return _verdict("not_entailed", correct, wrong)
    if correct:
        return Verdict(is_valid=True, is_correct=True, reason="ok")
    return _verdict(reason, first_error=len(steps) if reason == "no_answer" else None)


def judged(problem: Problem, chain: ChainOfThought) -> ChainOfThought:
    """A copy of the chain that carries its verdict."""
    verdict = judge(problem, chain.steps, chain.final_answer)
    return chain.model_copy(
        update={
            "is_valid": verdict.is_valid,
            "validation_reason": verdict.reason,
            "first_error_step": verdict.first_error_step,
        }
    )


def _verdict(reason: str, is_correct: bool = False, first_error: int | None = None) -> Verdict:
    return Verdict(is_valid=False, is_correct=is_correct, reason=reason, first_error_step=first_error)


def _answer_reason(problem: Problem, steps: list[str], final_answer: str | None) -> str:
    check = problem.meta.get("check")
    if not (problem.answer_gold or "").strip() and check in (None, "maths", "exact", "multiple_choice"):
        return "no_gold_answer"
    if final_answer is None and check == "unit_tests":
        final_answer = next((step for step in reversed(steps) if "```" in step), None)
    if final_answer is None:
        return "no_answer"
    return _ANSWER_CHECKS[check](problem, steps, final_answer)


def _plain_or_maths(problem: Problem, steps: list[str], answer: str) -> str:
    if problem.domain == "math":
        return _maths(problem, steps, answer)
    gold = problem.answer_gold or ""
    if is_malformed(gold):
        return "answer_unparsable"
    return "ok" if answers_match(gold, answer) or answers_match(plain(gold), plain(answer)) else "wrong_answer"


def _maths(problem: Problem, _steps: list[str], answer: str) -> str:
    from rjepa.validation.maths import compare

    reason = compare(problem.answer_gold or "", answer).reason
    return {"equal": "ok", "different": "wrong_answer"}.get(reason, f"answer_{reason}")


def _exact(problem: Problem, _steps: list[str], answer: str) -> str:
    given, gold = (" ".join(text.split()).rstrip(".").casefold() for text in (answer, problem.answer_gold or ""))
    return "ok" if given == gold != "" else "wrong_answer"


def _multiple_choice(problem: Problem, _steps: list[str], answer: str) -> str:
    from rjepa.validation.multiple_choice import check_choice

    choices = problem.meta.get("choices")
    if not isinstance(choices, list) or not choices:
        return "broken_check"
    reason = check_choice(problem.answer_gold or "", [str(choice) for choice in choices], answer)
    return "broken_check" if reason == "broken_gold" else reason


def _unit_tests(problem: Problem, _steps: list[str], answer: str) -> str:
    from rjepa.validation.unit_tests import complete_solution, run_tests

    tests, entry_point = problem.meta.get("tests"), problem.meta.get("entry_point")
    if not isinstance(tests, str) or not tests.strip():
        return "broken_check"
    solution = complete_solution(answer, problem.meta.get("prompt") or problem.statement, entry_point)
    reason = run_tests(solution, tests, entry_point).reason
    return "ok" if reason == "ok" else f"tests_{reason}"


def _propositional(problem: Problem, _steps: list[str], answer: str) -> str:
    from rjepa.validation.entailment import check_answer

    return check_answer(problem.meta, problem.answer_gold, answer)


def _first_not_entailed(problem: Problem, steps: list[str]) -> int | None:
    from rjepa.validation.entailment import first_step_not_entailed

    return first_step_not_entailed(problem.meta, steps)


def _reasoning_gym(problem: Problem, _steps: list[str], answer: str) -> str:
    from rjepa.validation.gym import score

    reason = score(problem.meta, answer)
    return {"equal": "ok", "different": "wrong_answer"}.get(reason, f"answer_{reason}")


_ANSWER_CHECKS: dict[str | None, AnswerCheck] = {
    None: _plain_or_maths,
    "maths": _maths,
    "exact": _exact,
    "multiple_choice": _multiple_choice,
    "unit_tests": _unit_tests,
    "propositional": _propositional,
    "reasoning_gym": _reasoning_gym,
}
