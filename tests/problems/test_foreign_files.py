"""Files as other people's libraries write them: what a value means is kept, or the file is refused with the reason."""

import csv
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rjepa.errors import InvalidInputError
from rjepa.problems.columns import parse_map
from rjepa.problems.importing import import_rows
from rjepa.problems.lines import WorkedProblem
from rjepa.problems.splitting import normalise_statement, statement_key

WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def take(path: Path, *maps: str) -> list[WorkedProblem]:
    intake = import_rows(path, "mine", WHEN, columns=parse_map(list(maps)))
    found = list(intake.pairs())
    intake.finish()
    return found


def answers(path: Path, *maps: str) -> list[str | None]:
    return [problem.answer_gold for problem, _ in take(path, *maps)]


def steps(path: Path, *maps: str) -> list[list[str] | None]:
    return [chain.steps if chain else None for _, chain in take(path, *maps)]


def refusal(path: Path, *maps: str) -> str:
    with pytest.raises(InvalidInputError) as caught:
        take(path, *maps)
    assert caught.value.cure
    return caught.value.problem


def write_csv(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def write_lines(path: Path, *rows: dict[str, Any] | str) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    return path


NUMBERS = [0.1, 132.04, 3.0, -0.5, 1e10, 0.333251953125]


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (pa.float16(), ["0.1", "132", "3", "-0.5", None, "0.3333"]),
        (pa.float32(), ["0.1", "132.04", "3", "-0.5", "10000000000", "0.33325195"]),
        (pa.float64(), ["0.1", "132.04", "3", "-0.5", "10000000000", "0.333251953125"]),
        (pa.decimal128(30, 12), ["0.1", "132.04", "3", "-0.5", "10000000000", "0.333251953125"]),
        (pa.dictionary(pa.int8(), pa.float32()), ["0.1", "132.04", "3", "-0.5", "10000000000", "0.33325195"]),
    ],
)
def test_a_parquet_number_is_the_shortest_decimal_that_it_stands_for(
    tmp_path: Path, kind: Any, wanted: list[str | None]
) -> None:
    kept = [(number, answer) for number, answer in zip(NUMBERS, wanted, strict=True) if answer is not None]
    plain = [Decimal(repr(number)) if pa.types.is_decimal(kind) else number for number, _ in kept]
    if pa.types.is_float16(kind):
        column = pa.array(np.array(plain, np.float16))
    elif pa.types.is_dictionary(kind):
        column = pa.array(plain, pa.float32()).dictionary_encode()
    else:
        column = pa.array(plain, kind)
    statements = [f"{place}?" for place in range(len(kept))]
    pq.write_table(pa.table({"statement": statements, "answer": column}), tmp_path / "a.parquet")
    assert answers(tmp_path / "a.parquet") == [answer for _, answer in kept]


def test_parquet_numbers_inside_lists_objects_and_maps_are_short_too(tmp_path: Path) -> None:
    table = pa.table(
        {
            "statement": ["a?"],
            "found": pa.array([[0.1, 132.04]], pa.list_(pa.float32())),
            "reward": pa.array([{"truth": 132.04}], pa.struct([("truth", pa.float32())])),
            "info": pa.array([[("truth", 0.7)]], pa.map_(pa.string(), pa.float32())),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    assert answers(tmp_path / "a.parquet", "answer=found.1") == ["132.04"]
    assert answers(tmp_path / "a.parquet", "answer=found.-2") == ["0.1"]
    assert answers(tmp_path / "a.parquet", "answer=reward.truth") == ["132.04"]
    assert answers(tmp_path / "a.parquet", "answer=info.truth") == ["0.7"]


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        ("0.10", "0.1"),
        ("3.0", "3"),
        ("2147483648", "2147483648"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("9007199254740993.0", "9007199254740993"),
        ("12345678901234567890.5", "12345678901234567890.5"),
        ("0.12345678901234567890123", "0.12345678901234567890123"),
        ("1e15", "1000000000000000"),
        ("1e22", "10000000000000000000000"),
        ("-0.0", "0"),
        ("1e-7", "1e-07"),
    ],
)
def test_a_json_number_keeps_all_its_digits(tmp_path: Path, written: str, answer: str) -> None:
    row = f'{{"statement": "a?", "answer": {written}}}'
    (tmp_path / "a.json").write_text(f"[{row}]")
    assert answers(write_lines(tmp_path / "a.jsonl", row)) == [answer]
    assert answers(tmp_path / "a.json") == answers(tmp_path / "a.jsonl")


PAIR = ["3 + 4 = 7", 'it\'s \\frac{14}{1}, "14"']


@pytest.mark.parametrize(
    "cell",
    [
        repr(PAIR),
        repr(tuple(PAIR)),
        json.dumps(PAIR),
        json.dumps(PAIR, indent=2),
        str(np.array(PAIR)),
        str(np.array(PAIR)).replace("' ", "'\n "),
        repr(np.array(PAIR)),
        repr(np.array(PAIR, dtype=object)),
        f" {PAIR!r} ",
        "\n".join(PAIR),
        "\r\n".join(PAIR) + "\r\n",
        f"Step 1: {PAIR[0]}\n\n**Step 2:** {PAIR[1]}",
    ],
)
def test_a_list_that_a_library_wrote_into_a_cell_is_its_texts(tmp_path: Path, cell: str) -> None:
    path = write_csv(tmp_path / "a.csv", [["statement", "answer", "steps"], ["a?", "14", cell]])
    assert steps(path) == [PAIR]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("['a' 'b' ... 'z']", "cut short"),
        ("['a', 'b', ...]", "cut short"),
        ("['a' 'b', 'c']", "cannot be read"),
        ("['a', None]", "cannot be read"),
        ("['a', 1]", "cannot be read"),
        ("[1, 2]", "something else than texts"),
        ('["a", null]', "something else than texts"),
        ('["a", ["b"]]', "something else than texts"),
        ("['a', 'b'", "does not end like one"),
        ("[{'step': 'a'}]", "cannot be read"),
        ('[{"step": "a"}]', "something else than texts"),
        ('{"0": "a", "1": "b"}', "an object"),
        ("{'steps': ['a']}", "an object"),
        ("['a\\qb']", "cannot be read"),
        ("[b'a', b'b']", "cannot be read"),
        ("{'a', 'b'}", "no order"),
    ],
)
def test_a_list_in_a_cell_that_cannot_be_understood_is_refused(tmp_path: Path, cell: str, message: str) -> None:
    path = write_csv(tmp_path / "a.csv", [["statement", "answer", "steps"], ["a?", "14", cell]])
    problem = refusal(path)
    assert "line 2: steps: " in problem or "line 3: steps: " in problem
    assert message in problem


@pytest.mark.parametrize(
    "cell", ["[3 + 4] = [7]", "(3 + 4) = (7)", "\\[ 3 + 4 = 7 \\]", "{x: x > 1} is open", "[sic] 7"]
)
def test_a_step_with_brackets_is_a_step(tmp_path: Path, cell: str) -> None:
    path = write_csv(tmp_path / "a.csv", [["statement", "answer", "steps"], ["a?", "14", cell]])
    assert steps(path) == [[cell]]


def test_a_list_written_as_text_is_read_in_json_lines_and_parquet_too(tmp_path: Path) -> None:
    row = {"statement": "a?", "answer": "14", "steps": repr(PAIR)}
    assert steps(write_lines(tmp_path / "a.jsonl", row)) == [PAIR]
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    assert steps(tmp_path / "a.parquet") == [PAIR]


@pytest.mark.parametrize("answer", ["['14']", '["14"]', "[{'value': '14'}]"])
def test_an_answer_that_is_a_list_of_one_text_is_refused_and_can_be_mapped(tmp_path: Path, answer: str) -> None:
    path = write_csv(tmp_path / "a.csv", [["statement", "answer"], ["a?", answer]])
    assert "answer: a list written into a cell" in refusal(path)
    place = "answer.0.value" if "value" in answer else "answer.0"
    assert answers(path, f"answer={place}") == ["14"]


@pytest.mark.parametrize("answer", ["[1, 2, 3]", "[14]", "(1, 2)", "{1, 2}", "['a', 'b']"])
def test_an_answer_that_is_a_list_of_its_own_stays(tmp_path: Path, answer: str) -> None:
    assert answers(write_csv(tmp_path / "a.csv", [["statement", "answer"], ["a?", answer]])) == [answer]


OPTIONAL = ("domain", "difficulty", "steps", "split", "licence", "subdomain", "problem_id")


@pytest.mark.parametrize("field", OPTIONAL)
@pytest.mark.parametrize("nothing", ["null", "NaN", '""', '" "', '"nan"', '"None"', '"<NA>"', '"N/A"'])
def test_an_optional_field_that_says_nothing_is_not_there(tmp_path: Path, field: str, nothing: str) -> None:
    full = write_lines(tmp_path / "a.jsonl", f'{{"statement": "a?", "answer": "1", "{field}": {nothing}}}')
    bare = write_lines(tmp_path / "b.jsonl", {"statement": "a?", "answer": "1"})
    assert take(full) == take(bare)
    (tmp_path / "c.json").write_text("[" + full.read_text() + "]")
    assert take(tmp_path / "c.json") == take(bare)
    text = json.loads(nothing) if nothing.startswith('"') else nothing
    assert take(write_csv(tmp_path / "d.csv", [["statement", "answer", field], ["a?", "1", text]])) == take(bare)


@pytest.mark.parametrize("kind", [pa.string(), pa.float64(), pa.null(), pa.list_(pa.string())])
def test_an_empty_parquet_column_of_any_type_is_not_there(tmp_path: Path, kind: Any) -> None:
    bare = take(write_lines(tmp_path / "b.jsonl", {"statement": "a?", "answer": "1"}))
    for field in OPTIONAL:
        table = pa.table({"statement": ["a?"], "answer": ["1"], field: pa.array([None], kind)})
        pq.write_table(table, tmp_path / "a.parquet")
        assert take(tmp_path / "a.parquet") == bare


@pytest.mark.parametrize("word", ["nan", "NaN", "null", "NULL", "None", "<NA>", "#N/A"])
@pytest.mark.parametrize("field", ["statement", "answer"])
def test_a_librarys_word_for_nothing_is_no_answer(tmp_path: Path, word: str, field: str) -> None:
    row = {"statement": "a?", "answer": "1"} | {field: word}
    path = write_csv(tmp_path / "a.csv", [list(row), list(row.values())])
    assert f"line 2: {field}: missing" in refusal(path)


@pytest.mark.parametrize("word", ["nan", "NaN", "<NA>", "NaT"])
def test_what_astype_str_makes_of_nothing_is_no_answer_in_parquet_and_json_either(tmp_path: Path, word: str) -> None:
    pq.write_table(pa.table({"statement": ["a?"], "answer": [word]}), tmp_path / "a.parquet")
    assert "answer: missing" in refusal(tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text(json.dumps({"statement": "a?", "answer": word}))
    assert "answer: missing" in refusal(tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").write_text('{"statement": "Which of them is real?", "answer": "None"}')
    assert answers(tmp_path / "b.jsonl") == ["None"]


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.jsonl", "{}"), ("a.json", "[{}]"), ("b.json", '{{"data": [{}]}}'), ("c.jsonl", '{{"meta": {}}}')],
)
def test_a_name_that_stands_twice_in_an_object_is_refused(tmp_path: Path, name: str, form: str) -> None:
    row = '{"statement": "a?", "answer": "7", "answer": "8"}'
    (tmp_path / name).write_text(form.format(row))
    assert "'answer' stands twice" in refusal(tmp_path / name)


def test_a_missing_answer_is_named_in_every_format(tmp_path: Path) -> None:
    rows = [{"statement": "a?", "answer": "1"}, {"statement": "b?", "answer": None}]
    assert "line 2: answer: " in refusal(write_lines(tmp_path / "a.jsonl", *rows))
    (tmp_path / "a.json").write_text(json.dumps(rows))
    assert "item 2: answer: " in refusal(tmp_path / "a.json")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert "row 2: answer: missing" in refusal(tmp_path / "a.parquet")
    assert "line 3: answer: missing" in refusal(
        write_csv(tmp_path / "a.csv", [["statement", "answer"], ["a?", "1"], ["b?", ""]])
    )


DIFFERENT = [
    ("Compute 2\u00b2 + 1.", "Compute 22 + 1."),
    ("Compute x\u00b2.", "Compute x\u00b3."),
    ("Compute 10\u207b\u00b3.", "Compute 10-3."),
    ("Compute 10\u207b\u00b3.", "Compute 10\u22123."),
    ("Compute a\u2081 + a\u2082.", "Compute a1 + a2."),
    ("Take 1\u00bd cups.", "Take 11/2 cups."),
    ("Take 1\u00bd cups.", "Take 11\u20442 cups."),
    ("Add \u2460 and 1.", "Add 1 and 1."),
    ("An area of 5 \u33a1.", "An area of 5 m2."),
    ("What is \u22125 + 3?", "What is 5 + 3?"),
    ("What is 5 + 3?", "What is 53?"),
]
SAME = [
    ("What is 3 + 4?", "What  is \uff13 + 4?"),
    ("What is 3 + 4?", "WHAT IS 3 + 4?"),
    ("Find x\u00b2 + 3.", "Find  \uff38\u00b2 + 3."),
    ("Find the \ufb01rst.", "Find the first."),
    ("A caf\u00e9?", "A cafe\u0301?"),
    ("What is\u00a03 + 4?", "What is\u20283 + 4?"),
    ("Find \U0001d465 + 1.", "Find x + 1."),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_statements_of_another_meaning_are_two_problems(tmp_path: Path, one: str, other: str) -> None:
    rows = [{"statement": one, "answer": "1"}, {"statement": other, "answer": "1"}]
    assert len(take(write_lines(tmp_path / "a.jsonl", *rows))) == 2


@pytest.mark.parametrize(("one", "other"), SAME)
def test_statements_in_two_spellings_are_one_problem(tmp_path: Path, one: str, other: str) -> None:
    assert statement_key(one) == statement_key(other)
    assert normalise_statement(normalise_statement(one)) == normalise_statement(one)
    rows = [{"statement": one, "answer": "1"}, {"statement": other, "answer": "1"}]
    assert "this statement is already on line 1" in refusal(write_lines(tmp_path / "a.jsonl", *rows))


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\x1c", "\x1e"])
def test_only_a_newline_ends_a_line(tmp_path: Path, character: str) -> None:
    row = {"statement": f"A{character}B?", "answer": "7", "steps": [f"3 + 4{character} = 7"]}
    for escaped in (True, False):
        line = json.dumps(row, ensure_ascii=escaped)
        found = take(write_lines(tmp_path / "a.jsonl", line, {"statement": "b?", "answer": "1"}))
        assert [problem.statement for problem, _ in found] == [f"A{character}B?", "b?"]
        assert found[0][1] is not None
        assert found[0][1].steps == ["3 + 4 = 7"]
    path = write_csv(
        tmp_path / "a.csv", [["statement", "answer", "steps"], [f"A{character}B?", "7", f"3{character} + 4"]]
    )
    assert steps(path) == [["3 + 4"]]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_and_windows_line_ends_are_welcome_in_every_text_format(
    tmp_path: Path, end: str, mark: bytes
) -> None:
    rows = [{"statement": "a?", "answer": "1"}, {"statement": "b?", "answer": "2"}]
    written = {
        "a.jsonl": "".join(json.dumps(row) + end for row in rows),
        "a.json": json.dumps(rows, indent=1).replace("\n", end),
        "a.csv": end.join(["statement,answer", "a?,1", "b?,2", ""]),
        "a.tsv": end.join(["statement\tanswer", "a?\t1", "b?\t2", ""]),
    }
    for name, content in written.items():
        (tmp_path / name).write_bytes(mark + content.encode())
        assert answers(tmp_path / name) == ["1", "2"], name


@pytest.mark.parametrize(
    "whole",
    [
        {"statement": ["a?", "b?"], "answer": ["1", "2"]},
        {"statement": {"0": "a?", "1": "b?"}, "answer": {"0": "1", "1": "2"}},
        {"x1": {"statement": "a?", "answer": "1"}, "x2": {"statement": "b?", "answer": "2"}},
        {"columns": ["statement", "answer"], "index": [0, 1], "data": [["a?", "1"], ["b?", "2"]]},
        {"version": 1, "data": [{"statement": "a?", "answer": "1"}, {"statement": "b?", "answer": "2"}]},
    ],
)
def test_tables_that_libraries_write_as_one_object_are_rows(tmp_path: Path, whole: dict[str, Any]) -> None:
    (tmp_path / "a.json").write_text(json.dumps(whole))
    assert answers(tmp_path / "a.json") == ["1", "2"]


def test_columns_of_different_lengths_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"statement": ["a?", "b?"], "answer": ["1"]}))
    assert "1 to 2 values" in refusal(tmp_path / "a.json")


TALK = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "a?"}]


@pytest.mark.parametrize("written", [TALK, json.dumps(TALK), repr(TALK)])
def test_a_conversation_is_looked_into(tmp_path: Path, written: Any) -> None:
    row = {"messages": written, "extra.info": {"answer": "7", "tries": [1, 2]}}
    maps = ("statement=messages.-1.content", "answer=extra.info.answer")
    assert answers(write_lines(tmp_path / "a.jsonl", row), *maps) == ["7"]
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    assert answers(tmp_path / "a.parquet", *maps) == ["7"]
    problem = refusal(write_lines(tmp_path / "a.jsonl", row), "statement=messages", maps[1])
    assert "line 1: statement: " in problem
    assert "list" in problem


def test_a_place_that_a_row_does_not_have_is_missing(tmp_path: Path) -> None:
    rows = [{"q": "a?", "found": [{"x": "1"}]}, {"q": "b?", "found": []}, {"q": "c?", "found": None}]
    problem = refusal(write_lines(tmp_path / "a.jsonl", *rows), "statement=q", "answer=found.0.x")
    assert "line 2: answer: missing" in problem
    assert "line 3: answer: missing" in problem


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("statement", "What is $\\frac{1}{2}$?"),
        ("answer", "\\frac{1}{2}"),
        ("answer", "2\\times 3"),
        ("answer", "\\beta"),
    ],
)
def test_latex_whose_backslashes_were_not_doubled_is_refused(tmp_path: Path, field: str, text: str) -> None:
    fields = {"statement": "a?", "answer": "1"} | {field: text}
    raw = "{" + ", ".join(f'"{name}": "{value}"' for name, value in fields.items()) + "}"
    assert f"line 1: {field}: LaTeX with single backslashes" in refusal(write_lines(tmp_path / "a.jsonl", raw))
    found, _ = take(write_lines(tmp_path / "b.jsonl", fields))[0]
    assert text in (found.statement, found.answer_gold)


def test_problems_that_name_no_split_are_all_evaluated(tmp_path: Path) -> None:
    rows = [{"statement": f"{n}?", "answer": "1"} for n in range(30)]
    path = write_lines(tmp_path / "a.jsonl", *rows, {"statement": "t?", "answer": "1", "split": "train"})
    assert [problem.split for problem, _ in take(path)] == ["test"] * 30 + ["train"]
    by_hash = list(import_rows(path, "mine", WHEN, "by-hash").pairs())
    assert {problem.split for problem, _ in by_hash} == {"train", "validation", "test"}
