"""Types of steps: what three domains and other LLMs write, and as many as there are segments."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rjepa.chains import render_chain, segment_spans
from rjepa.step_types import STEP_TYPES, segment_types, step_type


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Step 1: Sam has 20 more than Kim: 86 + 20 = 106", "addition"),
        ("Rex has 28 fewer than Lia: 135 - 28 = 107", "subtraction"),
        ("The third one has 1200*0.75=900 more apartments", "multiplication"),
        (r"So the area is $12 \times 3 = 36$", "multiplication"),
        ("Eva has half as many as Vic: 28 / 2 = 14", "division"),
        ("u = t // 2 = 11 // 2 = 5", "division"),
        ("In all: 88 + 760 + 1150 = 1998", "addition"),
        ("t = u % 5 = 5 % 5 = 0", "calculation"),
        ("t = min(v, t) = min(40, 15) = 15", "calculation"),
        ("(3 + 4) * 2 = 14", "calculation"),
        ("x = -5", "calculation"),
        ("Every wug is a numpus if old, so Max is a numpus", "deduction"),
        ("Therefore the claim follows.", "deduction"),
        ("Step 3: Max is a wug", "statement"),
        ("Step 2: a = b", "statement"),
        ("We count the well-known cases 3-5", "statement"),
        ("", "statement"),
    ],
)
def test_the_type_of_a_step_is_read_off_its_text(text: str, expected: str) -> None:
    assert step_type(text) == expected


def test_the_prompt_and_the_answer_line_have_types_of_their_own() -> None:
    text = render_chain(["Bob has 11 + 7 = 18", "so he is rich"], "18")
    found = [STEP_TYPES[kind] for kind in segment_types(text, 4)]
    assert found == ["prompt", "addition", "deduction", "answer"]
    assert [STEP_TYPES[kind] for kind in segment_types(text, 3, "guided")] == found[:3]
    assert segment_types("", 1).tolist() == [0]


@given(st.text(max_size=80), st.sampled_from(["guided", "punctuation", "connectives", "paragraph"]))
def test_there_is_a_type_for_every_segment_of_any_text(text: str, segmentation: str) -> None:
    segments = len(segment_spans(text, segmentation)) + 1
    types = segment_types(text, segments, segmentation)
    assert len(types) == segments and types[0] == 0 and (types[1:] > 0).all()
