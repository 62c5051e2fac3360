"""Records survive a Parquet file, and a damaged file is told."""

from pathlib import Path

import pytest

from rjepa.errors import CorruptError, NotFoundError
from rjepa.schemas import Candidate, ChainOfThought, Problem
from rjepa.tables import arrow_schema, read_columns, read_records, write_records

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
