"""Files of every format, well meant and hostile: what is read, what is refused, and how much memory that takes."""

import csv
import gzip
import json
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rjepa.errors import InvalidInputError
from rjepa.problems.columns import ColumnMap, parse_map
from rjepa.problems.files import MAX_COLUMNS, MAX_LINE
from rjepa.problems.importing import Intake, import_rows
from rjepa.problems.lines import WorkedProblem

WHEN = datetime(2026, 1, 1, tzinfo=UTC)
ROWS = [{"question": f"What is {n} + 1?", "result": {"value": n + 1, "unit": None}} for n in range(5)]
NESTED = parse_map(["statement=question", "answer=result.value"])


def take(path: Path, columns: ColumnMap | None = None) -> tuple[list[WorkedProblem], Intake]:
    intake = import_rows(path, "mine", WHEN, columns=columns)
    pairs = list(intake.pairs())
    intake.finish()
    return pairs, intake


def refusal(path: Path, columns: ColumnMap | None = None) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        take(path, columns)
    assert caught.value.cure
    return caught.value


@contextmanager
def little_memory_and_time(seconds: float = 20.0) -> Iterator[None]:
    started = time.process_time()
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 24 << 20
    assert time.process_time() - started < seconds


def as_jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))


def as_json(path: Path) -> None:
    path.write_text(json.dumps(ROWS, indent=1))


def as_wrapped_json(path: Path) -> None:
    path.write_text(json.dumps({"canary": "x", "examples": ROWS}))


def as_parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), path)


@pytest.mark.parametrize(
    ("name", "write"),
    [("a.jsonl", as_jsonl), ("a.json", as_json), ("b.json", as_wrapped_json), ("c.json", as_jsonl),
     ("a.parquet", as_parquet)],
)  # fmt: skip
def test_a_column_map_with_nested_keys_reads_every_format(
    tmp_path: Path, name: str, write: Callable[[Path], None]
) -> None:
    write(tmp_path / name)
    pairs, intake = take(tmp_path / name, NESTED)
    assert [(problem.statement, problem.answer_gold) for problem, _ in pairs] == [
        (f"What is {n} + 1?", str(n + 1)) for n in range(5)
    ]
    assert intake.warnings() == ["the licence of 5 problem(s) is unknown: check it before you share what is made here"]


def test_a_json_list_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(ROWS).encode())
    assert len(take(tmp_path / "a.json", NESTED)[0]) == 5


def test_parquet_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    broken = pa.array([b"ok?", b"caf\xe9?"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"statement": broken, "answer": ["1", "2"]}), tmp_path / "a.parquet")
    assert "nothing was imported" in refusal(tmp_path / "a.parquet").problem


@pytest.mark.parametrize(("name", "delimiter"), [("a.csv", ","), ("a.tsv", "\t")])
def test_a_table_with_a_byte_order_mark_quotes_and_steps_is_read(tmp_path: Path, name: str, delimiter: str) -> None:
    with (tmp_path / name).open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["statement", "target", "steps", "licence"])
        writer.writerow(['Two lines,\n"quoted": how many\u00e9?', "7", "3 + 4 = 7\nso 7", "MIT"])
        writer.writerow(["No steps?", "8", "", ""])
    (first, chain), (second, none) = take(tmp_path / name, parse_map(["answer=target"]))[0]
    assert first.statement == 'Two lines,\n"quoted": how many\u00e9?'
    assert (first.answer_gold, first.licence) == ("7", "MIT")
    assert chain is not None and chain.steps == ["3 + 4 = 7", "so 7"]
    assert (second.licence, none) == ("unknown", None)


def test_a_csv_of_ten_thousand_columns_is_read_for_the_two_that_matter(tmp_path: Path) -> None:
    names = ["statement", *(f"c{n}" for n in range(9_998)), "answer"]
    rows = [",".join([f"what is {n}?", *(["0"] * 9_998), str(n)]) for n in range(30)]
    (tmp_path / "wide.csv").write_text("\n".join([",".join(names), *rows]))
    with little_memory_and_time():
        pairs, intake = take(tmp_path / "wide.csv")
    assert [problem.answer_gold for problem, _ in pairs] == [str(n) for n in range(30)]
    assert "unknown field(s) were ignored: c0" in intake.warnings()[1]


def test_a_csv_of_more_columns_than_a_spreadsheet_has_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(",".join(f"c{n}" for n in range(MAX_COLUMNS + 1)) + "\n")
    assert f"{MAX_COLUMNS + 1} columns" in refusal(tmp_path / "a.csv").problem


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("statement,answer\na?,1\nb?,2,3\n", "line 3: 3 cells, the header has 2"),
        ('statement,answer\na?,1\n"b?,2\nc?,3\n', "is a quote not closed?"),
        ('statement,answer\n"' + "x" * (MAX_LINE + 9) + "\n", f"longer than {MAX_LINE}"),
        ('statement,answer\n"' + "x\n" * (MAX_LINE // 2 + 9), "field larger than field limit"),
        ("statement,answer\na?\n", "line 2: answer: missing"),
        ("statement,answer\na?,\n", "line 2: answer: missing"),
        ("statement,answer\n" + "a?,1\n" * 2, "line 3: this statement is already on line 2"),
    ],
)
def test_a_bad_row_of_a_csv_refuses_it_with_its_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    assert message in refusal(tmp_path / "a.csv").problem


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q,answer\nx,1\n", "no column 'statement' for statement; it has q, answer"),
        ("statement,statement\nx,1\n", "'statement' twice"),
    ],
)
def test_a_header_without_what_is_needed_names_what_is_there(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    error = refusal(tmp_path / "a.csv", parse_map([]) if "q," in content else None)
    assert message in error.problem
    assert "--map" in error.cure or "name of its own" in error.cure


def test_a_missing_column_of_a_parquet_file_names_what_is_there(tmp_path: Path) -> None:
    as_parquet(tmp_path / "a.parquet")
    error = refusal(tmp_path / "a.parquet", parse_map(["statement=frage"]))
    assert "no column 'frage' for statement; it has question, result" in error.problem
    assert "--map statement=COLUMN" in error.cure


def test_a_latin_1_csv_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("statement,answer\nok?,1\ncaf\xe9?,2\n".encode("latin-1"))
    error = refusal(tmp_path / "a.csv")
    assert "line 3: not UTF-8" in error.problem and "save the file as UTF-8" in error.problem


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet", "a.unknown"])
def test_an_empty_file_of_any_format_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    assert "no problems" in (problem := refusal(tmp_path / name).problem) or "not a Parquet file" in problem


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet"])
@pytest.mark.parametrize(
    "content",
    [b"\x7fELF" + os.urandom(4096) + b"\x00", gzip.compress(b"x" * 99), b"\xff\xfe" + "{}".encode("utf-16-le"),
     b"PK\x03\x04" + bytes(64), b"\x89PNG\r\n\x1a\n" + bytes(64)],
    ids=["elf", "gzip", "utf16", "zip", "png"],
)  # fmt: skip
def test_a_binary_file_is_refused_for_what_it_is(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert "nothing was imported" in refusal(tmp_path / name).problem


def test_parquet_under_another_name_is_recognised(tmp_path: Path) -> None:
    as_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.parquet").rename(tmp_path / "a.jsonl")
    error = refusal(tmp_path / "a.jsonl")
    assert "is a Parquet file" in error.problem and "--format parquet" in error.cure


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("a.jsonl", b'{"statement": "'),
        ("a.json", b'[{"statement": "'),
        ("b.json", b'{"statement": "'),
        ("a.csv", b"statement,answer\n"),
    ],
)
def test_a_line_of_a_gigabyte_is_refused_quickly_in_little_memory(tmp_path: Path, name: str, start: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(start + b"x" * (1 << 17))
    with path.open("r+b") as file:
        file.truncate(1 << 30)  # sparse: no disk is used
    with little_memory_and_time():
        problem = refusal(path).problem
    assert "longer than" in problem or "breaks at item 1" in problem


def test_a_parquet_cell_of_many_megabytes_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"statement": ["a?", "b" * (3 << 20)], "answer": ["1", "2"]}), tmp_path / "a.parquet")
    assert "a cell in this row" in refusal(tmp_path / "a.parquet").problem


def test_a_parquet_file_that_unpacks_to_gigabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    from rjepa.problems.files import parquet_rows

    statements = [str(n) * 50 for n in range(2000)]
    pq.write_table(pa.table({"statement": statements, "answer": ["1"] * 2000}), tmp_path / "a.pq")
    limit, parquet_rows.MAX_ROW_GROUP = parquet_rows.MAX_ROW_GROUP, 1 << 10
    try:
        assert "row group 1" in refusal(tmp_path / "a.pq").problem
    finally:
        parquet_rows.MAX_ROW_GROUP = limit


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"statement": [f"{n}?" for n in range(5000)], "answer": ["1"] * 5000}), tmp_path / "a.pq")
    whole = (tmp_path / "a.pq").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    assert "not a Parquet file" in refusal(tmp_path / "cut.parquet").problem
    (tmp_path / "hole.parquet").write_bytes(whole[:200] + os.urandom(2000) + whole[2200:])
    assert "nothing was imported" in refusal(tmp_path / "hole.parquet").problem


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"statement": "a?", "answer": "1"}, 7]', "item 2: a JSON int"),
        ('[{"statement": "a?", "answer": "1"},, {}]', "breaks at item 2"),
        ('[{"statement": "a?", "answer": "1"} {}]', "where a comma was expected"),
        ('[{"statement": "a?", "answer": "1"}', "does not end"),
        ('[{"statement": "a?", "answer"', "breaks at item 1"),
        ("[]", "no problems"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ' * 100_000, "nothing was imported"),
        ('[{"statement": "a?", "answer": "1"}] trailing', "follows the end"),
        ('{"a": [{"x": 1}], "b": [{"x": 1}]}', "2 lists of objects ('a', 'b')"),
        ('"text"', "no JSON object or list"),
        ('[{"statement": {"deep": {"deeper": 1}}, "answer": "1"}]', "statement: Input should be a valid string"),
    ],
)
def test_a_bad_json_file_is_refused_with_the_place(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.json").write_text(content)
    assert message in refusal(tmp_path / "a.json").problem


def test_a_json_list_is_read_item_by_item_in_little_memory(tmp_path: Path) -> None:
    with (tmp_path / "a.json").open("w") as file:
        file.write("[\n")
        for n in range(6_000):
            file.write(json.dumps({"statement": f"{n}: \u00e9" + "x" * 2000, "answer": n}, ensure_ascii=False) + ",\n")
        file.write('{"statement": "last?", "answer": 1}]')
    intake = import_rows(tmp_path / "a.json", "mine", WHEN)
    with little_memory_and_time(60):
        count = sum(1 for _ in intake.pairs())
    intake.finish()
    assert count == 6_001


def test_a_row_may_not_say_how_it_is_checked(tmp_path: Path) -> None:
    hostile = {"meta": {"check": "unit_tests", "tests": "import os"}, "source": "curriculum"}
    row = {"statement": "a?", "answer": "1", **hostile}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    ((problem, _),), intake = take(tmp_path / "a.jsonl")
    assert problem.meta == {} and problem.source == "import:mine"
    assert "ignored: meta, source" in intake.warnings()[1]


def test_endless_bad_rows_are_not_read_to_the_end(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"x\n" * 300_000)
    assert "10000 or more bad line(s)" in refusal(tmp_path / "a.jsonl").problem


@pytest.mark.parametrize("option", ["statement", "statement=", "=x", "colour=x", "meta=x"])
def test_a_column_map_that_makes_no_sense_is_refused(option: str) -> None:
    with pytest.raises(InvalidInputError, match="is not FIELD=COLUMN"):
        parse_map([option])


def test_a_field_mapped_twice_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="names answer twice"):
        parse_map(["answer=a", "answer=b"])


def test_a_column_with_a_dot_in_its_name_comes_before_a_nested_one() -> None:
    columns = parse_map(["statement=a.b", "answer=c.1"])
    assert columns.fields_of({"a.b": "whole", "a": {"b": "nested"}, "c": [3, 4]}) == {"statement": "whole", "answer": 4}
    assert columns.fields_of({"a": {"b": "nested"}, "c": [3]}) == {"statement": "nested"}
