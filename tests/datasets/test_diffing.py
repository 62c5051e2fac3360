from pathlib import Path

import pytest

from rjepa.datasets.diffing import diff_datasets
from rjepa.datasets.reading import load_chains, load_problems
from rjepa.datasets.versions import create_version
from rjepa.errors import NotFoundError
from rjepa.home import Home
from tests.datasets.growing import make, register_rows, second_version

ROWS = [
    {"problem_id": "p1", "statement": "What is 3 + 4?", "answer": "7", "steps": ["3 + 4 = 7"], "licence": "MIT"},
    {"problem_id": "p2", "statement": "What is 3 + 5?", "answer": "8", "steps": ["3 + 5 = 8"], "licence": "MIT"},
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """v0.1.0, v0.2.0 with more, v1.2.3 without one problem of it; read only."""
    home = Home(tmp_path_factory.mktemp("diffed"))
    second_version(home)
    gone = load_problems(home, "v0.2.0", "train")[0].problem_id
    create_version(home, "v1.2.3", parent="v0.2.0", removes=[gone])
    make(home, "v1.2.3")
    return home


def test_what_a_version_adds_is_counted_by_domain_split_and_source(home: Home) -> None:
    found = diff_datasets(home, "v0.1.0", "v0.2.0")
    assert found.problems_added.total == 16
    assert found.problems_added.by["domain"] == {"code": 10, "math": 6}
    assert found.problems_added.by["split"] == {"test": 2, "train": 12, "validation": 2}
    assert found.problems_added.by["source"] == {"curriculum": 16}
    assert found.chains_added.total == len(load_chains(home, "v0.2.0")) - len(load_chains(home, "v0.1.0"))
    assert sum(found.chains_added.by["domain"].values()) == found.chains_added.total
    assert found.chains_added.by["split"].keys() == {"train", "validation"}
    assert (found.problems_removed.total, found.chains_removed.total, found.moved) == (0, 0, [])
    assert found.licences == {"Apache-2.0": (40, 56)}


def test_a_removal_names_what_went_and_nothing_else(home: Home) -> None:
    found = diff_datasets(home, "v0.2.0", "v1.2.3")
    gone = load_problems(home, "v0.2.0", "train")[0].problem_id
    assert found.problems_removed.examples == [gone]
    assert found.chains_removed.total == sum(chain.problem_id == gone for chain in load_chains(home, "v0.2.0"))
    assert (found.problems_added.total, found.chains_added.total, found.verdicts_changed) == (0, 0, 0)
    back = diff_datasets(home, "v1.2.3", "v0.2.0")
    assert back.problems_added.examples == [gone]


def test_the_same_dataset_does_not_differ(home: Home) -> None:
    assert diff_datasets(home, "v0.2.0", "v0.2.0").is_empty
    assert not diff_datasets(home, "v0.1.0", "v0.2.0").is_empty


def test_changed_verdicts_splits_and_licences_of_unrelated_sets_are_found(home: Home, tmp_path: Path) -> None:
    rows = [row | {"split": "train"} for row in ROWS]
    register_rows(home, tmp_path, rows, "one")
    changed = [rows[0] | {"steps": ["3 + 4 = 8"], "licence": "CC0"}, rows[1] | {"split": "validation"}]
    register_rows(home, tmp_path, changed, "two")
    make(home, "one")
    make(home, "two")
    found = diff_datasets(home, "one", "two")
    assert (found.problems_added.total, found.problems_removed.total) == (0, 0)
    assert found.licences == {"CC0": (0, 1), "MIT": (2, 1)}
    assert (found.verdicts_changed, found.verdicts[0][1:]) == (1, ("ok", "wrong_arithmetic"))
    assert found.moved == [("p2", "train", "validation")]


def test_a_dataset_that_is_not_released_cannot_be_compared(home: Home) -> None:
    with pytest.raises(NotFoundError, match="not released"):
        diff_datasets(home, "v0.1.0", "v1.0.0")
