"""A question that cannot be asked says which field is wrong, with what in it, and what it takes."""

import pytest

from rjepa.reasoning.question import InvalidQuestionError, ask


@pytest.mark.parametrize(
    ("options", "rules", "field", "words"),
    [
        ({"num_candidates": 99}, {}, "options.num_candidates", "num_candidates 99 cannot be used"),
        ({"num_candidates": "many"}, {}, "options.num_candidates", "num_candidates 'many' cannot be used"),
        ({"max_error": 7}, {}, "options.max_error", "max_error 7 cannot be used"),
        ({"candidates": 8}, {}, "options.candidates", "no option 'candidates'"),
        ({}, {"stop": ["end", ""]}, "stop.1", "stop.1 '' cannot be used"),
        ({}, {"top_p": 2.0}, "top_p", "top_p 2.0 cannot be used"),
    ],
)
def test_what_cannot_be_asked_is_named_as_the_client_wrote_it(
    options: dict[str, object], rules: dict[str, object], field: str, words: str
) -> None:
    with pytest.raises(InvalidQuestionError) as caught:
        ask("1 + 1", "rerank", options, strict=True, **rules)  # type: ignore[arg-type]
    assert caught.value.field == field
    assert words in caught.value.problem and caught.value.cure


def test_a_long_value_is_shown_in_part() -> None:
    with pytest.raises(InvalidQuestionError) as caught:
        ask("1 + 1", "rerank", stop=["a"] * 1000)
    assert len(caught.value.problem) < 200
