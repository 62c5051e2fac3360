"""The project's own served student as a teacher, over real HTTP: it solves, validators judge what it wrote."""

import random
from pathlib import Path
from typing import Any

import pytest

from rjepa.home import Home
from rjepa.schemas import Problem
from rjepa.teacher import JobPlan, Teacher, run_job
from rjepa.validation.judge import judged
from serving.app import create_app
from serving.settings import ServiceSettings
from tests.serving.fakes import running, wait_for_release
from tests.tiny_release import TAG, addition, publish, register_student, taught_folder

pytestmark = pytest.mark.slow


def sums(count: int) -> list[Problem]:
    rng = random.Random(3)
    drawn = dict((statement, answer) for statement, _, answer in (addition(rng) for _ in range(count * 4)))
    return [
        Problem(problem_id=f"sum{n}", domain="math", source="test", statement=statement, answer_gold=answer)
        for n, (statement, answer) in enumerate(list(drawn.items())[:count])
    ]


def test_the_served_student_is_a_teacher(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    home = Home(tmp_path / "home")
    publish(home, register_student(home, taught_folder(tmp_path_factory)), tmp_path / "sources")
    app = create_app(ServiceSettings(home=home.root, llm=TAG, reload_seconds=0.05, api_key=None, _env_file=None))
    with running(app) as address:
        wait_for_release(app)
        student = Teacher(
            name="self", base_url=f"{address}/v1", model=TAG, reply="steps", max_tokens=64, temperature=1, concurrency=2
        )
        given = sums(4)
        result = run_job(home, "own", [student], JobPlan(chains_per_problem=2, label=True), given, budget_usd=0)
        again = run_job(home, "own", [student], JobPlan(chains_per_problem=2, label=True), given, budget_usd=0)
    assert result.chains and again.chains == result.chains and "asked" not in again.events
    assert result.spending.spent == 0
    problems = {problem.problem_id: problem for problem in given}
    verdicts = {judged(problems[chain.problem_id], chain).validation_reason for chain in result.chains}
    assert verdicts <= {"ok", "wrong_answer", "wrong_arithmetic"}
    assert all(chain.teacher_model == TAG and chain.steps for chain in result.chains)
