"""The sensor `health`: what Dagster sees of a release that is taken back."""

from pathlib import Path

import dagster as dg
import pytest

from rjepa.database import open_database
from rjepa.home import Home
from rjepa.living.windows import Window, add_windows
from rjepa.releases.pointer import current_release
from rjepa_assets.defs.health import health
from rjepa_assets.defs.resources import HomeResource
from tests.releases.conftest import Publisher


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_the_sensor_has_the_release_before_served_and_says_so_on_the_asset(home: Home, tmp_path: Path) -> None:
    publisher = Publisher(home, tmp_path)
    first = publisher.publish(1, 0.5).manifest.release_id
    second = publisher.publish(2, 0.6, rule="improve").manifest.release_id
    resources = {"home": HomeResource(root=str(home.root))}
    with dg.DagsterInstance.ephemeral() as instance:
        quiet = health(dg.build_sensor_context(instance=instance, resources=resources))
        assert quiet.skip_reason is not None and "too_few" in str(quiet.skip_reason)
        with open_database(home) as database:
            with database.reading() as connection:
                now_ms = database.now_ms(connection)
            broken = Window(
                llm_tag="tiny-a", release_id=second, started_at_ms=now_ms, ended_at_ms=now_ms, answers=5, errors=45
            )
            add_windows(database, [broken])
        acted = health(dg.build_sensor_context(instance=instance, resources=resources))
        (observation,) = acted.asset_events
        assert observation.metadata["served"].value == first == current_release(home, "tiny-a")
        assert "errors 45 of 50" in str(observation.metadata["reason"].value)
        again = health(dg.build_sensor_context(instance=instance, resources=resources))
        assert again.skip_reason is not None and not again.asset_events
