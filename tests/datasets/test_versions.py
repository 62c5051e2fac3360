import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rjepa.datasets.parts import part_paths
from rjepa.datasets.reading import load_chains, load_manifest, load_problems, verify_dataset
from rjepa.datasets.recipe import DatasetRecipe, load_recipe
from rjepa.datasets.versions import create_version, register_recipe
from rjepa.errors import CorruptError, InvalidInputError, NotFoundError
from rjepa.home import Home
from tests.datasets.growing import CREATED, first_version, make, register_more, register_rows, second_version
from tests.datasets.test_building import modified


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """v0.1.0, and v0.2.0 that adds to it; read only."""
    home = Home(tmp_path_factory.mktemp("grown"))
    second_version(home)
    return home


@pytest.fixture
def home_copy(grown: Home, tmp_path: Path) -> Home:
    shutil.copytree(grown.root, tmp_path / "copy")
    return Home(tmp_path / "copy")


def test_a_version_has_all_of_its_parent_first_and_then_what_is_new(grown: Home) -> None:
    old, new = load_problems(grown, "v0.1.0"), load_problems(grown, "v0.2.0")
    assert new[: len(old)] == old
    assert len(new) == len(old) + 16
    chains = load_chains(grown, "v0.2.0")
    assert chains[: len(load_chains(grown, "v0.1.0"))] == load_chains(grown, "v0.1.0")
    assert {p.problem_id for p in new[len(old) :] if p.split == "train"} <= {chain.problem_id for chain in chains}
    assert verify_dataset(grown, "v0.2.0").problems == len(new)


def test_the_parents_files_are_neither_copied_nor_touched(grown: Home, tmp_path: Path) -> None:
    home = Home(tmp_path)
    first_version(home)
    before = modified(home.dataset("v0.1.0"))
    register_more(home)
    create_version(home, "v0.2.0", parent="v0.1.0", adds=["more"])
    make(home, "v0.2.0")
    assert modified(home.dataset("v0.1.0")) == before
    own, inherited = home.dataset("v0.2.0"), home.dataset("v0.1.0")
    assert part_paths(home, "v0.2.0", "problems") == [inherited / "problems.parquet", own / "problems.parquet"]
    assert len(load_problems(home, "v0.2.0")) - len(load_problems(home, "v0.1.0")) == 16


def test_the_manifest_counts_all_and_names_every_part(grown: Home) -> None:
    manifest = load_manifest(grown, "v0.2.0")
    problems, chains = load_problems(grown, "v0.2.0"), load_chains(grown, "v0.2.0")
    assert manifest["counts"]["problems"] == len(problems)
    for field in ("domain", "difficulty", "split"):
        for value, count in manifest["counts"][f"by_{field}"].items():
            assert count == sum(getattr(problem, field) == value for problem in problems), (field, value)
    assert manifest["chains"]["total"] == len(chains)
    assert manifest["chains"]["valid"] == sum(bool(chain.is_valid) for chain in chains)
    assert (manifest["parent"], manifest["lineage"], manifest["new"]["problems"]) == ("v0.1.0", ["v0.1.0"], 16)
    assert [part["dataset"] for part in manifest["parts"]["problems"]] == ["v0.1.0", "v0.2.0"]
    assert manifest["licences"] == {"Apache-2.0": len(problems)}


def test_the_same_recipe_gives_the_same_version_in_another_home(grown: Home, tmp_path: Path) -> None:
    other = Home(tmp_path)
    first_version(other)
    register_more(other)
    shutil.copy(grown.registry / "datasets" / "v0.2.0.yaml", other.registry / "datasets")
    make(other, "v0.2.0")
    assert load_manifest(other, "v0.2.0")["data_hash"] == load_manifest(grown, "v0.2.0")["data_hash"]
    for path in grown.dataset("v0.2.0").glob("*.parquet"):
        assert path.read_bytes() == (other.dataset("v0.2.0") / path.name).read_bytes()


def test_running_again_rewrites_nothing(home_copy: Home) -> None:
    before = modified(home_copy.dataset("v0.2.0"))
    make(home_copy, "v0.2.0")
    assert modified(home_copy.dataset("v0.2.0")) == before


def test_a_damaged_part_of_the_parent_is_found_by_its_name(home_copy: Home) -> None:
    (home_copy.dataset("v0.1.0") / "validated_chains.parquet").write_bytes(b"broken")
    with pytest.raises(CorruptError, match=r"validated_chains.parquet of v0.1.0 has hash"):
        verify_dataset(home_copy, "v0.2.0")
    (home_copy.dataset("v0.1.0") / "problems.parquet").unlink()
    with pytest.raises(CorruptError, match="is gone") as caught:
        load_problems(home_copy, "v0.2.0")
    assert "v0.1.0" in caught.value.cure


def test_nothing_grows_from_a_parent_with_a_damaged_part(home_copy: Home) -> None:
    path = home_copy.dataset("v0.1.0") / "problems.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    register_more(home_copy, "other", seed=8)
    create_version(home_copy, "v0.3.0", parent="v0.2.0", adds=["other"])
    with pytest.raises(CorruptError, match="a part of v0.2.0, is damaged"):
        make(home_copy, "v0.3.0")


def test_warnings_of_every_source_are_handed_down(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    register_rows(home, tmp_path, [{"statement": "One?", "answer": "1"}], "v0.1.0")
    make(home, "v0.1.0")
    for number in (2, 3):
        register_rows(home, tmp_path, [{"statement": f"{number}?", "answer": "1", "licence": "MIT"}], f"set-{number}")
        create_version(home, f"v0.{number}.0", parent=f"v0.{number - 1}.0", adds=[f"set-{number}"])
        make(home, f"v0.{number}.0")
    assert any("licence" in warning for warning in load_manifest(home, "v0.3.0")["warnings"])


def test_a_damaged_part_of_its_own_comes_back(home_copy: Home) -> None:
    (home_copy.dataset("v0.2.0") / "problems.parquet").write_bytes(b"broken")
    make(home_copy, "v0.2.0")
    verify_dataset(home_copy, "v0.2.0")


def test_removed_problems_are_gone_with_their_chains_and_do_not_come_back(home_copy: Home) -> None:
    home = home_copy
    gone = [load_problems(home, "v0.1.0", "train")[0], load_problems(home, "v0.2.0", "test")[-1]]
    ids = {problem.problem_id for problem in gone}
    create_version(home, "v1.0.1000", parent="v0.2.0", removes=sorted(ids))
    make(home, "v1.0.1000")
    verify_dataset(home, "v1.0.1000")
    left = load_problems(home, "v1.0.1000")
    assert [p for p in load_problems(home, "v0.2.0") if p.problem_id not in ids] == left
    assert ids.isdisjoint(chain.problem_id for chain in load_chains(home, "v1.0.1000"))
    assert load_manifest(home, "v1.0.1000")["counts"]["problems"] == len(left)
    for path in part_paths(home, "v1.0.1000", "problems"):
        assert gone[0].statement.encode() not in path.read_bytes() and path.parent == home.dataset("v1.0.1000")
    create_version(home, "v1.1.0", parent="v1.0.1000", adds=["more"])
    make(home, "v1.1.0")
    assert ids.isdisjoint(problem.problem_id for problem in load_problems(home, "v1.1.0"))
    assert len(load_problems(home, "v0.2.0")) == len(left) + 2


def test_a_patch_says_other_things_of_the_same_problems(home_copy: Home) -> None:
    create_version(home_copy, "v0.2.1", parent="v0.2.0", description="Better said.")
    make(home_copy, "v0.2.1")
    assert load_problems(home_copy, "v0.2.1") == load_problems(home_copy, "v0.2.0")
    assert load_manifest(home_copy, "v0.2.1")["description"] == "Better said."
    verify_dataset(home_copy, "v0.2.1")


@pytest.mark.parametrize(
    ("name", "options", "error", "message", "cure"),
    [
        ("v0.2.1", {"adds": ["more"]}, InvalidInputError, "problems are added", "v0.3.0"),
        ("v0.3.0", {"removes": ["x"]}, InvalidInputError, "problems are removed", "v1.0.0"),
        ("v0.2.0", {"adds": ["more"]}, InvalidInputError, "not above its parent", "v0.3.0"),
        ("v0.1.9", {"adds": ["more"]}, InvalidInputError, "not above its parent", "v0.3.0"),
        ("latest", {"adds": ["more"]}, InvalidInputError, "no version", "vX.Y.Z"),
        ("v01.2.0", {"adds": ["more"]}, InvalidInputError, "no version", "vX.Y.Z"),
        ("v0.3.0", {"adds": ["v0.2.0"]}, InvalidInputError, "versions do not join", "more"),
        ("v0.3.0", {"adds": ["nowhere"]}, NotFoundError, "no dataset 'nowhere'", "choose"),
        ("v0.3.0", {"adds": ["more"], "parent": "v0.0.9"}, NotFoundError, "no dataset", "choose"),
        ("v1.0.0", {"adds": ["more"]}, InvalidInputError, "exists and is another dataset", "higher"),
    ],
)
def test_a_version_that_does_not_fit_is_refused_and_nothing_is_registered(
    home_copy: Home, name: str, options: dict, error: type[Exception], message: str, cure: str
) -> None:
    before = sorted((home_copy.registry / "datasets").iterdir())
    with pytest.raises(error, match=message) as caught:
        create_version(home_copy, name, **{"parent": "v0.2.0", **options})
    assert cure in caught.value.cure  # type: ignore[attr-defined]
    assert sorted((home_copy.registry / "datasets").iterdir()) == before


def test_asking_again_for_the_same_version_changes_nothing_and_for_another_is_refused(home_copy: Home) -> None:
    path = home_copy.registry / "datasets" / "v0.2.0.yaml"
    before = path.read_bytes()
    create_version(home_copy, "v0.2.0", parent="v0.1.0", adds=["more"])
    assert path.read_bytes() == before
    with pytest.raises(InvalidInputError, match="never changes"):
        create_version(home_copy, "v0.2.0", parent="v0.1.0", adds=["more"], near=0.5)


def test_a_parent_must_be_released_and_be_the_one_the_recipe_names(home_copy: Home) -> None:
    register_more(home_copy, "other", seed=8)
    create_version(home_copy, "v0.3.0", parent="v0.2.0", adds=["other"])
    with pytest.raises(NotFoundError, match="not released yet"):
        create_version(home_copy, "v0.4.0", parent="v0.3.0", adds=["more"])
    manifest = home_copy.dataset("v0.2.0") / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"data_hash": "f" * 64}))
    with pytest.raises(CorruptError, match="grows from v0.2.0 with content"):
        make(home_copy, "v0.3.0")


def test_an_added_dataset_that_changed_is_not_added(home_copy: Home) -> None:
    create_version(home_copy, "v0.3.0", parent="v0.2.0", adds=["more"])
    register_more(home_copy, seed=99)
    with pytest.raises(CorruptError, match="adds more as recipe"):
        make(home_copy, "v0.3.0")


def test_a_recipe_file_can_be_added(home_copy: Home, tmp_path: Path) -> None:
    text = "name: extra\nsource: curriculum\ncreated: 2026-01-01T00:00:00Z\nseed: 3\ncounts: {math: {train: 3}}\n"
    (tmp_path / "extra.yaml").write_text(text)
    create_version(home_copy, "v0.3.0", parent="v0.2.0", adds=[str(tmp_path / "extra.yaml")])
    make(home_copy, "v0.3.0")
    assert load_manifest(home_copy, "v0.3.0")["new"]["problems"] == 3
    assert load_recipe(home_copy, "extra").seed == 3


def test_sources_of_several_kinds_are_added_at_once(home_copy: Home) -> None:
    tasks = [{"task": "chain_sum", "size": 20}]
    gym = DatasetRecipe.model_validate(
        {"name": "gym", "source": "reasoning_gym", "created": CREATED, "tasks": tasks, "validation_floor": 0.5}
    )
    register_recipe(home_copy, gym)
    register_more(home_copy, "other", seed=8)
    recipe = create_version(home_copy, "v0.3.0", parent="v0.2.0", adds=["other", "gym"])
    assert recipe.validation_floor == 0.5
    make(home_copy, "v0.3.0")
    verify_dataset(home_copy, "v0.3.0")
    manifest = load_manifest(home_copy, "v0.3.0")
    assert manifest["lineage"] == ["v0.1.0", "v0.2.0"] and len(manifest["parts"]["problems"]) == 3
    assert manifest["new"]["problems"] == 16 + 20 == manifest["counts"]["problems"] - 56
    assert len(manifest["sources"]) == 2


ROWS = [
    {
        "statement": f"Ann has {n} red pens and buys {n + 3} more pens. How many pens has Ann?",
        "answer": 2 * n + 3,
        "steps": [f"{n} + {n + 3} = {2 * n + 3}"],
        "licence": "MIT",
    }
    for n in range(2, 62)
]


def splits(home: Home, dataset: str) -> dict[str, tuple[str, str | None]]:
    return {problem.statement: (problem.problem_id, problem.split) for problem in load_problems(home, dataset)}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    first=st.lists(st.sampled_from(range(60)), min_size=1, max_size=12, unique=True),
    growth=st.lists(
        st.lists(
            st.tuples(st.sampled_from(range(60)), st.sampled_from(["train", "validation", "test", None])),
            min_size=1,
            max_size=8,
            unique_by=lambda pair: pair[0],
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_a_problem_never_changes_id_or_split_however_a_version_grows(
    tmp_path_factory: pytest.TempPathFactory, first: list[int], growth: list[list[tuple[int, str | None]]]
) -> None:
    folder = tmp_path_factory.mktemp("property")
    home = Home(folder / "home")
    # Versions grow from a version, so the first one is an import under a version's name.
    register_rows(home, folder, [ROWS[n] for n in first], "v0.1.0")
    make(home, "v0.1.0")
    seen = splits(home, "v0.1.0")
    for number, added in enumerate(growth):
        rows = [ROWS[n] | ({"split": split} if split else {}) for n, split in added]
        register_rows(home, folder, rows, f"set-{number}")
        parent = f"v0.{number + 1}.0"
        create_version(home, f"v0.{number + 2}.0", parent=parent, adds=[f"set-{number}"])
        make(home, f"v0.{number + 2}.0")
        now = splits(home, f"v0.{number + 2}.0")
        assert seen.items() <= now.items()
        assert {ROWS[n]["statement"] for n, _ in added} <= set(now)
        assert len(now) == len({problem_id for problem_id, _ in now.values()})
        seen = now
    shutil.rmtree(folder)


def test_a_released_version_of_the_older_layout_can_be_grown_from(home_copy: Home) -> None:
    path = home_copy.dataset("v0.1.0") / "manifest.json"
    old = json.loads(path.read_text())
    for later in ("parts", "lineage", "new", "removed_ids", "recipe_warnings"):
        old.pop(later)
    path.write_text(json.dumps(old | {"format": 1}))
    shutil.rmtree(home_copy.dataset("v0.2.0"))
    make(home_copy, "v0.2.0")
    verify_dataset(home_copy, "v0.2.0")
    verify_dataset(home_copy, "v0.1.0")


def test_a_released_version_is_whole_without_its_list_of_what_it_took_over(home_copy: Home) -> None:
    (home_copy.dataset("v0.2.0") / "base.json").unlink()
    assert len(load_problems(home_copy, "v0.2.0")) == 56
    make(home_copy, "v0.2.0")
    verify_dataset(home_copy, "v0.2.0")
