"""Does code pass its unit tests? The code and its tests run in the sandbox, and the report says how they ended.

The sandbox lives in `rjepa.validation.sandbox`, the program that an answer is in `rjepa.validation.code_answers`, what
tests must be given so that they run in `rjepa.validation.checks_in_tests`.

The report resists accidents, early exits and programs that only print what a pass would print; it does not resist a
program written against this very driver, which shares an interpreter with it (objects that equal everything pass any
`assert`). So a pass is evidence about a student's code, not proof against an opponent.
"""

import json
import secrets
from dataclasses import dataclass
from typing import Final

from rjepa.validation.checks_in_tests import call_tests
from rjepa.validation.code_answers import complete_solution
from rjepa.validation.sandbox import DEFAULT_LIMITS, Limits, Run, run_python

__all__ = ["MAX_CODE", "UnitTestReport", "complete_solution", "run_tests"]

MAX_CODE: Final = 100_000
"""Characters of code and tests together. A solution is a function or a few; beyond that it is not read."""

# Runs inside the sandbox with no import of this project. It reads one JSON object from stdin and ends stdout with one
# line that carries the token; a token that is missing means that the program ended before its tests did.
_DRIVER = r"""
import builtins, errno, io, json, os, sys, types, unittest

ALIASES = {"np", "numpy", "pd", "pandas", "plt", "scipy", "sp", "sympy", "torch", "tf", "pytest"}

def main():
    job = json.loads(sys.stdin.read())
    sys.stdin = io.StringIO()
    out, write, dumps = os.dup(1), os.write, json.dumps
    module = types.ModuleType("solution")
    space = module.__dict__
    # Dataclasses, pickle and typing look a class's module up; `exit` is site's, which is not loaded here.
    sys.modules["solution"] = sys.modules["__main__"] = module
    builtins.exit = builtins.quit = sys.exit
    unittest.main = lambda *_, **__: None  # the cases are run by name

    def report(reason, detail="", end=os._exit):
        try:
            sys.stdout.flush()
        except BaseException:
            pass
        write(out, ("\n" + job["token"] + " " + dumps([reason, detail[:300]]) + "\n").encode())
        end(0)

    def is_of_tests(error):
        # Does an error of the tests' own code say that they cannot run, whatever the solution is?
        if isinstance(error, ImportError):
            return error.name != "solution"
        if isinstance(error, NameError):
            if isinstance(error, UnboundLocalError):
                return True
            known = error.name in ALIASES or error.name in sys.stdlib_module_names
            return error.name != job["entry_point"] if job["entry_point"] else known
        if isinstance(error, AttributeError):
            found = getattr(error, "obj", None)
            return isinstance(found, types.ModuleType) and found is not module
        return isinstance(error, FileNotFoundError)

    def failed(stage, error):
        named = type(error).__name__ + ": " + str(error)[:200]
        if isinstance(error, MemoryError):
            report("memory_limit", named)
        if isinstance(error, OSError) and error.errno == errno.EAGAIN:
            report("process_limit", named)
        if isinstance(error, (SystemExit, KeyboardInterrupt)):
            report("ended_early", named)
        line, inner, trace = 0, "", error.__traceback__
        while trace is not None:
            name = trace.tb_frame.f_code.co_filename
            if name == "<tests>":
                line = trace.tb_lineno
            inner = name if name in ("<tests>", "<solution>") else inner
            trace = trace.tb_next
        lines = job["tests"].split("\n")
        where = lines[line - 1].strip() if 0 < line <= len(lines) else ""
        if stage == "tests" and isinstance(error, AssertionError):
            report("test_failed", "line " + str(line) + ": " + where)
        if stage == "tests" and inner == "<tests>" and is_of_tests(error):
            report("broken_tests", named + " at " + where)
        report("raised", named + (" at " + where if where else ""))

    for stage in ("solution", "tests"):
        try:
            code = compile(job[stage], "<" + stage + ">", "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
            report("syntax_error" if stage == "solution" else "broken_tests", str(error))
        if stage == "tests":
            space["__name__"] = "__main__"
            if job["entry_point"]:
                space.setdefault("candidate", space[job["entry_point"]])
        try:
            exec(code, space)
        except BaseException as error:
            failed(stage, error)
        name = job["entry_point"]
        if stage == "solution" and name and not callable(space.get(name)):
            report("no_entry_point", name)
    report("ok")

main()
"""
"""Reads one JSON object from stdin. `__name__` is `solution` while the solution runs: its main block does not run."""


@dataclass(frozen=True)
class UnitTestReport:
    """How the tests ended.

    `reason` is one of ok, test_failed, raised, syntax_error, no_entry_point, broken_tests, ended_early, crashed,
    too_large, wall_limit, cpu_limit, memory_limit, process_limit, output_limit; `detail` is for a human.
    """

    reason: str
    detail: str
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether every test ran and held."""
        return self.reason == "ok"


def run_tests(
    solution: str, tests: str, entry_point: str | None = None, limits: Limits = DEFAULT_LIMITS
) -> UnitTestReport:
    """Run `tests` (statements, usually asserts) after `solution` in one fresh sandbox.

    `check(candidate)`, test functions and unittest's cases that the tests define and do not call are called. Tests that
    cannot run whatever the solution is (a package that is not there, a name that nobody defines, nothing that checks)
    are `broken_tests`: the problem's fault.

    Raises:
        SandboxUnavailableError: code cannot be run safely on this machine.
    """
    if len(solution) + len(tests) > MAX_CODE:
        return UnitTestReport("too_large", f"{len(solution) + len(tests)} characters, at most {MAX_CODE}", 0.0)
    called = call_tests(tests, entry_point)
    if called.fault:
        return UnitTestReport("broken_tests", called.fault, 0.0)
    token = secrets.token_hex(16)
    job = {"token": token, "solution": solution, "tests": called.tests, "entry_point": entry_point}
    run = run_python(_DRIVER, limits, json.dumps(job).encode())
    return _read(run, token)


def _read(run: Run, token: str) -> UnitTestReport:
    for line in reversed(run.output.decode(errors="replace").splitlines()):
        if line.startswith(token):
            reason, detail = json.loads(line[len(token) :])
            return UnitTestReport(str(reason), str(detail), run.seconds)
    if run.ending != "finished":
        return UnitTestReport(run.ending, f"stopped after {run.seconds:.1f} s", run.seconds)
    if run.exit_code > 128:
        return UnitTestReport("crashed", f"signal {run.exit_code - 128}", run.seconds)
    return UnitTestReport("ended_early", f"exit code {run.exit_code} before the tests had run", run.seconds)
