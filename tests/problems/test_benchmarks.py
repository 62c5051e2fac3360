from datetime import UTC, datetime
from pathlib import Path

import pytest

from rjepa.datasets.recipe import BenchmarkSource
from rjepa.datasets.snapshots import benchmark_intake
from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.problems.benchmarks import BENCHMARKS, find_benchmark
from rjepa.problems.benchmarks.subjects import CATEGORIES
from rjepa.problems.lines import WorkedProblem
from rjepa.progress import silent
from rjepa.validation.judge import judge, judged

FIXTURES = Path(__file__).parent / "fixtures"
WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def read(name: str, file: str | None = None, split: str = "test") -> list[WorkedProblem]:
    if split == "test" and "test" not in find_benchmark(name).splits:
        split = "validation"
    path = FIXTURES / (file or f"{name}.jsonl")
    intake = benchmark_intake(BenchmarkSource(name=name, files={split: str(path)}), WHEN, silent)
    pairs = list(intake.pairs())
    intake.finish()
    return pairs


ALL = [(name, None) for name in BENCHMARKS if name not in ("svamp", "bbh")] + [
    ("svamp", "svamp.json"), ("bbh", "bbh_logical_deduction.json"), ("mbpp", "mbpp_sanitized.jsonl"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "file"), ALL)
def test_every_benchmark_reads_its_published_schema_with_licence_origin_and_check(name: str, file: str | None) -> None:
    pairs = read(name, file)
    assert len(pairs) >= 1
    for row, (problem, chain) in enumerate(pairs, start=1):
        assert problem.licence == find_benchmark(name).licence
        assert problem.source == f"benchmark:{name}" and problem.problem_id.startswith(f"{name}-")
        assert problem.split == "test" and problem.answer_gold
        assert problem.meta["check"] in ("maths", "unit_tests", "multiple_choice", "exact")
        origin = problem.meta["origin"]
        assert origin["row"] == row and len(origin["sha256"]) == 64 and origin["file"].startswith(name[:3])
        if chain is not None:
            assert chain.problem_id == problem.problem_id and chain.final_answer == problem.answer_gold


def test_gsm8k_answers_are_plain_and_its_calculator_marks_are_gone() -> None:
    pairs = read("gsm8k")
    assert [problem.answer_gold for problem, _ in pairs] == ["26", "5000", "-2"]
    chain = pairs[0][1]
    assert chain is not None
    assert chain.steps == ["Ravi bakes 12 * 8 = 96 rolls.", "Then 96 - 70 = 26 rolls are left."]


def test_math_takes_the_last_box_with_its_braces_and_keeps_sentences_as_steps() -> None:
    pairs = read("math")
    assert [problem.answer_gold for problem, _ in pairs] == [r"\frac{9}{4}", "5", "7"]
    assert [(problem.subdomain, problem.difficulty) for problem, _ in pairs] == [
        ("geometry", "easy"), ("counting-and-probability", "hard"), ("prealgebra", "medium"),
    ]  # fmt: skip
    first, _, last = (chain.steps for _, chain in pairs if chain is not None)
    assert first[0] == "The area is the side squared." and len(first) == 2
    assert last == ["[figure] Halving both sides gives $x = \\boxed 7$."]


def test_svamp_joins_body_and_question_and_works_its_equation_out() -> None:
    pairs = read("svamp", "svamp.json")
    assert pairs[0][0].statement.startswith("A shelf holds 8 jars of jam and 3 jars of honey. How many")
    assert [problem.answer_gold for problem, _ in pairs] == ["5", "24", "12"]
    assert [chain.steps for _, chain in pairs if chain] == [["8 - 3 = 5"], ["6 * 4 = 24"], ["( ( 10 - 4 ) + 6 ) = 12"]]


@pytest.mark.parametrize(("name", "file"), [("humaneval", None), ("mbpp", None), ("mbpp", "mbpp_sanitized.jsonl")])
def test_the_gold_code_of_our_own_fixtures_passes_its_tests_and_other_code_does_not(
    name: str, file: str | None
) -> None:
    for problem, _ in read(name, file):
        assert problem.meta["entry_point"] in problem.meta["tests"] or name == "humaneval"
        program = f"{problem.answer_gold}\n\n{problem.meta['tests']}"
        exec(compile(program, "fixture", "exec"), {})  # written by us, a few lines away
        wrong = f"def {problem.meta['entry_point']}(*_):\n    return 'x'\n\n{problem.meta['tests']}"
        with pytest.raises((AssertionError, TypeError)):
            exec(compile(wrong, "fixture", "exec"), {})


@pytest.mark.parametrize(("name", "letters"), [("mmlu", "CDA"), ("arc", "BCA"), ("hellaswag", "BA"), ("logiqa", "BD")])
def test_options_are_lettered_in_the_statement_and_the_gold_answer_is_a_letter(name: str, letters: str) -> None:
    pairs = read(name)
    assert "".join(str(problem.answer_gold) for problem, _ in pairs) == letters
    for problem, _ in pairs:
        for letter, choice in zip("ABCD", problem.meta["choices"], strict=False):
            assert f"\n{letter}. {choice}" in problem.statement


def test_hellaswag_loses_its_marks_and_keeps_its_activity() -> None:
    first, second = (problem for problem, _ in read("hellaswag"))
    assert first.statement.startswith("Washing a bicycle: A boy fills a bucket. he\nWhich ending")
    assert "[" not in second.statement


def test_mmlu_has_57_subjects_in_four_categories() -> None:
    assert sum(len(subjects) for subjects in CATEGORIES.values()) == 57
    assert [problem.domain for problem, _ in read("mmlu")] == ["stem", "humanities", "social_sciences"]


def test_bbh_knows_letters_words_and_numbers_and_its_task_from_the_file() -> None:
    pairs = read("bbh", "bbh_logical_deduction.json") + read("bbh", "object_counting.jsonl")
    found = [(problem.answer_gold, problem.meta["check"]) for problem, _ in pairs]
    assert found == [("A", "multiple_choice"), ("True", "exact"), ("Monsters", "exact"), ("6", "maths")]
    assert pairs[0][0].meta["choices"][2] == "The hen is the leftmost"
    assert "Options:" not in pairs[0][0].statement
    assert pairs[3][0].subdomain == "object_counting"


def test_what_is_published_for_tests_is_never_train_and_training_rows_give_some_for_validation(tmp_path: Path) -> None:
    for name, benchmark in BENCHMARKS.items():
        assert benchmark.splits.get("test", "test") == "test", name
        assert "test" in benchmark.splits.values(), name
    assert BENCHMARKS["hellaswag"].splits["validation"] == "test"  # its own test has no labels
    path = tmp_path / "train.jsonl"
    path.write_text("".join(f'{{"question": "What is {n} + 1?", "answer": "#### {n + 1}"}}\n' for n in range(200)))
    intake = benchmark_intake(BenchmarkSource(name="gsm8k", files={"train": str(path)}), WHEN, silent)
    splits = [problem.split for problem, _ in intake.pairs()]
    assert splits.count("test") == 0 and 20 < splits.count("validation") < 60


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("gsm8k", '{"question": "q?"}', "answer: missing; the row has question"),
        ("gsm8k", '{"question": "q?", "answer": "no mark"}', "no '#### ' line"),
        ("math", '{"problem": "q?", "solution": "no box"}', "no \\boxed{} answer"),
        ("math", '{"problem": "q?", "solution": "\\\\boxed{1"}', "does not end"),
        ("svamp", '{"Body": "b.", "Question": "q?", "Answer": [1]}', "Answer is a list"),
        ("humaneval", '{"prompt": 3}', "prompt is a int"),
        ("mbpp", '{"text": "t", "code": "c", "test_list": "assert 1"}', "test_list is not a list"),
        ("mmlu", '{"question": "q", "choices": ["a", "b"], "answer": 7}', "number 8, there are 2"),
        ("mmlu", '{"question": "q", "choices": ["a"], "answer": 0}', "1 options"),
        ("arc", '{"question": "q", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "E"}', "'E'"),
        ("arc", '{"question": "q", "choices": 4, "answerKey": "A"}', "not an object"),
        ("hellaswag", '{"ctx": "c", "endings": ["a", "b"], "label": ""}', "held back"),
        ("logiqa", '{"context": "c", "query": "q", "options": ["a", "b"]}', "label or answer: missing"),
        ("bbh", '{"input": "", "target": "x"}', "input is empty"),
        ("gsm8k", '{"question": "\\ud800", "answer": "#### 1"}', "surrogate"),
    ],
)
def test_a_row_of_another_schema_is_refused_and_its_field_is_named(
    tmp_path: Path, name: str, line: str, message: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{line}\n")
    split = "validation" if name == "hellaswag" else "test"
    intake = benchmark_intake(BenchmarkSource(name=name, files={split: str(path)}), WHEN, silent)
    assert list(intake.pairs()) == []
    with pytest.raises(InvalidInputError) as caught:
        intake.finish()
    assert "row 1: " in caught.value.problem and message in caught.value.problem


def test_a_few_broken_rows_of_a_large_set_are_left_out_and_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [f'{{"question": "What is {n}?", "answer": "#### {n}"}}' for n in range(200)]
    path.write_text("\n".join([*lines, '{"question": "broken?", "answer": ""}']))
    intake = benchmark_intake(BenchmarkSource(name="gsm8k", files={"test": str(path)}), WHEN, silent)
    assert len(list(intake.pairs())) == 200
    intake.finish()
    assert intake.warnings() == ["1 row(s) were left out, the first is row 201 (answer is empty)"]


def test_an_unknown_benchmark_is_refused_with_the_known_ones() -> None:
    with pytest.raises(NotFoundError, match="no benchmark 'gsm9k'") as caught:
        find_benchmark("gsm9k")
    assert "gsm8k" in caught.value.cure


@pytest.mark.parametrize(("name", "file"), [pair for pair in ALL if pair[0] not in ("humaneval", "mbpp")])
def test_the_checker_that_a_row_names_takes_its_gold_answer_and_no_other(name: str, file: str | None) -> None:
    for problem, chain in read(name, file):
        assert judge(problem, ["A step."], problem.answer_gold).is_correct
        assert not judge(problem, ["A step."], "Z").is_correct
        assert chain is None or judged(problem, chain).is_valid
