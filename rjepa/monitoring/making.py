"""What an operator may start from the monitor: a dataset, whose recipe is written here and which Dagster then makes."""

from collections.abc import Sequence

from rjepa.datasets.recipe import dataset_names, load_recipe
from rjepa.datasets.versions import create_version
from rjepa.errors import InvalidInputError
from rjepa.home import Home
from rjepa.monitoring.runs import launch_dataset, read_runs


def make_dataset(home: Home, dagster_url: str, name: str, parent: str | None, adds: Sequence[str]) -> str:
    """Launch the run that makes a dataset; returns the run's id.

    Args:
        parent: the version that it grows from; None for a dataset that has a recipe.
        adds: names of datasets. Files, which the command line takes too, are refused.

    Raises:
        InvalidInputError: an added dataset is unknown, or the version cannot be made so.
        NotFoundError: there is no such dataset, or the parent is not released.
        DagsterAwayError, LaunchError: as `launch_dataset`; asking again goes on from there.
    """
    known = dataset_names(home)
    if strangers := [each for each in adds if each not in known]:
        raise InvalidInputError(
            f"there is no dataset {strangers[0]!r}", cure="choose one that has a recipe: rjepa data list"
        )
    read_runs(dagster_url, limit=1)  # nothing is written down while no one is there to make it
    if parent is None:
        load_recipe(home, name)
    else:
        create_version(home, name, parent=parent, adds=adds)
    return launch_dataset(dagster_url, name)
