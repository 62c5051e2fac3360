"""The persistent Dagster instance under RJEPA_HOME: where it lies, how it is opened, what its runs carry.

Which partitions it has is `requests`' business, what happens to its runs `launching`'s and `processes`'.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import dagster as dg
from dagster_shared.serdes import deserialize_value

from rjepa.errors import InvalidInputError
from rjepa.files import write_text
from rjepa.home import Home
from rjepa.settings import load_settings

REPOSITORY: Final = Path(__file__).resolve().parent.parent
"""Holds dagster.yaml and workspace.yaml: the project is installed in place."""

LOCATION: Final = "rjepa"
"""Name of the code location in workspace.yaml and pyproject.toml."""

MODULE: Final = "rjepa_assets.definitions"
_REPOSITORY_NAME: Final = "__repository__"
"""What Dagster calls the repository of a location that has one only."""


class RJepaInstance(dg.DagsterInstance):
    """Dagster's own instance but for two things: where DAGSTER_HOME is not set it lies in RJEPA_HOME, so that `dg
    launch` from a plain shell sees what the UI sees; and a run that is started here says which code location it belongs
    to, without which the UI's timeline and the history of jobs leave it out.

    Named in dagster.yaml as `instance_class`.
    """

    @classmethod
    def config_schema(cls) -> Mapping[str, Any]:
        """It takes no settings of its own."""
        return {}

    @classmethod
    def config_defaults(cls, base_dir: str) -> Mapping[str, Any]:
        """Dagster's defaults for all storages, under DAGSTER_HOME or else under RJEPA_HOME."""
        if not os.environ.get("DAGSTER_HOME"):
            folder = Home(load_settings().home.expanduser().resolve()).dagster
            folder.mkdir(parents=True, exist_ok=True)
            base_dir = str(folder)
        with dg.DagsterInstance.from_config(base_dir, os.devnull) as plain:
            return plain.get_ref().config_defaults(base_dir)

    def create_run_for_job(self, job_def: dg.JobDefinition, *args: Any, **kwargs: Any) -> dg.DagsterRun:
        """A run that knows its code location."""
        if kwargs.get("remote_job_origin") is None:
            kwargs["remote_job_origin"] = _origin(job_def.name)
        return super().create_run_for_job(job_def, *args, **kwargs)


def _origin(job_name: str) -> Any:
    """Where the UI finds a job, read from the form in which Dagster stores it with every run (and so has to go on
    reading): its class is in no public module.
    """
    location = {
        "__class__": "ManagedGrpcPythonEnvRepositoryLocationOrigin",
        "loadable_target_origin": {"__class__": "LoadableTargetOrigin", "module_name": MODULE},
        "location_name": LOCATION,
    }
    repository = {
        "__class__": "ExternalRepositoryOrigin",
        "repository_location_origin": location,
        "repository_name": _REPOSITORY_NAME,
    }
    return deserialize_value(
        json.dumps(
            {"__class__": "ExternalPipelineOrigin", "external_repository_origin": repository, "pipeline_name": job_name}
        )
    )


def prepare_dagster_home(home: Home) -> Path:
    """Put the repository's dagster.yaml where DAGSTER_HOME will be, and name both homes in the environment.

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
