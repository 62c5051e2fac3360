"""HumanEval and MBPP: functions to write, checked by unit tests. The tests run in the sandbox of `rjepa.validation`."""

import ast
import builtins
from typing import Any

from rjepa.problems.benchmarks.rows import Adapted, text, texts


def humaneval(row: dict[str, Any]) -> Adapted:
    """`prompt` (signature, docstring), `canonical_solution` (its body), `test` (defines `check`), `entry_point`."""
    prompt, entry_point = _code(row, "prompt"), text(row, "entry_point")
    return Adapted(
        statement=f"Complete this Python function.\n\n{prompt.rstrip()}",
        answer=f"{prompt}{_code(row, 'canonical_solution')}".rstrip(),
        domain="code",
        subdomain="humaneval",
        meta={
            "check": "unit_tests",
            "tests": f"{_code(row, 'test').rstrip()}\n\ncheck({entry_point})\n",
            "entry_point": entry_point,
            "prompt": prompt,
        },
    )


def mbpp(row: dict[str, Any]) -> Adapted:
    """`text` (or `prompt`, in the sanitised half), `code`, `test_list`, `test_setup_code` or `test_imports`."""
    asserts = texts(row, "test_list")
    setup = row.get("test_imports") or row.get("test_setup_code") or ""
    lines = [*setup] if isinstance(setup, list) else [setup] if setup else []
    shown = "\n".join(asserts)
    return Adapted(
        statement=f"{text(row, 'text', 'prompt')}\n\nThe code must pass these tests:\n{shown}",
        answer=_code(row, "code").replace("\r\n", "\n").rstrip(),
        domain="code",
        subdomain="mbpp",
        meta={
            "check": "unit_tests",
            "tests": "\n".join([*lines, *asserts]) + "\n",
            "entry_point": tested_function(asserts),
        },
    )


def tested_function(asserts: list[str]) -> str | None:
    """The first name called in the asserts that is not Python's own; None where there is none."""
    for line in asserts:
        try:
            tree = ast.parse(line.strip())
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not hasattr(builtins, node.func.id):
                return node.func.id
    return None


def _code(row: dict[str, Any], name: str) -> str:
    """As `text`, with the indent that the first line has."""
    text(row, name)
    return str(row[name]).strip("\n") + "\n"
