"""Rows of a benchmark from the Hugging Face hub, through `datasets`: an optional extra, imported when it is needed.

Only data files are read: `datasets` runs no scripts any more, and nothing here asks it to.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rjepa.errors import NotFoundError

_COMMIT = re.compile(r"[@/]([0-9a-f]{40})/")


def hub_rows(
    hub_id: str, revision: str | None, subset: str, split: str
) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
    """Where the rows come from (hub id, commit), and the rows of one subset and split.

    Args:
        hub_id: `owner/name`, or a local folder of data files.

    Raises:
        NotFoundError: `datasets` is not installed, the hub cannot be reached, or has no such rows.
    """
    try:
        import datasets
    except ImportError as error:
        raise NotFoundError(
            f"{hub_id} is on the Hugging Face hub, and the package `datasets` is not installed",
            cure="run `pip install -e '.[hub]'`, or bring the file:"
            " rjepa data import FILE --benchmark NAME --name DATASET",
        ) from error
    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(hub_id, subset, split=split, revision=revision)
    except (OSError, ValueError, RuntimeError) as error:  # hub errors are OSErrors, unknown names ValueErrors
        raise NotFoundError(
            f"{hub_id} ({subset}, {split}, revision {revision or 'main'}) cannot be had from the Hugging Face hub:"
            f" {' '.join(str(error).split())[:300]}",
            cure="check the names and the connection, set `revision: refs/convert/parquet` where the set is a script,"
            " or bring the file: rjepa data import FILE --benchmark NAME --name DATASET",
        ) from error
    if Path(hub_id).is_dir():
        return {"folder": hub_id}, iter(loaded)
    return {"hub": hub_id, "revision": _commit(loaded) or f"{revision or 'main'}, commit not recorded"}, iter(loaded)


def _commit(loaded: Any) -> str | None:
    """The commit that the rows are of: `datasets` names its downloads and its cache folders by it."""
    places = [*(loaded.info.download_checksums or {}), *(file["filename"] for file in loaded.cache_files)]
    return next((found[1] for place in places if (found := _COMMIT.search(str(place)))), None)
