"""Do unit tests check anything? What their text must still be given so that its checks run, or why they never do.

Tests that nothing calls pass whatever the solution does. So HumanEval's `check(candidate)`, pytest's functions and
unittest's cases are called here; where that cannot be, the tests are broken, which is the problem's fault.
"""

import ast
from dataclasses import dataclass
from typing import Final

_RUN_CASES: Final = """
import unittest as _unittest
_result = _unittest.TestResult()
for _case in ({cases},):
    _unittest.defaultTestLoader.loadTestsFromTestCase(_case).run(_result)
assert _result.testsRun > len(_result.skipped), "no test ran"
assert _result.wasSuccessful(), str([*_result.errors, *_result.failures][0][1])[-250:]
"""

_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class CalledTests:
    """Tests whose checks run. `fault` says why they do not; empty: they do."""

    tests: str
    fault: str = ""


def call_tests(tests: str, entry_point: str | None) -> CalledTests:
    """The tests with calls of what they define and do not call themselves. Text that is no Python stays as it is."""
    try:
        tree = ast.parse(tests)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return CalledTests(tests)
    if tree.body and not any(_checks(node) for node in tree.body):
        return CalledTests(tests, "they check nothing")
    called = _called(tree)
    more: list[str] = []
    for node in tree.body:
        if isinstance(node, _FUNCTIONS) and node.name not in called:
            more += _call_of(node, entry_point)
        elif isinstance(node, ast.ClassDef) and node.name.startswith("Test") and not node.bases:
            more += [f"{node.name}().{name}()" for name in _methods(node) if node.name not in called]
    cases = [node.name for node in tree.body if isinstance(node, ast.ClassDef) and _is_case(node)]
    if not more and not cases and (fault := _fault(tree, called)):
        return CalledTests(tests, fault)
    whole = tests if not more else tests.rstrip("\n") + "\n" + "\n".join(more) + "\n"
    return CalledTests(whole + _RUN_CASES.format(cases=", ".join(cases)) if cases else whole)


def _called(tree: ast.Module) -> set[str]:
    """Names that statements outside functions and classes read: calling is one way of it, a table of tests another."""
    outside = [node for node in tree.body if not isinstance(node, (*_FUNCTIONS, ast.ClassDef))]
    names = {found.id for node in outside for found in ast.walk(node) if isinstance(found, ast.Name)}
    inside = {node.name: node for node in tree.body if isinstance(node, _FUNCTIONS)}
    for _ in inside:  # functions that called functions call
        more = {
            found.id
            for name in names & inside.keys()
            for found in ast.walk(inside[name])
            if isinstance(found, ast.Name)
        }
        if more <= names:
            break
        names |= more
    return names


def _call_of(node: ast.FunctionDef | ast.AsyncFunctionDef, entry_point: str | None) -> list[str]:
    """The call of a test function that nothing calls; none for a helper, or where its arguments are unknown."""
    arguments = node.args
    needed = len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)
    if node.name == "check" and needed == 1 and entry_point is not None:
        call = f"check({entry_point})"
    elif node.name.startswith("test") and needed == 0:
        call = f"{node.name}()"
    elif node.name.startswith("test") and needed == 1 and entry_point is not None:
        if (arguments.posonlyargs + arguments.args)[0].arg not in ("candidate", entry_point):
            return []
        call = f"{node.name}({entry_point})"
    else:
        return []
    return [f"import asyncio\nasyncio.run({call})" if isinstance(node, ast.AsyncFunctionDef) else call]


def _methods(node: ast.ClassDef) -> list[str]:
    found = [method for method in node.body if isinstance(method, ast.FunctionDef)]
    return [method.name for method in found if method.name.startswith("test") and len(method.args.args) == 1]


def _is_case(node: ast.ClassDef) -> bool:
    return any(ast.unparse(base).endswith("TestCase") for base in node.bases)


def _fault(tree: ast.Module, called: set[str]) -> str:
    """Why these tests check nothing; empty where they do."""
    idle = [node for node in tree.body if isinstance(node, (*_FUNCTIONS, ast.ClassDef)) and node.name not in called]
    running = [node for node in tree.body if node not in idle]
    if any(_checks(node) for node in running):
        return ""
    hidden = [node.name for node in idle if _checks(node)]
    return f"nothing calls {', '.join(hidden)}" if hidden else "they check nothing"


def _checks(node: ast.AST) -> bool:
    """Whether a statement can fail because of the solution: it asserts, raises, or calls something and does not just
    print it.
    """
    if isinstance(node, ast.Assert | ast.Raise):
        return True
    if isinstance(node, ast.Call):
        return not (isinstance(node.func, ast.Name) and node.func.id == "print")
    return any(_checks(inner) for inner in ast.iter_child_nodes(node))
