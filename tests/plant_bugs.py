"""Plant known bugs one by one and show that a test catches each.

    python -m tests.plant_bugs                  # every bug: some minutes
    python -m tests.plant_bugs energy gate      # those whose name holds one of these words
    python -m tests.plant_bugs --table          # the table of docs/testing.md

A bug is one replacement in one file, planted in a copy of the tree. Its test has to pass without it and fail with it.
The bugs stand in planted_bugs.toml.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Bug:
    """What is planted, in words and as a replacement, and the test that has to catch it."""

    name: str
    file: str
    right: str
    wrong: str
    test: str


def _read(path: Path) -> tuple[Bug, ...]:
    return tuple(Bug(**row) for row in tomllib.loads(path.read_text(encoding="utf-8"))["bug"])


BUGS = _read(ROOT / "tests" / "planted_bugs.toml")


def main() -> int:
    """Plant what the command line names; the exit code says whether all were caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.plant_bugs")
    parser.add_argument("words", nargs="*", help="plant only bugs whose name holds one of these")
    parser.add_argument("--table", action="store_true", help="print the table of docs/testing.md")
    options = parser.parse_args()
    if options.table:
        print(table())
        return 0
    chosen = [bug for bug in BUGS if not options.words or any(word in bug.name for word in options.words)]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "tree"
        ignored = shutil.ignore_patterns(".git", ".venv*", ".rjepa", "__pycache__", "*_cache")
        shutil.copytree(ROOT, copy, ignore=ignored)
        missed = [bug for bug in chosen if not _is_caught(bug, copy)]
    print(f"{len(chosen) - len(missed)} of {len(chosen)} planted bugs were caught")
    return 1 if missed else 0


def table() -> str:
    """Markdown: one row a bug."""
    rows = [f"| {bug.name} | `{bug.file}` | `{bug.test}` |" for bug in BUGS]
    return "\n".join(["| planted bug | in | caught by |", "|---|---|---|", *rows])


def _is_caught(bug: Bug, tree: Path) -> bool:
    path = tree / bug.file
    source = path.read_text(encoding="utf-8")
    if source.count(bug.right) != 1:
        print(f"STALE   {bug.name}: {bug.file} holds {bug.right!r} {source.count(bug.right)} times")
        return False
    if not _passes(bug.test, tree):
        print(f"BROKEN  {bug.name}: {bug.test} fails without the bug")
        return False
    path.write_text(source.replace(bug.right, bug.wrong), encoding="utf-8")
    try:
        caught = not _passes(bug.test, tree)
    finally:
        path.write_text(source, encoding="utf-8")
    print(f"{'caught' if caught else 'MISSED'}  {bug.name}: {bug.test}", flush=True)
    return caught


def _passes(test: str, tree: Path) -> bool:
    # The copy stands before the installed package; bytecode of one second's edits must not be taken for another's.
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-n0", test]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
