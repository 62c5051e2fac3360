import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rjepa.datasets import statements
from rjepa.datasets.leaks import measure_leaks, measure_seen_tests
from rjepa.datasets.reading import load_manifest, load_problems
from rjepa.datasets.statements import fingerprint, matches, near_candidates, numbers, part_fingerprints, similarity
from rjepa.datasets.versions import create_version
from rjepa.errors import CorruptError, InvalidInputError
from rjepa.files import read_json
from rjepa.home import Home
from rjepa.schemas import Problem
from rjepa.tables import write_records
from tests.datasets.growing import first_version, make, register_more, register_rows

LONG = (
    "Julie operates the cash register exactly 3 times as fast as her less-experienced colleague Mia. Daily, Mia"
    " processes 49 customers. What is the total weekly production for the two if they work all days of the week?"
)


def row(statement: str, answer: str = "1372", split: str = "train", **extra: object) -> dict:
    return {"statement": statement, "answer": answer, "split": split, "licence": "MIT", **extra}


@given(
    base=st.lists(st.integers(0, 40), max_size=60),
    new=st.lists(st.integers(0, 40), max_size=12),
    offset=st.sampled_from([0, 1 << 18, 1 << 40]),
)
@settings(max_examples=60, deadline=None)
def test_matches_are_all_pairs_of_equal_keys(base: list[int], new: list[int], offset: int) -> None:
    found = matches(np.array(base, np.uint64) + np.uint64(offset), np.array(new, np.uint64) + np.uint64(offset))
    pairs = sorted(zip(*(rows.tolist() for rows in found), strict=True))
    assert pairs == sorted((i, j) for i, a in enumerate(base) for j, b in enumerate(new) if a == b)


def test_one_changed_word_is_a_near_duplicate_and_one_changed_number_is_not() -> None:
    assert similarity(LONG, LONG.replace("Julie", "Sarah")) == pytest.approx(0.95, abs=0.02)
    assert similarity(LONG, LONG.replace("49", "50")) == 0.0
    assert numbers("from 1,000 to ２") == ["1000", "2"]
    problems = [
        Problem(problem_id=str(n), domain="math", source="t", statement=text, split="train")
        for n, text in enumerate([LONG, LONG.replace("Julie", "Sarah"), LONG.replace("49", "50"), "Is it?"])
    ]
    made = fingerprint(problems)
    assert near_candidates(made, made) == [(0, 1)]


def test_new_problems_that_are_there_already_are_left_out_and_each_is_accounted_for(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    there = [row(LONG), row("Two plus 2?", "4", "test"), row("One?", "1", "validation")]
    register_rows(home, tmp_path, there, "v0.1.0")
    make(home, "v0.1.0")
    added = [
        row("two  PLUS 2?", "4", "train"),  # in the parent, there for tests
        row(LONG.replace("Julie", "Sarah"), split="test"),  # near
        row(LONG.replace("Julie", "Emma"), "9"),  # another answer: another problem
        row(LONG.replace("49", "50"), "1400"),  # another number: another problem
        row("New?", "5"),
    ]
    register_rows(home, tmp_path, added, "more")
    create_version(home, "v0.2.0", parent="v0.1.0", adds=["more"])
    make(home, "v0.2.0")
    manifest = load_manifest(home, "v0.2.0")
    made = manifest["stages"]["problems"]["metadata"]
    assert made["already_in_parent"] == made["already_in_parent_in_another_split"] == 1
    assert made["near_duplicates_removed"] == 1
    new = load_problems(home, "v0.2.0")[3:]
    assert sorted(p.statement for p in new) == sorted([LONG.replace("Julie", "Emma"), LONG.replace("49", "50"), "New?"])
    (near,) = read_json(home.dataset("v0.2.0") / "near_duplicates.json")["left_out"]
    assert near["kept"] == load_problems(home, "v0.1.0", "train")[0].problem_id
    assert 0.9 < near["similarity"] < 1


def test_of_two_new_near_duplicates_the_one_for_tests_stays(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    register_rows(home, tmp_path, [row("One?", "1")], "v0.1.0")
    make(home, "v0.1.0")
    names = {"Sarah": "train", "Emma": "test", "Olivia": "train"}
    rows = [row(LONG.replace("Julie", name), split=split) for name, split in names.items()]
    register_rows(home, tmp_path, rows, "more")
    create_version(home, "v0.2.0", parent="v0.1.0", adds=["more"])
    make(home, "v0.2.0")
    (kept,) = load_problems(home, "v0.2.0")[1:]
    assert "Emma" in kept.statement


def test_what_is_a_test_problem_of_another_dataset_in_the_home_is_not_trained_on(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    register_rows(home, tmp_path, [row("One?", "1")], "v0.1.0")
    make(home, "v0.1.0")
    register_rows(home, tmp_path, [row(LONG, split="test"), row("How far is 12 km?", "12", "test")], "benchmark")
    make(home, "benchmark")
    rows = [row(LONG.replace("Julie", "Sarah")), row("how far is  12 km?", "12", "validation"), row("Five?", "5")]
    register_rows(home, tmp_path, rows, "more")
    recipe = create_version(home, "v0.2.0", parent="v0.1.0", adds=["more"])
    assert list(recipe.keep_out) == ["benchmark"]
    make(home, "v0.2.0")
    assert load_manifest(home, "v0.2.0")["stages"]["problems"]["metadata"]["removed_for_tests_elsewhere"] == 2
    assert [p.statement for p in load_problems(home, "v0.2.0")[1:]] == ["Five?"]
    assert measure_seen_tests(home, "v0.2.0").found == []
    make(home, "more")
    seen = measure_seen_tests(home, "more")
    assert seen.compared_with == ["benchmark"]
    assert [round(alike, 1) for *_, alike in seen.found] in ([0.9, 1.0], [1.0, 0.9])


def test_an_id_that_another_problem_of_the_parent_has_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    register_rows(home, tmp_path, [row("One?", "1", problem_id="p1")], "v0.1.0")
    make(home, "v0.1.0")
    register_rows(home, tmp_path, [row("Two?", "2", problem_id="p1")], "more")
    create_version(home, "v0.2.0", parent="v0.1.0", adds=["more"])
    with pytest.raises(InvalidInputError, match="have the id of another problem of the parent: p1"):
        make(home, "v0.2.0")


def test_a_structure_in_two_splits_across_versions_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path)
    first_version(home)
    register_more(home)
    create_version(home, "v0.2.0", parent="v0.1.0", adds=["more"])
    stray = load_problems(home, "v0.1.0", "train")[0].model_copy(
        update={"problem_id": "stray", "statement": "other", "split": "test"}
    )
    monkeypatch.setattr("rjepa.datasets.growing.source_pairs", lambda *given: [(stray, None)])
    with pytest.raises(CorruptError, match="another split of the parent: stray"):
        make(home, "v0.2.0")


def test_only_new_parts_are_hashed_and_a_lost_index_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    first_version(home)
    path = home.dataset("v0.1.0") / "problems.parquet"
    made = part_fingerprints(home, path)
    genuine = statements._of_rows
    monkeypatch.setattr(statements, "_of_rows", None)
    assert np.array_equal(part_fingerprints(home, path).bands, made.bands)
    monkeypatch.setattr(statements, "_of_rows", genuine)
    for index in (tmp_path / "index" / "statements").iterdir():
        index.write_bytes(b"broken")
    assert np.array_equal(part_fingerprints(home, path).bands, made.bands)
    shutil.rmtree(tmp_path / "index")
    assert np.array_equal(part_fingerprints(home, path).bands, fingerprint(load_problems(home, "v0.1.0")).bands)


def test_leaks_are_measured_over_all_parts(tmp_path: Path) -> None:
    home = Home(tmp_path)
    first_version(home)
    assert measure_leaks(home, "v0.1.0").examples == []
    problems = load_problems(home, "v0.1.0")
    first, last = problems[0], problems[-1]
    planted = [
        *problems,
        first.model_copy(update={"problem_id": "copy", "split": "test", "meta": {}}),
        last.model_copy(update={"statement": "Other?", "meta": {}}),
        first.model_copy(update={"problem_id": "shape", "split": "validation", "statement": "Else?"}),
    ]
    write_records(home.dataset("leaky") / "problems.parquet", Problem, planted)
    leaks = measure_leaks(home, "leaky")
    assert (leaks.repeated_ids, leaks.statements_in_two_splits, leaks.structures_in_two_splits) == (1, 1, 1)
    assert last.problem_id in leaks.examples[0] and "copy" in leaks.examples[1] and "shape" in leaks.examples[2]


def test_statements_that_differ_by_an_exponent_are_not_alike() -> None:
    long = (
        "The number of tiles that the mason lays on the square floor of the hall is {} and he lays them all in one day."
    )
    assert similarity(long.format("x\u00b2"), long.format("x\u00b3")) == 0
    assert similarity(long.format("5\u00bd"), long.format("5\u00bc")) == 0
    assert similarity(long.format("x\u00b2"), long.format("x\u00b2")) == 1
