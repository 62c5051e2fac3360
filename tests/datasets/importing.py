"""The shortest way for a test to a data set of its own."""

from pathlib import Path

from rjepa.datasets.recipe import DatasetRecipe
from rjepa.datasets.registering import Import, import_file
from rjepa.home import Home
from rjepa.schemas import Split


def import_dataset(home: Home, file: Path, name: str, split: Split | None = None) -> DatasetRecipe:
    """`import_file` with nothing but a split to say, for its recipe."""
    return import_file(home, file, name, Import(split)).recipe
