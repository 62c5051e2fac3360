"""Where control acts: one home, one LLM of it, its database, and the Dagster that runs its nights."""

from dataclasses import dataclass
from typing import Final

from pydantic import SecretStr

from rjepa.database import Database, open_database
from rjepa.home import Home, check_tag
from rjepa.living.names import NIGHT_SCHEDULE, NIGHT_SENSOR
from rjepa.monitoring.dagster import Kind
from rjepa.settings import Settings

NIGHT_SWITCHES: Final[tuple[tuple[Kind, str], ...]] = (("sensor", NIGHT_SENSOR), ("schedule", NIGHT_SCHEDULE))
"""What of Dagster's follows the setting `enabled`."""


@dataclass(frozen=True)
class Place:
    """`dagster_url` is of Dagster's web server; without `database_url` the database is the home's own file."""

    home: Home
    llm_tag: str
    dagster_url: str
    database_url: SecretStr | None = None

    @classmethod
    def of(cls, settings: Settings, llm: str | None = None) -> "Place":
        """Where the settings say, for an LLM: `llm`, or the settings' own.

        Raises:
            InvalidInputError: it cannot be a tag.
        """
        tag = check_tag(llm or settings.llm)
        return cls(Home(settings.home), tag, settings.dagster_address, settings.database_url)

    def open_database(self) -> Database:
        """The database, to be closed or used in a `with`.

        Raises:
            StorageError, CorruptError, SchemaError: as `rjepa.database.open_database`.
        """
        return open_database(self.home, self.database_url)
