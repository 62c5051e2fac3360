"""Chains judged a second, by domain: the step checkers, formulas in the worker pool, code in the sandbox.

`python -m benchmarks.validation`. Wall seconds, because most of the work is in other processes; the ratios are of runs
that take turns, so that whatever else the machine does falls on both sides.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable

from benchmarks.subject import report
from rjepa.problems.curriculum import generate_problems
from rjepa.schemas import ChainOfThought, Problem
from rjepa.validation.judge import judge
from rjepa.validation.maths import MathsPool
from rjepa.validation.sandbox import SandboxUnavailableError, require_sandbox
from rjepa.validation.unit_tests import run_tests

CHAINS = 400
ROUNDS = 3
FORMULAS = 40
PROCESSES = 2
PROGRAMS = 10
TARGETS = {
    "maths_pool_over_process_per_answer": 20.0,
    "sandboxed_over_plain_subprocess": 0.3,
    "curriculum_logic_chains_per_second": 500.0,
}
"""At least: a kept worker saves an import of sympy an answer; the sandbox may cost twice what a start of Python
does; a dataset of 100 000 chains is judged in minutes."""

_ONE_ANSWER = (
    "import sys\nfrom math_verify import parse, verify\n"
    "print(verify(parse('$' + sys.argv[1] + '$'), parse('$' + sys.argv[2] + '$')))\n"
)
_SOLUTION = "def total(values):\n    result = 0\n    for value in values:\n        result += value\n    return result\n"
_TESTS = "assert total([1, 2, 3]) == 6\nassert total([]) == 0\nassert total(range(100)) == 4950\n"


def main() -> None:
    """Measure and report."""
    figures: dict[str, float | str] = {}
    for domain in ("math", "code", "logic"):
        pairs = list(generate_problems("train", CHAINS, 1, domain))
        seconds = best(lambda pairs=pairs: judge_all(pairs))
        figures[f"curriculum_{domain}_chains_per_second"] = len(pairs) / seconds
    figures |= maths_figures()
    try:
        require_sandbox()
        figures |= code_figures()
    except SandboxUnavailableError as error:
        figures["sandboxed_over_plain_subprocess"] = 0.0
        figures["sandbox"] = error.problem
    report("validation", figures, TARGETS)


def judge_all(pairs: list[tuple[Problem, ChainOfThought]]) -> None:
    """Judge right chains."""
    for problem, chain in pairs:
        verdict = judge(problem, chain.steps, chain.final_answer)
        assert verdict.is_valid, verdict


def maths_figures() -> dict[str, float | str]:
    """A pool of two, its start left out, against math-verify in a process of its own for each answer."""
    pairs = [(f"({n}+x)^2", f"x^2+{2 * n}x+{n * n}") for n in range(2, 2 + FORMULAS)]

    def alone() -> None:
        for gold, answer in pairs[:PROCESSES]:
            done = subprocess.run([sys.executable, "-c", _ONE_ANSWER, gold, answer], capture_output=True, check=True)
            assert done.stdout == b"True\n", done

    with MathsPool(2) as pool:
        started = time.perf_counter()
        pool.compare_all([("2x", "x+x"), ("3x", "x+2x")])
        start = time.perf_counter() - started

        def pooled() -> None:
            assert all(found.equal for found in pool.compare_all(pairs))

        each = best(pooled) / len(pairs)
        lonely = best(alone, rounds=1) / PROCESSES
        numbers = best(lambda: pool.compare_all([(str(n), f"{n}.0") for n in range(1000)])) / 1000
    return {
        "maths_pool_start_seconds": start,
        "maths_pool_chains_per_second": 1 / each,
        "maths_plain_number_chains_per_second": 1 / numbers,
        "maths_pool_over_process_per_answer": lonely / each,
    }


def code_figures() -> dict[str, float | str]:
    """The same program and tests in the sandbox and in a bare interpreter."""
    program = f"import json\n{_SOLUTION}\n{_TESTS}\nprint(json.dumps(['ok']))"

    def sandboxed() -> None:
        for _ in range(PROGRAMS):
            assert run_tests(_SOLUTION, _TESTS, "total").passed

    def bare() -> None:
        for _ in range(PROGRAMS):
            done = subprocess.run([sys.executable, "-I", "-S", "-B", "-c", program], capture_output=True, check=True)
            assert json.loads(done.stdout) == ["ok"]

    sandboxed()
    seconds = {"sandboxed": float("inf"), "bare": float("inf")}
    for _ in range(ROUNDS):
        for name, work in (("sandboxed", sandboxed), ("bare", bare)):
            seconds[name] = min(seconds[name], best(work, rounds=1))
    return {
        "code_chains_per_second": PROGRAMS / seconds["sandboxed"],
        "sandboxed_over_plain_subprocess": seconds["bare"] / seconds["sandboxed"],
    }


def best(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """The least wall seconds of some rounds."""
    least = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        least = min(least, time.perf_counter() - start)
    return least


if __name__ == "__main__":
    main()
