"""Problems of reasoning-gym are judged by its own verifiers, in a process of their own."""

from datetime import UTC, datetime

from rjepa.problems.reasoning_gym import GymTask, generate_problems
from rjepa.validation.judge import judge


def test_a_reasoning_gym_answer_is_judged_by_its_own_verifier() -> None:
    [(problem, _)] = generate_problems(GymTask(task="chain_sum", size=1), datetime.now(UTC))
    assert problem.answer_gold is not None
    assert judge(problem, ["We add."], problem.answer_gold).is_valid
    wrong = judge(problem, ["We add."], "no number")
    assert (wrong.is_valid, wrong.is_correct) == (False, False)
    assert wrong.reason in ("wrong_answer", "answer_unparsable")
    assert judge(problem, ["We add."], "9" * 2_000_000).reason == "answer_too_large"
