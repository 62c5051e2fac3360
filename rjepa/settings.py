"""Where things are: paths, addresses and secrets, from the environment and `.env`.

Nothing is read at import: entry points call `load_settings()` once and pass values on.
"""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Every variable a user may set. Names in the environment carry the prefix `RJEPA_`."""

    model_config = SettingsConfigDict(env_prefix="RJEPA_", env_file=".env", extra="ignore")

    home: Path = Field(Path(".rjepa"), description="root of everything the platform writes")
    llm: str = Field("tiny-a", description="llm_tag that is served when none is named")
    host: str = Field("127.0.0.1", description="address the service binds to")
    port: int = Field(8000, ge=1, le=65535, description="port of the service")
    dagster_port: int = Field(3000, ge=1, le=65535, description="port of the Dagster UI")
    dagster_url: str | None = Field(
        None, description="Dagster's web server, as the monitor and control ask it; unset: RJEPA_DAGSTER_PORT here"
    )
    api_key: SecretStr | None = Field(None, description="one key with every right; `rjepa keys` makes more, with roles")
    student_url: str | None = Field(
        None, description="where a running rjepa.sampling.server serves the student; unset: one is started where needed"
    )
    database_url: SecretStr | None = Field(
        None, description="a Postgres database for records that change; unset: the file rjepa.db in the home"
    )
    threads: int = Field(0, ge=0, description="CPU threads for torch; 0 leaves torch's own choice")

    @property
    def dagster_address(self) -> str:
        """Where Dagster's web server is."""
        return self.dagster_url or f"http://127.0.0.1:{self.dagster_port}"


def load_settings() -> Settings:
    """Read the environment and `.env` now."""
    return Settings()
