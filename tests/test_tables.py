"""Records survive a Parquet file, and a damaged file is told."""

from pathlib import Path

import numpy as np
import pytest

from rjepa import tables
from rjepa.errors import CorruptError, NotFoundError
from rjepa.schemas import Candidate, ChainOfThought, Problem
from rjepa.tables import arrow_schema, read_columns, read_records, read_rows, scan_columns, to_records, write_records

PROBLEM = Problem(
    problem_id="p", domain="math", source="test", statement="1 + 1?", answer_gold="2", meta={"spec": [1, {"a": None}]}
)
CHAIN = ChainOfThought(cot_id="c", problem_id="p", steps=["1 + 1 = 2", "ünïcode"], final_answer=None, is_valid=True)
CANDIDATE = Candidate(
    problem_id="p",
    sample_index=-1,
    text="t",
    steps=[],
    final_answer=None,
    finished=False,
    token_logprobs=[-0.5],
)


@pytest.mark.parametrize("record", [PROBLEM, CHAIN, CANDIDATE])
def test_records_survive_a_file(tmp_path: Path, record: Problem | ChainOfThought | Candidate) -> None:
    path = tmp_path / "records.parquet"
    write_records(path, type(record), [record, record])
    assert read_records(path, type(record)) == [record, record]


def test_no_records_are_a_file_too(tmp_path: Path) -> None:
    write_records(tmp_path / "none.parquet", Problem, [])
    assert read_records(tmp_path / "none.parquet", Problem) == []
    assert arrow_schema(Problem).names == list(Problem.model_fields)


def test_a_damaged_or_foreign_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_records(tmp_path / "missing.parquet", Problem)
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(CorruptError, match="damaged.parquet"):
        read_records(tmp_path / "damaged.parquet", Problem)
    write_records(tmp_path / "chains.parquet", ChainOfThought, [CHAIN])
    with pytest.raises(CorruptError, match="Problem"):
        read_records(tmp_path / "chains.parquet", Problem)


def test_columns_are_read_from_several_files_and_others_left(tmp_path: Path) -> None:
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for path in paths:
        write_records(path, ChainOfThought, [CHAIN, CHAIN])
    found = read_columns(paths, ChainOfThought, ["cot_id", "is_valid"])
    assert found.to_pydict() == {"cot_id": ["c"] * 4, "is_valid": [True] * 4}
    assert read_columns([], ChainOfThought, ["cot_id"]).num_rows == 0
    with pytest.raises(NotFoundError):
        read_columns([tmp_path / "missing.parquet"], ChainOfThought, ["cot_id"])
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(CorruptError, match="damaged.parquet"):
        read_columns([tmp_path / "damaged.parquet"], ChainOfThought, ["cot_id"])
    write_records(tmp_path / "problems.parquet", Problem, [PROBLEM])
    with pytest.raises(CorruptError, match="problems.parquet"):
        read_columns([tmp_path / "problems.parquet"], ChainOfThought, ["cot_id"])


def test_rows_are_found_by_their_place_over_several_files_in_the_order_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_GROUP_ROWS", 4)
    monkeypatch.setattr(tables, "_SCANNED_ROWS", 3)
    problems = [PROBLEM.model_copy(update={"problem_id": str(index)}) for index in range(23)]
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    write_records(paths[0], Problem, problems[:10])
    write_records(paths[1], Problem, problems[10:])
    places = np.array([22, 0, 9, 10, 9, 3])
    assert to_records(Problem, read_rows(paths, Problem, places)) == [problems[place] for place in places]
    assert read_rows(paths, Problem, np.array([], dtype=np.int64)).num_rows == 0
    with pytest.raises(CorruptError, match="23 rows, row 23"):
        read_rows(paths, Problem, np.array([23]))
    scanned = [name for batch in scan_columns(paths, Problem, ["problem_id"], 4) for name in batch[0].to_pylist()]
    assert scanned == [problem.problem_id for problem in problems]
