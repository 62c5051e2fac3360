"""Environments for tests: a lean one with only what a file of configs/environments/ installs, and an empty one."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import psutil
from packaging.requirements import Requirement

from rjepa.students.environments import REQUIREMENTS


def lean_environment(folder: Path, file: str = "student.txt") -> Path:
    """A venv's folder whose `bin/python` is this Python without its site-packages: it finds the packages that the file
    names and what those need, and no others."""
    site = folder / "site"
    site.mkdir(parents=True)
    for distribution in _closure(file):
        for top in {path.parts[0] for path in distribution.files or []} - {"..", "__pycache__"}:
            source = Path(str(distribution.locate_file(top)))
            if source.exists() and not (site / top).exists():
                (site / top).symlink_to(source)
    python = folder / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexport PYTHONPATH="{site}:$PYTHONPATH"\nexec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)
    return folder


def empty_environment(folder: Path) -> Path:
    """A venv without any package."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder


def _closure(file: str) -> list[metadata.Distribution]:
    found: dict[str, metadata.Distribution] = {}
    wanted = _requirements(file)
    while wanted:
        name = wanted.pop().lower().replace("_", "-")
        if name not in found:
            found[name] = metadata.distribution(name)
            required = [Requirement(line) for line in found[name].requires or []]
            wanted += [one.name for one in required if one.marker is None or one.marker.evaluate({"extra": ""})]
    return list(found.values())


def _requirements(file: str) -> list[str]:
    names = []
    for line in (REQUIREMENTS / file).read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            names += _requirements(line.removeprefix("-r "))
        elif line and not line.startswith("#"):
            names.append(Requirement(line).name)
    return names


def runs(process: psutil.Process, module: str) -> bool:
    """Whether the process runs that module. Other children of the tests come and go while they are looked at."""
    try:
        return module in process.cmdline()
    except psutil.NoSuchProcess:
        return False
