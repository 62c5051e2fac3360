"""Judging what no gold answer is known for: a teacher's chain counts where enough of the teachers' chains say the same.

How answers are counted lives in `rjepa.validation.agreement`. A problem is never given an answer for good here: the
agreed one only serves to judge its chains, and their `meta.agreement` says so.
"""

from collections import defaultdict
from collections.abc import Iterable

from rjepa.datasets.recipe import DatasetRecipe
from rjepa.schemas import ChainOfThought, Problem
from rjepa.validation.agreement import Agreement, agree
from rjepa.validation.judge import judged
from rjepa.validation.maths import compare

_BY_TESTS = ("unit_tests", "propositional", "reasoning_gym")
"""Checks that need no gold answer."""


def agreements(
    recipe: DatasetRecipe, problems: dict[str, Problem], chains: Iterable[ChainOfThought]
) -> dict[str, Agreement]:
    """What the teachers of a recipe come to, for each of its problems without a gold answer or a check of its own."""
    if recipe.teaching is None:
        return {}
    answers: dict[str, list[str | None]] = defaultdict(list)
    for chain in chains:
        problem = problems[chain.problem_id]
        if problem.answer_gold is None and problem.meta.get("check") not in _BY_TESTS and "spec" not in problem.meta:
            answers[chain.problem_id].append(chain.final_answer)
    return {
        problem_id: agree(
            given,
            threshold=recipe.teaching.agreement,
            same=_same_formula if problems[problem_id].domain == "math" else None,
        )
        for problem_id, given in answers.items()
    }


def judged_by_agreement(problem: Problem, chain: ChainOfThought, agreement: Agreement) -> ChainOfThought:
    """A copy of the chain with its verdict: against the agreed answer, or invalid because there is none
    (`no_agreement_tie`, `no_agreement_below_threshold`, `no_agreement_too_few_answers`).
    """
    noted = chain.model_copy(
        update={"meta": {**chain.meta, "agreement": {"reason": agreement.reason, "share": round(agreement.share, 4)}}}
    )
    if agreement.answer is not None:
        return judged(problem.model_copy(update={"answer_gold": agreement.answer}), noted)
    return noted.model_copy(update={"is_valid": False, "validation_reason": f"no_agreement_{agreement.reason}"})


def _same_formula(one: str, other: str) -> bool:
    return compare(one, other).equal
