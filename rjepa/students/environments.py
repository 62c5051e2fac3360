"""A student's own Python environment: which interpreter it is, whether it has what our code needs, and how a module of
ours is started in it. What runs there is `rjepa.latents.worker` and `rjepa.sampling.server`.

The environment keeps the student's libraries apart from the platform's; it does not keep its code out of anything.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement

from rjepa.configs import CONFIGS
from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.home import Home
from rjepa.students.catalog import StudentRecord

REQUIREMENTS: Final = CONFIGS / "environments"
_OLDEST_PYTHON: Final = (3, 11)
_PROBE_SECONDS: Final = 60.0

_PROBE: Final = """
import json, sys
from importlib import metadata
versions = {}
for name in sys.argv[1:]:
    try:
        versions[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        versions[name] = None
print(json.dumps({"python": list(sys.version_info[:3]), "versions": versions}))
"""
"""Run in the environment with nothing but its standard library. Versions are read, nothing is imported: torch alone
would take seconds."""

_FILES: Final = {"awq": "awq.txt", "gptq": "gptq.txt", "gguf": "gguf.txt", "bnb4": "bnb.txt", "bnb8": "bnb.txt"}
"""Files of requirements, by quantisation."""


def requirement_files(record: StudentRecord) -> list[Path]:
    """The files of configs/environments/ that a student's environment is installed from."""
    names = [_FILES.get(record.quantisation, "student.txt")]
    names += ["endpoint.txt"] if record.endpoint is not None else []
    names += ["lora.txt"] if record.lora is not None else []
    return [REQUIREMENTS / name for name in names]


def find_interpreter(environment: str) -> Path:
    """The interpreter of an environment: the file itself, or `bin/python` of a venv's folder.

    Raises:
        NotFoundError: there is none.
    """
    path = Path(environment).expanduser().absolute()  # not resolved: a venv is known by where its link lies
    python = path / "bin" / "python" if path.is_dir() else path
    if not python.is_file() or not os.access(python, os.X_OK):
        raise NotFoundError(
            f"there is no Python interpreter at {python}",
            cure=f"make the environment (python3 -m venv {path}), or name an existing one",
        )
    return python


def check_environment(record: StudentRecord, files: list[Path] | None = None) -> Path:
    """The interpreter of a student's environment, after a look at what is installed there.

    Raises:
        NotFoundError: there is no such interpreter.
        InvalidInputError: it does not run, is too old, or lacks packages; all of them are named, with what installs
            them.
    """
    if record.environment is None:
        raise ValueError(f"{record.llm_tag} has no environment of its own")
    python = find_interpreter(record.environment)
    files = requirement_files(record) if files is None else files
    wanted = [requirement for file in files for requirement in _read_requirements(file)]
    found = _probe(python, sorted({requirement.name for requirement in wanted}))
    if tuple(found["python"]) < _OLDEST_PYTHON:
        raise InvalidInputError(
            f"{python} is Python {'.'.join(map(str, found['python']))}",
            cure="make the environment of Python 3.11 or newer",
        )
    faults = {_fault(requirement, found["versions"][requirement.name]): None for requirement in wanted}
    faults.pop("", None)
    if faults:
        raise InvalidInputError(
            f"the environment of {record.llm_tag} ({python}) lacks {', '.join(faults)}",
            cure=f"install it there: {pip_command(python, files)}",
        )
    return python


def pip_command(python: Path, files: list[Path]) -> str:
    """What a user types to install files of requirements into an environment."""
    return f"{python} -m pip install {' '.join(f'-r {file}' for file in files)}"


def module_command(python: Path, module: str, arguments: list[str]) -> list[str]:
    """The command that runs a module of ours in an environment."""
    return [str(python), "-m", module, *arguments]


def module_variables(home: Home) -> dict[str, str]:
    """What such a process finds in its environment variables beside ours: this code on its path, nothing else of it."""
    return {
        "PYTHONPATH": str(CONFIGS.parent),
        "RJEPA_HOME": str(home.root.absolute()),
    }


def _probe(python: Path, names: list[str]) -> dict[str, Any]:
    command = [str(python), "-c", _PROBE, *names]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PROBE_SECONDS, env=variables, check=True
        )
        return dict(json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        printed = str(getattr(error, "stderr", "") or error).strip().splitlines()
        raise InvalidInputError(
            f"{python} does not run as a Python interpreter: {printed[-1] if printed else type(error).__name__}",
            cure="name a Python interpreter, or the folder of a venv",
        ) from error


def _read_requirements(file: Path) -> list[Requirement]:
    requirements = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            requirements += _read_requirements(file.parent / line.removeprefix("-r ").strip())
        elif line and not line.startswith("#"):
            requirements.append(Requirement(line))
    return requirements


def _fault(requirement: Requirement, version: str | None) -> str:
    if version is None:
        return f"{requirement.name}{requirement.specifier}"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{requirement.name}{requirement.specifier} (it has {version})"
    return ""
