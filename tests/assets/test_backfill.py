"""A second student and a second dataset: what was made stays, only what is new is made, each pair has its figures."""

import json
from pathlib import Path

import dagster as dg
import pytest
import yaml

from rjepa.configs import CONFIGS
from rjepa.home import Home
from rjepa.releases.bundle import list_releases
from rjepa.releases.pointer import require_current
from rjepa_assets.defs.partitions import DATASET, LLM
from rjepa_assets.instance import open_instance

from .running import SMOKE, Ran, rjepa

pytestmark = pytest.mark.slow

DATASET_STAGES = {"problems", "teacher_chains", "validated_chains", "dataset_release"}


def partitions_of(home: Path, asset: str) -> set[str]:
    with open_instance(Home(home)) as instance:
        return instance.get_materialized_partitions(dg.AssetKey(asset))


@pytest.fixture(scope="module")
def grown(demo: tuple[Path, Ran], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's home with a second dataset and a second student registered."""
    import shutil

    root = tmp_path_factory.mktemp("grown") / "home"
    shutil.copytree(demo[0], root)
    recipe = yaml.safe_load((CONFIGS / "datasets" / "smoke.yaml").read_text(encoding="utf-8"))
    recipe |= {"name": "v9.0.0", "seed": 7}
    folder = root / "registry" / "datasets"
    folder.mkdir(parents=True)
    (folder / "v9.0.0.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    added = rjepa(root, "llm", "add", "second", "--model", "bundled:tiny-b")
    assert added.code == 0, added.stderr
    return root


def test_an_added_student_has_its_partition_at_once_and_is_listed(grown: Path) -> None:
    with open_instance(Home(grown)) as instance:
        assert "second" in instance.get_dynamic_partitions(LLM)
        assert set(instance.get_dynamic_partitions(DATASET)) == {"smoke", "v1.0.0"}
        assert instance.get_materialized_partitions(dg.AssetKey("request")) == {"smoke|tiny-a", "v1.0.0|second"}
    listed = json.loads(rjepa(grown, "llm", "list", "--json").stdout)
    assert {record["llm_tag"]: record["model"] for record in listed}["second"] == "bundled:tiny-b"
    shown = json.loads(rjepa(grown, "llm", "show", "second", "--json").stdout)
    assert shown["poolings"] == ["mean", "last", "end"]


def test_a_backfill_makes_the_new_student_only_and_no_dataset_moves(grown: Path, demo: tuple[Path, Ran]) -> None:
    before = require_current(Home(grown), "tiny-a")
    unreleased = rjepa(grown, "backfill", "--llm", "second", *SMOKE)
    assert unreleased.code == 0, unreleased.stderr
    assert "that takes --release" in unreleased.stdout and "release" not in unreleased.fates
    assert {asset for asset, fate in unreleased.fates.items() if fate == "is up to date"} == DATASET_STAGES
    ran = rjepa(grown, "backfill", "--llm", "second", *SMOKE, "--release")
    assert ran.code == 0, ran.stderr
    assert [asset for asset, fate in ran.fates.items() if fate == "done"] == ["release"]
    assert partitions_of(grown, "latents") == {"smoke|second", "smoke|tiny-a"}
    assert require_current(Home(grown), "tiny-a") == before
    released = [list_releases(Home(grown), tag)[0] for tag in ("tiny-a", "second")]
    assert released[0].student_fingerprint != released[1].student_fingerprint
    assert released[1].release_id == require_current(Home(grown), "second")


def test_a_second_dataset_is_released_only_after_the_served_model_was_measured_on_it(grown: Path) -> None:
    ran = rjepa(grown, "backfill", "--llm", "tiny-a", "--dataset", "v9.0.0", "--recipe", "smoke")
    assert ran.code == 0, ran.stderr
    assert ran.fates["student"] == "is up to date" and ran.fates["problems"] == "done"
    releases = list_releases(Home(grown), "tiny-a")
    assert [release.dataset for release in releases] == ["smoke", "v9.0.0"]
    assert releases[1].replaces == releases[0].release_id
    with open_instance(Home(grown)) as instance:
        wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey("release"), asset_partitions=["tiny-a"])
        made = instance.fetch_materializations(wanted, limit=1).records[0].asset_materialization
    assert made is not None
    assert made.metadata["reason"].value in ("not_worse", "worse", "too_few_problems")
    assert made.metadata["gate_all_problems"].value == made.metadata["problems"].value


def test_a_removed_student_loses_its_partition_and_keeps_its_files(grown: Path) -> None:
    assert rjepa(grown, "llm", "add", "third", "--model", "bundled:tiny-b").code == 0
    removed = rjepa(grown, "llm", "remove", "third")
    assert removed.code == 0, removed.stderr
    with open_instance(Home(grown)) as instance:
        assert "third" not in instance.get_dynamic_partitions(LLM)
    refused = rjepa(grown, "llm", "remove", "tiny-a")
    assert refused.code == 1 and "comes with R-JEPA" in refused.stderr


def test_a_folder_that_holds_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ran = rjepa(tmp_path / "home", "llm", "add", "mine", "--model", str(tmp_path / "empty"))
    assert ran.code == 1
    assert "config.json" in ran.stderr and "Traceback" not in ran.stderr


def test_an_unknown_bundled_student_and_an_unknown_quantisation_are_refused(tmp_path: Path) -> None:
    assert "choose bundled:NAME" in rjepa(tmp_path, "llm", "add", "x", "--model", "bundled:nobody").stderr
    assert (
        "choose one of none, awq"
        in rjepa(tmp_path, "llm", "add", "x", "--model", "bundled:tiny-a", "--quantization", "int3").stderr
    )
