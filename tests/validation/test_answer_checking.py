"""docs/answer-checking.md says how far we agree with math-verify and lm-evaluation-harness: its figures, recomputed.

answer_cases.json holds input pairs from their tests as data, with the source named, what they expect, and our judgement
wherever we say otherwise.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rjepa.validation.answers import answers_match
from rjepa.validation.maths import MathsPool
from rjepa.validation.multiple_choice import read_choice

CASES = json.loads((Path(__file__).parent / "answer_cases.json").read_text(encoding="utf-8"))
DOC = (Path(__file__).parents[2] / "docs" / "answer-checking.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pool() -> Iterator[MathsPool]:
    with MathsPool(1) as opened:
        yield opened


def stated(name: str, agree: int, total: int) -> bool:
    """Whether the document's table has a row of this name with these figures."""
    return any(f"| {name} |" in line and f"| {agree} of {total} |" in line for line in DOC.splitlines())


def test_agreement_with_math_verifys_tests_is_as_the_document_says(pool: MathsPool) -> None:
    cases = CASES["math_verify"]["cases"]
    ours = [found.equal for found in pool.compare_all([(case["gold"], case["answer"]) for case in cases])]
    other = [case for case, equal in zip(cases, ours, strict=True) if equal is not case["expected"]]
    assert [case["answer"] for case in other if "judgement" not in case] == []
    assert [case["answer"] for case in cases if "judgement" in case and case not in other] == []
    assert stated("Math-Verify's tests: ours", len(cases) - len(other), len(cases))
    harness = sum(case["harness"] is case["expected"] for case in cases)
    assert stated("Math-Verify's tests: lm-evaluation-harness", harness, len(cases))
    both = sum(case["harness"] is equal for case, equal in zip(cases, ours, strict=True))
    assert stated("Math-Verify's tests: ours against lm-evaluation-harness", both, len(cases))
    for case in other:
        assert f"`{case['gold']}` | `{case['answer']}`".replace("|", "\\|").replace("` \\| `", "` | `") in DOC


def test_agreement_with_the_harness_on_options_is_as_the_document_says() -> None:
    cases = CASES["harness_options"]["cases"]
    other = [case for case in cases if read_choice(case["answer"], case["choices"]) != case["expected"]]
    assert [case["answer"] for case in other if "judgement" not in case] == []
    assert [case["answer"] for case in cases if "judgement" in case and case not in other] == []
    assert stated("lm-evaluation-harness's tests of options: ours", len(cases) - len(other), len(cases))


def test_agreement_with_the_harness_on_gsm8k_lines_is_as_the_document_says() -> None:
    cases = CASES["gsm8k_lines"]["cases"]
    ours = [answers_match(case["gold"], case["answer"]) for case in cases]
    assert ours == [case["right"] for case in cases]
    agree = sum(case["harness"] is match for case, match in zip(cases, ours, strict=True))
    assert stated("GSM8K answer lines: ours against lm-evaluation-harness", agree, len(cases))
    for case, match in zip(cases, ours, strict=True):
        assert case["harness"] is match or "judgement" in case
