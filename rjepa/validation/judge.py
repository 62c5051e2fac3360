"""One door to every checker: which one judges a chain depends on what its problem knows about itself."""

from rjepa.schemas import ChainOfThought, Problem, Verdict
from rjepa.validation.answers import answers_match
from rjepa.validation.equations import first_wrong_equation


def judge(problem: Problem, steps: list[str], final_answer: str | None) -> Verdict:
    """Judge a chain of a problem.

    Curriculum problems are checked step by step against their structured form. For any other problem the final answer
    is compared with the gold answer and the equations inside the steps are checked; a wrong step is then found only
    where its arithmetic is wrong. A problem without a gold answer has no valid chains (`no_gold_answer`).
    """
    if "spec" in problem.meta:
        from rjepa.validation.curriculum import check_chain

        return check_chain(problem, steps, final_answer)
    return _judge_by_answer(problem.answer_gold, steps, final_answer)


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


def _judge_by_answer(gold: str | None, steps: list[str], final_answer: str | None) -> Verdict:
    is_correct = gold is not None and final_answer is not None and answers_match(gold, final_answer)
    if not steps:
        return Verdict(is_valid=False, is_correct=is_correct, reason="no_steps", first_error_step=0)
    wrong_step = first_wrong_equation(steps)
    if wrong_step is not None:
        return Verdict(is_valid=False, is_correct=is_correct, reason="wrong_arithmetic", first_error_step=wrong_step)
    if gold is None:
        return Verdict(is_valid=False, is_correct=False, reason="no_gold_answer")
    if final_answer is None:
        return Verdict(is_valid=False, is_correct=False, reason="no_answer", first_error_step=len(steps))
    if not is_correct:
        return Verdict(is_valid=False, is_correct=False, reason="wrong_answer")
    return Verdict(is_valid=True, is_correct=True, reason="ok")
