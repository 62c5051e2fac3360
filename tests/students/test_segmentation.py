"""Every token belongs to exactly one segment, whatever the text."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from rjepa.chains import MAX_SENTENCES, segment_spans, sentence_spans
from rjepa.students.loading import Student
from rjepa.students.segmentation import segment_ids, segment_tokens, sentence_ids, token_pieces

PROMPT = "Mia has 3 apples.\n"
CHAIN = "Step 1: Mia has 3 + 4 = 7\nStep 2: so 7\nAnswer: 7\n"

words = st.text(
    alphabet=st.characters(exclude_categories=("Cs",)) | st.sampled_from("Step 1:2\nAnswer é漢🙂"), max_size=20
)
chains = st.lists(st.one_of(words, st.just("\nStep 1: "), st.just("\nStep 2: a"), st.just("\nAnswer: 7")), max_size=8)
relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def pieces_of(student: Student, ids: list[int], boundaries: np.ndarray) -> list[bytes]:
    return [student.pieces.join(ids[a:b]) for a, b in zip(boundaries[:-1], boundaries[1:], strict=True)]


def test_each_line_of_a_chain_is_a_segment_with_its_newline(qwen: Student) -> None:
    prompt = qwen.tokenizer(PROMPT)["input_ids"]
    ids, boundaries = segment_tokens(qwen.tokenizer, prompt, CHAIN)
    assert pieces_of(qwen, ids, boundaries) == [line.encode() for line in (PROMPT + CHAIN).splitlines(keepends=True)]


def test_a_chain_whose_steps_never_come_is_one_segment(qwen: Student) -> None:
    prompt = qwen.tokenizer(PROMPT)["input_ids"]
    ids, boundaries = segment_tokens(qwen.tokenizer, prompt, "I do not know.")
    assert pieces_of(qwen, ids, boundaries) == [PROMPT.encode(), b"I do not know."]


def test_an_empty_chain_leaves_the_prompt_alone(qwen: Student) -> None:
    prompt = qwen.tokenizer(PROMPT)["input_ids"]
    assert segment_tokens(qwen.tokenizer, prompt, "")[1].tolist() == [0, len(prompt)]
    assert segment_ids(qwen.pieces, []).tolist() == [0]


def test_text_after_the_answer_line_is_left_out(qwen: Student) -> None:
    assert segment_tokens(qwen.tokenizer, [1], CHAIN + "and more")[0] == segment_tokens(qwen.tokenizer, [1], CHAIN)[0]


@relaxed
@given(chains)
def test_segments_of_encoded_text_are_its_spans(qwen: Student, parts: list[str]) -> None:
    text = "".join(parts)
    prompt = qwen.tokenizer(PROMPT)["input_ids"]
    ids, boundaries = segment_tokens(qwen.tokenizer, prompt, text)
    expected = [PROMPT.encode(), *(text[start:end].encode() for start, end in segment_spans(text))]
    assert (np.diff(boundaries) >= 0).all() and boundaries[0] == 0 and boundaries[-1] == len(ids)
    assert pieces_of(qwen, ids, boundaries) == expected


@relaxed
@given(chains)
def test_segments_of_generated_ids_are_the_spans_of_their_text(qwen: Student, parts: list[str]) -> None:
    text = "".join(parts)
    ids = qwen.tokenizer(text)["input_ids"]
    boundaries = segment_ids(qwen.pieces, ids)
    spans = segment_spans(text)
    if spans:
        spans[-1] = (spans[-1][0], len(text))
    assert qwen.pieces.text(ids) == text
    assert pieces_of(qwen, ids, boundaries) == [text[start:end].encode() for start, end in spans]


@relaxed
@given(st.lists(st.integers(0, 399), max_size=40))
def test_any_sequence_of_ids_has_segments_that_join_back(qwen: Student, ids: list[int]) -> None:
    ids = [index for index in ids if index < len(qwen.tokenizer)]
    boundaries = segment_ids(qwen.pieces, ids)
    assert (np.diff(boundaries) >= 0).all() and boundaries[0] == 0
    assert b"".join(pieces_of(qwen, ids, boundaries)) == qwen.pieces.join(ids)


@relaxed
@given(parts=st.lists(st.sampled_from(["Tom has 3 pens.", "Why?", "a = b + 2", "f.x", "Où", "e.g. 3.5"]), max_size=9))
def test_sentences_of_a_prompt_cover_it_and_begin_where_sentences_do(qwen: Student, parts: list[str]) -> None:
    text = "\n".join(" ".join(parts[start : start + 3]) for start in range(0, len(parts), 3)) + "\n"
    spans = sentence_spans(text)
    assert "".join(text[start:end] for start, end in spans) == text
    assert all(text[start - 1].isspace() for start, _ in spans[1:])
    ids = qwen.tokenizer(text, add_special_tokens=False)["input_ids"]
    bounds = sentence_ids(qwen.pieces, ids)
    assert bounds[0] == 0 and bounds[-1] == len(ids) and (np.diff(bounds) > 0).all()
    assert 1 <= len(bounds) - 1 <= len(spans)


def test_the_first_sentences_of_a_very_long_prompt_count_as_one() -> None:
    spans = sentence_spans("One more. " * 200)
    assert len(spans) == MAX_SENTENCES and spans[0][1] > 100


def test_special_tokens_are_no_text(qwen: Student) -> None:
    ids = [*qwen.tokenizer("a1")["input_ids"], qwen.tokenizer.eos_token_id]
    assert qwen.pieces.text(ids) == "a1"
    expected = {"7": (True, True, False), "a": (True, False, False), ".": (False, False, True), "\n": (False,) * 3}
    for text, (content, digit, point) in expected.items():
        marks = qwen.pieces.marks[qwen.tokenizer(text)["input_ids"][:1]]
        assert (marks.content[0], marks.digit[0], marks.point[0]) == (content, digit, point)


def test_a_sentencepiece_like_tokenizer_is_read_through_its_bytes() -> None:
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    made.add_special_tokens(["<unk>"])
    made.train_from_iterator([CHAIN] * 3, trainers.BpeTrainer(special_tokens=["<unk>", "<0xC3>", "<0xA9>"]))
    words = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")
    assert token_pieces(words).text(words("Mia has 3")["input_ids"]) == " Mia has 3"
