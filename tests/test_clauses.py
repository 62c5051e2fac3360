"""Where steps of free text begin, mode by mode."""

import time

import pytest

from rjepa.chains import Segmentation, parse_chain, render_chain, segment_spans, step_segment
from rjepa.clauses import MAX_PARAGRAPH, paragraph_starts


def pieces(text: str, segmentation: Segmentation) -> list[str]:
    return [text[start:end] for start, end in segment_spans(text, segmentation)]


def test_sentences_and_lines_are_steps() -> None:
    text = "Mia has 3 apples. She buys 4 more!\nHow many? 7\nAnswer: 7\n"
    assert pieces(text, "punctuation") == [
        "Mia has 3 apples.",
        " She buys 4 more!\n",
        "How many?",
        " 7\n",
        "Answer: 7\n",
    ]


@pytest.mark.parametrize(
    "text", ["It costs 2.50 euros, i.e. 250 cents.", "1. Dr. Who has 3 pens", "a) x = f.g(1.5)", "Tom vs. Mia: 3 to 4"]
)
def test_a_stop_inside_a_number_or_after_an_abbreviation_ends_nothing(text: str) -> None:
    assert pieces(text, "punctuation") == [text]


def test_sentences_end_without_blanks_where_their_script_has_none() -> None:
    assert pieces("三加四。等于七。", "punctuation") == ["三加四。", "等于七。"]


def test_clauses_that_open_with_a_connective_are_steps() -> None:
    text = "Mia has 3 and buys 4, so 3 + 4 = 7. Then she eats 2; therefore 5, because 7 - 2 = 5\nFinally, 5 it is."
    assert pieces(text, "connectives") == [
        "Mia has 3 and buys 4,",
        " so 3 + 4 = 7.",
        " Then she eats 2;",
        " therefore 5,",
        " because 7 - 2 = 5\n",
        "Finally, 5 it is.",
    ]


def test_a_connective_within_a_clause_or_a_word_begins_nothing() -> None:
    text = "The so-called rest is so small that nothing, sooner or later, is left then."
    assert pieces(text, "connectives") == [text]


def test_paragraphs_are_steps_and_long_ones_are_cut_between_sentences() -> None:
    long = "This sentence goes on for a while and then ends. " * 30
    text = f"First.\nStill first.\n\nSecond.\n \n{long}\nAnswer: 7"
    found = pieces(text, "paragraph")
    assert found[:2] == ["First.\nStill first.\n\n", "Second.\n \n"]
    assert all(len(piece) <= MAX_PARAGRAPH + 1 for piece in found)
    assert all(piece.strip().endswith("ends.") for piece in found[2:-1])
    assert found[-1] == "Answer: 7"


def test_a_paragraph_without_a_stop_or_a_blank_is_cut_all_the_same() -> None:
    assert [len(piece) for piece in pieces("x" * 1500, "paragraph")] == [600, 600, 300]


@pytest.mark.parametrize("mode", ["punctuation", "connectives", "paragraph"])
def test_step_labels_begin_steps_in_every_mode_and_stay_with_them(mode: Segmentation) -> None:
    text = "Step 1: so a = 2\nStep 2. then b = 3\nAnswer: 3\n"
    assert pieces(text, mode) == ["Step 1: so a = 2\n", "Step 2. then b = 3\n", "Answer: 3\n"]
    assert parse_chain(text, mode).steps == ["so a = 2", "then b = 3"]


@pytest.mark.parametrize("mode", ["guided", "punctuation", "connectives", "paragraph"])
@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_step_of_a_rendered_chain_is_found_among_its_segments(mode: Segmentation, step: int) -> None:
    steps = ["Mia has 3. She buys 4.", "So 3 + 4 = 7, because she keeps all.", "Then 7."]
    found = pieces(render_chain(steps, "7"), mode)
    segment = step_segment(steps, step, mode)
    assert segment is not None and found[segment].startswith(f"Step {step + 1}: {steps[step][:3]}")
    assert step_segment(steps, None, mode) is None


@pytest.mark.parametrize("mode", ["guided", "punctuation", "connectives", "paragraph"])
def test_prose_before_an_answer_line_keeps_its_answer(mode: Segmentation) -> None:
    parsed = parse_chain("I think it is seven.\nAnswer: 7\n", mode)
    assert parsed.steps == ["I think it is seven."] and parsed.final_answer == "7"


@pytest.mark.parametrize("mode", ["guided", "punctuation", "connectives", "paragraph"])
@pytest.mark.parametrize(("text", "answer"), [("Answer: 7", "7"), ("\n\n", None), ("", None)])
def test_an_answer_alone_and_nothing_at_all_have_no_steps(mode: Segmentation, text: str, answer: str | None) -> None:
    parsed = parse_chain(text, mode)
    assert parsed.steps == [] and parsed.final_answer == answer


def test_blanks_before_a_long_paragraph_do_not_move_its_cuts() -> None:
    text = "word " * 200
    assert [start + 1 for start in paragraph_starts(text)][1:] == paragraph_starts(" " + text)[1:]


@pytest.mark.parametrize("piece", ["\n", "E. ", "e.g. ", " \n", "A word. ", "x"])
def test_a_text_of_one_piece_over_and_over_is_cut_at_once(piece: str) -> None:
    start = time.process_time()
    modes: tuple[Segmentation, ...] = ("punctuation", "connectives", "paragraph")
    for mode in modes:
        parse_chain(piece * (40_000 // len(piece)), mode)
    assert time.process_time() - start < 4
