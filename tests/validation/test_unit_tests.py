"""Code judged by its unit tests, for real, in the sandbox."""

import pytest

from rjepa.schemas import Problem
from rjepa.validation.judge import judge
from rjepa.validation.sandbox import Limits
from rjepa.validation.unit_tests import complete_solution, run_tests
from tests.validation.hostile import needs_sandbox

ADD = "def add(a, b):\n    return a + b\n"
TESTS = "assert add(1, 2) == 3\nassert add(-1, 1) == 0\n"
TIGHT = Limits(wall_seconds=20.0, cpu_seconds=1, memory_mib=256, processes=12)
PROMPT = 'def add(a, b):\n    """Add two numbers."""\n'
HUMANEVAL = "def check(candidate):\n    assert candidate(2, 3) == 5\n    assert candidate(0, 0) == 0\n"


@needs_sandbox
@pytest.mark.parametrize(
    ("solution", "reason"),
    [
        (ADD, "ok"),
        ("add = lambda a, b: a - b", "test_failed"),
        ("def add(a, b):\n    return a / 0", "raised"),
        ("def add(a, b:\n", "syntax_error"),
        ("def plus(a, b):\n    return a + b", "no_entry_point"),
        ("import os\nos._exit(0)", "ended_early"),
        ("import sys\nsys.exit(0)", "ended_early"),
        ("print('ok')\nraise KeyboardInterrupt", "ended_early"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "crashed"),
        ("while True: pass", "cpu_limit"),
        ("def add(a, b):\n    return len(bytearray(10 * 1024**3))", "memory_limit"),
        ("while True: print('x' * 999)", "output_limit"),
        ("import os\nwhile True: os.fork()", "process_limit"),
        ("#" * 100_001, "too_large"),
    ],
)
def test_the_report_says_how_the_tests_ended(solution: str, reason: str) -> None:
    report = run_tests(solution, TESTS, "add", TIGHT)
    assert report.reason == reason
    assert report.passed is (reason == "ok")


@needs_sandbox
def test_a_failed_assert_is_named() -> None:
    assert run_tests("def add(a, b): return 3", TESTS, "add").detail == "line 2: assert add(-1, 1) == 0"


@needs_sandbox
def test_printing_what_a_pass_prints_is_no_pass() -> None:
    assert not run_tests('print(\'\\n0123 ["ok", ""]\')\nimport os\nos._exit(0)', TESTS, "add").passed


@needs_sandbox
def test_a_program_that_only_reads_input_at_its_main_block_is_not_run_as_main() -> None:
    assert run_tests(ADD + "if __name__ == '__main__':\n    raise ValueError\n", TESTS, "add").passed


@pytest.mark.parametrize(
    "answer",
    [
        "    return a + b",
        "return a + b",
        "```python\n    return a + b\n```",
        "def add(a, b):\n    return a + b",
        "Here it is:\n```python\ndef add(a, b):\n    return a + b\n```\nDone.",
        "total = a\n    total += b\n    return total",
        "for _ in range(b):\n    a += 1\nreturn a",
    ],
)
@needs_sandbox
def test_a_completion_is_put_after_its_prompt(answer: str) -> None:
    assert run_tests(complete_solution(answer, PROMPT, "add"), HUMANEVAL, "add").reason == "ok"


@needs_sandbox
def test_the_judge_runs_the_tests_of_a_code_problem() -> None:
    problem = Problem(
        problem_id="c",
        domain="code",
        source="humaneval",
        statement=f"Complete this Python function.\n\n{PROMPT}",
        meta={"check": "unit_tests", "tests": HUMANEVAL, "entry_point": "add", "prompt": PROMPT},
    )
    assert judge(problem, ["Add them."], "    return a + b").is_valid
    assert judge(problem, ["Add them.", "```python\ndef add(a, b):\n    return a + b\n```"], None).is_valid
    wrong = judge(problem, ["Subtract."], "    return a - b")
    assert (wrong.is_valid, wrong.is_correct, wrong.reason) == (False, False, "tests_test_failed")
    assert judge(problem, ["Nothing."], None).reason == "no_answer"
    broken = problem.model_copy(update={"meta": {"check": "unit_tests"}})
    assert judge(broken, ["Add."], "return 1").reason == "broken_check"
