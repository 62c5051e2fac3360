"""Which program an answer is: the fenced block that solves the task, with what the prompt and other blocks give it.

Text in, a program's text out; nothing is run. How a program is run against its tests is in
`rjepa.validation.unit_tests`.
"""

import ast
import builtins
import re
import sys
import textwrap
from collections.abc import Iterable
from typing import Final

from rjepa.labels import thinking_end

_FENCE: Final = re.compile(r"(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^`]*)")
_PYTHON: Final = re.compile(r"(?:\{\s*\.?)?(?:i?python|py)[\d.]*\b", re.IGNORECASE)
_MAX_HEADER: Final = 200
"""Lines of a statement that are looked at for code before the function that is to be written."""

_DEFINITIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_IMPORTS: Final = (ast.Import, ast.ImportFrom)
_GIVING: Final = (*_DEFINITIONS, *_IMPORTS, ast.Assign, ast.AnnAssign)
"""Statements that give a module names and do nothing else that matters."""


def complete_solution(answer: str, statement: str, entry_point: str | None) -> str:
    """The program of an answer.

    Args:
        answer: code, or text with fenced code. Of several blocks, the last that defines the entry point (or any
            function, where none is named) and is no mere stub; thinking blocks are drafts and do not count.
        statement: the prompt's code, or text with such code in it. Its imports and helper functions are part of the
            program, and an answer that only continues it (a function's body) is put after it.
        entry_point: the function that the tests call.
    """
    answer = answer[thinking_end(answer) :].replace("\r\n", "\n")
    blocks = _blocks(answer)
    code = _chosen(blocks, entry_point) if blocks else answer
    bare = _before_a_lone_fence(answer, entry_point)
    if bare is not None and not any(_defines(block, entry_point) for block in blocks):
        code, blocks = bare, [block for block in blocks if block.strip()]
    signature = _signature(statement, entry_point)
    if entry_point is not None and signature is not None and not _binds(code, entry_point):
        return f"{signature.rstrip()}\n{_as_body(code)}\n"
    tree = _parsed(code)
    if tree is None:
        return code
    header = _header(statement, entry_point)
    others = [found for block in blocks if block != code and (found := _parsed(block)) is not None]
    helpers = _helpers(tree, others, {name for node in header for name in _bound(node)})
    return _joined(code, tree, [*header, *helpers])


def _blocks(answer: str) -> list[str]:
    """Bodies of the fenced blocks that may be Python, in order."""
    lines, found, place = answer.split("\n"), [], 0
    while place < len(lines):
        opening = _FENCE.fullmatch(lines[place])
        place += 1
        if opening is None:
            continue
        body, after = _body(lines, place, opening["indent"], opening["fence"])
        place = after
        info = opening["info"].strip()
        if not info or _PYTHON.match(info):
            found.append(textwrap.dedent("\n".join(body)) if opening["indent"] else "\n".join(body))
    return found


def _body(lines: list[str], first: int, indent: str, fence: str) -> tuple[list[str], int]:
    """The lines of a block that begins at `first`, and where the text goes on.

    It ends at a fence that is indented no deeper than its own (a docstring may hold others), else at a fence at the end
    of a line, else with the text: a chain may be cut off.
    """
    rest = range(first, len(lines))
    for place in rest:
        line = lines[place].strip()
        depth = len(lines[place]) - len(lines[place].lstrip())
        if line.startswith(fence) and not line.strip(fence[0]) and depth <= len(indent):
            return lines[first:place], place + 1
    for place in rest:
        if lines[place].rstrip().endswith(fence):
            return [*lines[first:place], lines[place].rstrip().removesuffix(fence)], place + 1
    return lines[first:], len(lines)


def _before_a_lone_fence(answer: str, entry_point: str | None) -> str | None:
    """The code before the first fence, where that fence closes a block that none opened; None for other answers."""
    lines = answer.split("\n")
    place = next((number for number, line in enumerate(lines) if _FENCE.fullmatch(line)), None)
    if place is None or lines[place].strip(" \t`~"):
        return None
    code = "\n".join(lines[:place])
    return code if _defines(code, entry_point) and _parsed(code) is not None else None


def _defines(code: str, entry_point: str | None) -> bool:
    """Whether code has the entry point; without one, any function or class."""
    return _binds(code, entry_point) if entry_point else _definitions(code)


def _chosen(blocks: list[str], entry_point: str | None) -> str:
    defining = [block for block in blocks if _defines(block, entry_point)]
    whole = [block for block in defining if not _is_stub(block, entry_point)]
    if whole or defining:
        return (whole or defining)[-1]
    continuing = [block for block in blocks if re.search(r"^\s*(?:return|yield)\b", block, re.MULTILINE)]
    return (continuing or blocks)[-1]


def _parsed(code: str) -> ast.Module | None:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _binds(code: str, name: str) -> bool:
    """Whether a module of this code has the name: by its text, where it cannot be parsed."""
    tree = _parsed(code)
    if tree is None:
        return re.search(rf"^\s*(?:async\s+)?def\s+{re.escape(name)}\b", code, re.MULTILINE) is not None
    return any(name in _bound(node) for node in tree.body)


def _definitions(code: str) -> bool:
    tree = _parsed(code)
    if tree is None:
        return re.search(r"^(?:async\s+)?(?:def|class)\s+\w", code, re.MULTILINE) is not None
    return any(isinstance(node, _DEFINITIONS) for node in tree.body)


def _is_stub(code: str, entry_point: str | None) -> bool:
    """Whether the entry point is a signature without a body: a docstring, `...`, `pass`, or "not implemented"."""
    tree = _parsed(code)
    if tree is None:
        return False
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    asked = [node for node in functions if node.name == entry_point] if entry_point else functions
    return bool(asked) and all(_is_empty(node.body) for node in asked)


def _is_empty(body: list[ast.stmt]) -> bool:
    return all(
        isinstance(node, ast.Pass)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        or (isinstance(node, ast.Raise) and "NotImplemented" in ast.dump(node))
        for node in body
    )


def _bound(node: ast.stmt) -> set[str]:
    """Names that a statement of a module gives it."""
    if isinstance(node, _DEFINITIONS):
        return {node.name}
    if isinstance(node, _IMPORTS):
        return {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    names = {found.id for found in ast.walk(node) if isinstance(found, ast.Name) and isinstance(found.ctx, ast.Store)}
    inner = [found for found in ast.iter_child_nodes(node) if isinstance(found, ast.stmt)]
    return names.union(*(_bound(found) for found in inner))


def _free(tree: ast.AST) -> set[str]:
    """Names that code reads and does not bind anywhere itself, Python's own left out."""
    read: set[str] = set()
    bound = set(dir(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
        elif isinstance(node, ast.stmt):
            bound |= _bound(node) if isinstance(node, (*_DEFINITIONS, *_IMPORTS)) else set()
    return read - bound


def _signature(statement: str, entry_point: str | None) -> str | None:
    """The prompt's code up to the end of the function that is to be continued; None where none is begun."""
    if entry_point is None:
        return None
    begin = re.compile(rf"(?:async\s+)?def\s+{re.escape(entry_point)}\b")
    for text in (*_blocks(statement), statement):
        lines = text.split("\n")
        place = next((number for number, line in enumerate(lines) if begin.match(line)), None)
        if place is None:
            continue
        end = place + 1
        while end < len(lines) and (not lines[end].strip() or lines[end][0] in " \t)"):
            end += 1
        starts = range(max(0, place - _MAX_HEADER), place + 1)
        whole = ("\n".join(lines[start:stop]) for stop in (len(lines), end) for start in starts)
        return next((code for code in whole if _parsed(code) or _parsed(f"{code}\n    pass")), None)
    return None


def _header(statement: str, entry_point: str | None) -> list[ast.stmt]:
    """Imports, helper functions and constants that the prompt's code has beside the entry point."""
    signature = _signature(statement, entry_point)
    if signature is None:
        return []
    tree = _parsed(signature) or _parsed(f"{signature}\n    pass") or ast.Module([], [])
    return [node for node in tree.body if isinstance(node, _GIVING) and entry_point not in _bound(node)]


def _helpers(tree: ast.Module, others: list[ast.Module], known: set[str]) -> list[ast.stmt]:
    """Return statements of other blocks that define names the chosen block reads and lacks, and what they need."""
    found: list[ast.stmt] = []
    wanted = _free(tree) - known
    while wanted:
        givers = (node for other in reversed(others) for node in other.body if _bound(node) & wanted)
        giver = next((node for node in givers if node not in found and isinstance(node, _GIVING)), None)
        if giver is None:
            break
        found.insert(0, giver)
        known = known | _bound(giver)
        wanted = (wanted | _free(giver)) - known
    return found


def _joined(code: str, tree: ast.Module, before: list[ast.stmt]) -> str:
    """The code with statements put before it, after its docstring and `from __future__` imports."""
    if not before:
        return code
    future = [node for node in before if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    own = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    split = max((node.end_lineno or 0 for node in own), default=0)
    lines = code.split("\n")
    head = [*_written(future), *lines[:split]] if not split else [*lines[:split], *_written(future)]
    rest = _written(node for node in before if node not in future)
    return "\n".join([*head, *rest, *lines[split:]])


def _written(nodes: Iterable[ast.stmt]) -> list[str]:
    """Statements as text. A package that the sandbox may not have is missed only where it is used."""
    written = []
    for node in nodes:
        text = ast.unparse(node)
        if isinstance(node, _IMPORTS) and not _is_standard(node):
            text = f"try:\n    {text}\nexcept ImportError:\n    pass"
        written.append(text)
    return written


def _is_standard(node: ast.Import | ast.ImportFrom) -> bool:
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
    return all(name.split(".")[0] in sys.stdlib_module_names for name in names)


def _as_body(code: str) -> str:
    """Lines of a function's body, indented. Trimming may have cost the first line, or all, their indentation."""
    lines = [line.rstrip() for line in code.split("\n") if line.strip()]
    if not lines or lines[0][0].isspace():
        return "\n".join(lines)
    only_first = len(lines) > 1 and not lines[0].endswith(":") and all(line[0].isspace() for line in lines[1:])
    return "\n".join(f"    {line}" if index == 0 or not only_first else line for index, line in enumerate(lines))
