import json
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.problems.importing import MAX_LINE, ImportedProblems, read_problems
from rjepa.problems.lines import normalised

WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def read(folder: Path, content: bytes | str | list, split: str | None = None) -> ImportedProblems:
    path = folder / "problems.jsonl"
    if isinstance(content, list):
        content = "".join(json.dumps(row) + "\n" for row in content)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_problems(path, "mine", WHEN, split)  # type: ignore[arg-type]


def refusal(folder: Path, content: bytes | str | list) -> str:
    with pytest.raises(InvalidInputError) as caught:
        read(folder, content)
    assert caught.value.cure
    return caught.value.problem


def test_a_full_line_is_read_whole(tmp_path: Path) -> None:
    row = {
        "statement": " How many?\r\n", "answer": 14, "domain": "fruit", "steps": ["Step 1: 3 + 4 = 7", "7 * 2 = 14"],
        "difficulty": "hard", "subdomain": "apples", "licence": "CC0-1.0", "split": "test", "problem_id": "a-1",
    }  # fmt: skip
    problem, chain = read(tmp_path, [row]).pairs[0]
    assert problem.model_dump(exclude={"meta", "meta_course"}) == {
        "problem_id": "a-1", "domain": "fruit", "subdomain": "apples", "source": "import:mine", "difficulty": "hard",
        "statement": "How many?", "answer_gold": "14", "licence": "CC0-1.0", "split": "test",
    }  # fmt: skip
    assert chain is not None
    assert (chain.steps, chain.final_answer, chain.created_at) == (["3 + 4 = 7", "7 * 2 = 14"], "14", WHEN)


def test_the_least_line_gets_defaults_and_a_warning_of_its_licence(tmp_path: Path) -> None:
    imported = read(tmp_path, [{"statement": "How many?", "answer": "14"}])
    problem, chain = imported.pairs[0]
    assert (problem.domain, problem.difficulty, problem.licence, chain) == ("custom", "medium", "unknown", None)
    assert problem.split in ("train", "validation", "test")
    assert "licence" in imported.warnings[0]


def test_a_byte_order_mark_blank_lines_and_windows_line_ends_are_welcome(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf{"statement": "a?", "answer": "1"}\r\n\r\n{"statement": "b?", "answer": "2"}'
    assert [problem.statement for problem, _ in read(tmp_path, content).pairs] == ["a?", "b?"]


def test_unknown_fields_are_named_in_a_warning(tmp_path: Path) -> None:
    imported = read(tmp_path, [{"statement": "a?", "answer": "1", "licence": "MIT", "stepz": []}])
    assert imported.warnings == ["1 unknown field(s) were ignored: stepz"]


def test_all_problems_may_be_put_in_one_split(tmp_path: Path) -> None:
    rows = [{"statement": f"{n}?", "answer": "1", "split": "train"} for n in range(5)]
    assert {problem.split for problem, _ in read(tmp_path, rows, split="test").pairs} == {"test"}


def test_the_normalised_file_reads_back_as_the_same_problems(tmp_path: Path) -> None:
    steps = [None, ["1 + 1 = 2", "2 * 2 = 4"]]
    rows = [{"statement": f"{n} \u00e9?", "answer": n, "steps": steps[n % 2]} for n in range(9)]
    imported = read(tmp_path, rows)
    assert read(tmp_path, "".join(normalised(pair) for pair in imported.pairs)).pairs == imported.pairs


GOOD = b'{"statement": "good?", "answer": "1"}\n'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{broken", "not JSON"),
        (b'{"statement": "caf\xe9?", "answer": "1"}', "not UTF-8"),
        (b'["a list"]', "a JSON list"),
        (b'"text"', "a JSON str"),
        (b'{"answer": "1"}', "statement: missing"),
        (b'{"statement": "a?"}', "answer: missing"),
        (b'{"statement": "  ", "answer": "1"}', "statement: empty"),
        (b'{"statement": "a?", "answer": ""}', "answer: empty"),
        (b'{"statement": 7, "answer": "1"}', "statement: Input should be a valid string"),
        (b'{"statement": "a?", "answer": true}', "answer: Input should be a valid string"),
        (b'{"statement": "a?", "answer": {"x": 1}}', "answer: Input should be a valid string"),
        (b'{"statement": "a?", "answer": 1e999}', "finite"),
        (b'{"statement": "a?", "answer": NaN}', "finite"),
        (b'{"statement": "a?", "answer": "1", "steps": "one"}', "steps: Input should be a valid list"),
        (b'{"statement": "a?", "answer": "1", "steps": ["x", ""]}', "steps.1: empty"),
        (b'{"statement": "a?", "answer": "1", "steps": [1]}', "steps.0: Input should be a valid string"),
        (b'{"statement": "a?", "answer": "1", "difficulty": "insane"}', "difficulty: Input should be"),
        (b'{"statement": "a?", "answer": "1", "split": "dev"}', "split: Input should be"),
        (b'{"statement": "a?", "answer": "1", "problem_id": "a b"}', "problem_id"),
        (b'{"statement": "a?", "answer": "1", "domain": "a\\nb"}', "domain"),
        (b'{"statement": "a\\ud800?", "answer": "1"}', "surrogate"),
        (b'{"statement": "GOOD?", "answer": "1"}', "this statement is already on line 1"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"statement": "a?", "answer": ' + b"1" * 5000 + b"}", "digits"),
        (b'{"statement": "' + b"a" * MAX_LINE + b'", "answer": "1"}', f"longer than {MAX_LINE}"),
    ],
)
def test_a_bad_line_refuses_the_file_and_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    problem = refusal(tmp_path, GOOD + line + b"\n" + GOOD.replace(b"good", b"fine"))
    assert "1 bad line" in problem
    assert "line 2: " in problem
    assert message in problem


def test_an_id_used_twice_is_refused(tmp_path: Path) -> None:
    rows = [{"statement": f"{n}?", "answer": "1", "problem_id": "same"} for n in range(2)]
    assert "line 2: this problem_id is already on line 1" in refusal(tmp_path, rows)


def test_the_first_ten_bad_lines_are_listed_and_the_rest_counted(tmp_path: Path) -> None:
    problem = refusal(tmp_path, b"x\n" * 25)
    assert "25 bad line(s)" in problem
    assert "line 10:" in problem and "line 11:" not in problem
    assert "and 15 more" in problem


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused(tmp_path: Path, content: bytes) -> None:
    assert "no problems" in refusal(tmp_path, content)


def test_utf_16_is_refused_with_the_cure(tmp_path: Path) -> None:
    assert "is in UTF-16, not UTF-8" in refusal(tmp_path, '{"statement": "a?", "answer": "1"}'.encode("utf-16"))


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "no.jsonl", tmp_path):
        with pytest.raises(NotFoundError, match="not a file"):
            read_problems(path, "mine", WHEN)


def test_an_endless_line_is_refused_without_being_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.jsonl"
    with path.open("wb") as file:
        file.write(b'{"statement": "' + b"x" * (1 << 17))
        file.truncate(1 << 28)  # sparse: a line without an end
    tracemalloc.start()
    with pytest.raises(InvalidInputError, match="line 1: longer than"):
        read_problems(path, "mine", WHEN)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20
