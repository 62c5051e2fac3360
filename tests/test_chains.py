"""A chain's text is read back as it was written, and its spans cover it."""

from hypothesis import given
from hypothesis import strategies as st

from rjepa.chains import parse_chain, render_chain, segment_spans

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
