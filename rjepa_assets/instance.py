"""The persistent Dagster instance under RJEPA_HOME: opened, configured, its partitions in step with the registry."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import dagster as dg

from rjepa.datasets.recipe import dataset_names
from rjepa.errors import InvalidInputError
from rjepa.files import write_text
from rjepa.home import Home
from rjepa.students.catalog import list_records
from rjepa_assets.defs.partitions import DATASET, LLM

REPOSITORY: Final = Path(__file__).resolve().parent.parent
"""Holds dagster.yaml and workspace.yaml: the project is installed in place."""


def prepare_dagster_home(home: Home) -> Path:
    """Put the repository's dagster.yaml where DAGSTER_HOME will be, and name it in the environment.

    Raises:
        StorageError: RJEPA_HOME cannot be written.
    """
    text = (REPOSITORY / "dagster.yaml").read_text(encoding="utf-8")
    target = home.dagster / "dagster.yaml"
    if not target.is_file() or target.read_text(encoding="utf-8") != text:
        write_text(target, text)
    os.environ["DAGSTER_HOME"] = str(home.dagster)
    os.environ["RJEPA_HOME"] = str(home.root)
    return home.dagster


@contextlib.contextmanager
def open_instance(home: Home) -> Iterator[dg.DagsterInstance]:
    """The instance that the UI shows, too."""
    prepare_dagster_home(home)
    with dg.DagsterInstance.get() as instance:
        yield instance


def add_partitions(instance: dg.DagsterInstance, home: Home) -> None:
    """Give every registered dataset and student its partition."""
    instance.add_dynamic_partitions(DATASET, dataset_names(home))
    instance.add_dynamic_partitions(LLM, [record.llm_tag for record in list_records(home)])


@contextlib.contextmanager
def only_one(home: Home, name: str, cure: str) -> Iterator[None]:
    """Hold a lock that dies with its process, so that two commands do not write the same files.

    Raises:
        InvalidInputError: another process holds it.
    """
    path = home.dagster / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise InvalidInputError(f"another process (pid {holder}) is at work in {home.root}", cure=cure) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
