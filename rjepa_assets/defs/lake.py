"""DuckDB for assets and checks: the dagster-duckdb resource over the same views that `rjepa sql` shows.

In memory and reading only. The views are described in `rjepa.sql`; Parquet and safetensors stay the store.
"""

import contextlib
from collections.abc import Iterator

from dagster_duckdb import DuckDBResource
from duckdb import DuckDBPyConnection
from pydantic import Field

from rjepa.home import Home


class LakeResource(DuckDBResource):
    """A connection with one view per dataset, of the latents' index, the rollouts and the reports."""

    database: str = Field(
        default=":memory:", description="nothing is kept: the views are made when a connection is opened"
    )

    @contextlib.contextmanager
    def over(self, home: Home, dataset: str) -> Iterator[DuckDBPyConnection]:
        """A connection over one dataset of a home, locked to the files of its views."""
        from rjepa.sql import add_views

        with self.get_connection() as connection:
            add_views(connection, home, dataset)
            yield connection
