"""A chain's text is read back as it was written, and its spans cover it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rjepa.chains import completes_answer, parse_chain, render_chain, segment_spans

STEP = st.text(st.characters(codec="ascii", categories=["L", "N"], include_characters=" =+-"), min_size=1).filter(
    lambda text: text.strip() and not text.strip().startswith(("Step", "Answer"))
)


@given(steps=st.lists(STEP, min_size=1, max_size=9), answer=st.one_of(st.none(), st.integers().map(str)))
def test_a_chain_is_read_back_as_it_was_written(steps: list[str], answer: str | None) -> None:
    parsed = parse_chain(render_chain(steps, answer))
    assert parsed.steps == [" ".join(step.split()) for step in steps]
    assert parsed.final_answer == answer


@given(steps=st.lists(STEP, min_size=1, max_size=9))
def test_spans_join_to_the_text(steps: list[str]) -> None:
    text = render_chain(steps, "7")
    spans = segment_spans(text)
    assert "".join(text[start:end] for start, end in spans) == text
    assert len(spans) == len(steps) + 1


def test_text_without_any_step_is_one_span_and_has_no_answer() -> None:
    assert segment_spans("I do not know") == [(0, 13)]
    assert parse_chain("I do not know").final_answer is None
    assert segment_spans("") == []


def test_what_follows_the_answer_line_is_left_out() -> None:
    chain = "Step 1: a = 1\nAnswer: 1\n"
    assert parse_chain(chain + " and more").final_answer == "1"
    assert segment_spans(chain + " and more")[-1][1] == len(chain)


def test_the_answer_is_found_in_other_common_forms() -> None:
    assert parse_chain("Step 1. add\nThe answer is 12.").final_answer == "12"


@pytest.mark.parametrize(
    "text",
    [
        "Step 1: 2 * 7 = 14\nAnswer: 14\n",
        "Step 1: 2 * 7 = 14\n**Final Answer:**\n14\n",
        "Step 1: 2 * 7 = 14\n### Final answer\n\\[ 14 \\]\n",
        "Step 1: 2 * 7 = 14\nAnswer:\n\n\\[\n14\n\\]\n",
        "The answer is:\n$$\n14\n$$\n",
        "Step 1: write it\nAnswer:\n```python\ndef f():\n    return 14\n```\n",
        "<think>\nAnswer: 15? Perhaps.\nAnswer: 13\n</think>\nStep 1: 2 * 7 = 14\nAnswer: 14\n",
        "[THINK]\nStep 1: a draft\nAnswer: 13\n[/THINK]\nAnswer: 14\n",
    ],
)
def test_a_growing_text_has_its_answer_with_its_last_line_and_not_before(text: str) -> None:
    ends = [index + 1 for index, character in enumerate(text) if character == "\n"]
    starts = [0, *ends[:-1]]
    whole = [completes_answer(text[:end], start) for start, end in zip(starts, ends, strict=True)]
    assert whole == [False] * (len(ends) - 1) + [True]


@pytest.mark.parametrize(
    "text",
    [
        "Answer:\n",
        "Answer:\n\\[\n",
        "Answer:\n```python\ndef f():\n",
        "<think>\nAnswer: 14\n",
        "The answer is not clear yet.\n",
    ],
)
def test_a_text_that_has_no_whole_answer_yet_goes_on(text: str) -> None:
    line = text.rfind("\n", 0, len(text) - 1) + 1
    assert not completes_answer(text, line)
