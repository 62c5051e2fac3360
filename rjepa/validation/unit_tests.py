"""Does code pass its unit tests? The code and its tests run in the sandbox, and the report says how they ended.

The sandbox itself lives in `rjepa.validation.sandbox`. The report resists accidents, early exits and programs that only
print what a pass would print; it does not resist a program written against this very driver, which shares an
interpreter with it (objects that equal everything pass any `assert`). So a pass is evidence about a student's code, not
proof against an opponent.
"""

import json
import re
import secrets
from dataclasses import dataclass
from typing import Any, Final

from rjepa.validation.sandbox import DEFAULT_LIMITS, Limits, Run, run_python

MAX_CODE: Final = 100_000
"""Characters of code and tests together. A solution is a function or a few; beyond that it is not read."""

_FENCE = re.compile(r"```[ \t]*([\w+-]*)[ \t]*\r?\n(.*?)(?:```|\Z)", re.DOTALL)

# Runs inside the sandbox with no import of this project. It reads one JSON object from stdin and ends stdout with one
# line that carries the token; a token that is missing means that the program ended before its tests did.
_DRIVER = r"""
import errno, io, json, os, sys

def main():
    job = json.loads(sys.stdin.read())
    sys.stdin = io.StringIO()
    out, write, dumps = os.dup(1), os.write, json.dumps

    def report(reason, detail="", end=os._exit):
        try:
            sys.stdout.flush()
        except BaseException:
            pass
        write(out, ("\n" + job["token"] + " " + dumps([reason, detail[:300]]) + "\n").encode())
        end(0)

    def failed(stage, error):
        named = type(error).__name__ + ": " + str(error)[:200]
        if isinstance(error, MemoryError):
            report("memory_limit", named)
        if isinstance(error, OSError) and error.errno == errno.EAGAIN:
            report("process_limit", named)
        if isinstance(error, (SystemExit, KeyboardInterrupt)):
            report("ended_early", named)
        line, trace = 0, error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == "<tests>":
                line = trace.tb_lineno
            trace = trace.tb_next
        lines = job["tests"].splitlines()
        where = lines[line - 1].strip() if 0 < line <= len(lines) else ""
        if stage == "tests" and isinstance(error, AssertionError):
            report("test_failed", "line " + str(line) + ": " + where)
        report("raised", named + (" at " + where if where else ""))

    space = {"__name__": "solution"}
    for stage in ("solution", "tests"):
        try:
            code = compile(job[stage], "<" + stage + ">", "exec")
        except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
            report("syntax_error" if stage == "solution" else "broken_tests", str(error))
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

    Tests that define `check(candidate)` without calling it, as HumanEval's do, are called with the entry point.

    Raises:
        SandboxUnavailableError: code cannot be run safely on this machine.
    """
    if len(solution) + len(tests) > MAX_CODE:
        return UnitTestReport("too_large", f"{len(solution) + len(tests)} characters, at most {MAX_CODE}", 0.0)
    if (
        entry_point
        and re.search(r"^def check\(", tests, re.MULTILINE)
        and not re.search(r"^check\(", tests, re.MULTILINE)
    ):
        tests = f"{tests}\ncheck({entry_point})\n"
    token = secrets.token_hex(16)
    job = {"token": token, "solution": solution, "tests": tests, "entry_point": entry_point}
    run = run_python(_DRIVER, limits, json.dumps(job).encode())
    return _read(run, token)


def complete_solution(answer: str, statement: str, entry_point: str | None) -> str:
    """The code of an answer: the last fenced block if there is one, else all of it.

    An answer that only continues a prompt (`def f(x):` and a docstring) is put after it.
    """
    blocks = [body for language, body in _FENCE.findall(answer) if language.lower() in ("", "python", "py", "python3")]
    code = blocks[-1] if blocks else answer
    if not entry_point or re.search(rf"^\s*(?:async\s+)?def\s+{re.escape(entry_point)}\b", code, re.MULTILINE):
        return code
    if not re.search(rf"^def\s+{re.escape(entry_point)}\b", statement, re.MULTILINE):
        return code
    return f"{statement.rstrip()}\n{_as_body(code)}\n"


def _as_body(code: str) -> str:
    """Lines of a function's body, indented. Trimming may have cost the first line, or all, their indentation."""
    lines = [line.rstrip() for line in code.splitlines() if line.strip()]
    if not lines or lines[0][0].isspace():
        return "\n".join(lines)
    only_first = len(lines) > 1 and not lines[0].endswith(":") and all(line[0].isspace() for line in lines[1:])
    return "\n".join(f"    {line}" if index == 0 or not only_first else line for index, line in enumerate(lines))


def _read(run: Run, token: str) -> UnitTestReport:
    for line in reversed(run.output.decode(errors="replace").splitlines()):
        if line.startswith(token):
            said: list[Any] = json.loads(line[len(token) :])
            return UnitTestReport(str(said[0]), str(said[1]), run.seconds)
    if run.ending != "finished":
        return UnitTestReport(run.ending, f"stopped after {run.seconds:.1f} s", run.seconds)
    if run.exit_code > 128:
        return UnitTestReport("crashed", f"signal {run.exit_code - 128}", run.seconds)
    return UnitTestReport("ended_early", f"exit code {run.exit_code} before the tests had run", run.seconds)
