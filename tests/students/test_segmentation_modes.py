"""Steps of free text: whatever the text, the mode and the kind of tokenizer, every token belongs to one of them."""

import functools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from rjepa.chains import Segmentation, segment_spans
from rjepa.students.segmentation import TokenPieces, segment_ids, segment_tokens, token_pieces
from tests.students.tokenizers_of_kinds import KINDS, of_kind

MODES: tuple[Segmentation, ...] = ("guided", "punctuation", "connectives", "paragraph")
FRAGMENTS = (
    ". ",
    "? Then ",
    ", so ",
    "; because of ",
    "\n\n",
    "\n",
    "Step 1: ",
    "\nStep 2: a",
    "\nAnswer: 7",
    "e.g. 3.5",
    "1. ",
    "。",
    "é漢🙂",
    "word " * 150,
)
words = st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=12)
texts = st.lists(st.one_of(words, st.sampled_from(FRAGMENTS)), max_size=12).map("".join)
relaxed = settings(max_examples=50, deadline=None)


@functools.cache
def tokenizer_and_pieces(kind: str) -> tuple[PreTrainedTokenizerFast, TokenPieces]:
    made = of_kind(kind)
    return made, token_pieces(made)


@relaxed
@given(texts)
def test_steps_join_back_to_the_text_up_to_its_answer(text: str) -> None:
    end = sum(b - a for a, b in segment_spans(text, "guided"))
    for mode in MODES:
        spans = segment_spans(text, mode)
        assert "".join(text[start:stop] for start, stop in spans) == text[:end]
        assert all(text[start:stop].strip() for start, stop in spans) or not text.strip() or mode == "guided"


@pytest.mark.parametrize("kind", KINDS)
@relaxed
@given(text=texts)
def test_every_token_belongs_to_the_prompt_or_to_the_step_it_starts_in(kind: str, text: str) -> None:
    made, _ = tokenizer_and_pieces(kind)
    prompt = made("Mia has 3 apples.\n")["input_ids"]
    for mode in MODES:
        ids, bounds = segment_tokens(made, prompt, text, mode)
        spans = segment_spans(text, mode)
        assert bounds[0] == 0 and bounds[-1] == len(ids) and (np.diff(bounds) >= 0).all()
        assert len(bounds) == len(spans) + 2 and ids[: len(prompt)] == prompt
        encoded = made(text[: spans[-1][1]] if spans else "", add_special_tokens=False, return_offsets_mapping=True)
        segment_of = np.repeat(np.arange(len(spans) + 1), np.diff(bounds))[len(prompt) :] - 1
        shared = Counter(encoded["offset_mapping"])  # by the bytes of characters that a tokenizer does not know
        latest = 0
        for (start, end), segment in zip(encoded["offset_mapping"], segment_of, strict=True):
            latest = max(latest, start)
            first, stop = spans[segment]
            assert (first < end if shared[start, end] > 1 else first <= latest) and latest < stop


@pytest.mark.parametrize("kind", KINDS)
@relaxed
@given(text=texts)
def test_boundaries_of_ids_are_those_of_offsets_where_ids_spell_the_text(kind: str, text: str) -> None:
    made, pieces = tokenizer_and_pieces(kind)
    for mode in MODES:
        ids, bounds = segment_tokens(made, [], text, mode)
        spelt = pieces.text(ids)
        spans = segment_spans(text, mode)
        if spans and spelt.removeprefix(" ") == text[: spans[-1][1]].removeprefix(" "):
            assert segment_ids(pieces, ids, mode).tolist() == bounds[1:].tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_ordinary_text_is_spelt_by_its_ids(kind: str) -> None:
    made, pieces = tokenizer_and_pieces(kind)
    text = "Mia has 3 + 4 = 7 apples, so 7é漢🙂.\nStep 2: then\n\nAnswer: 7\n"
    spelt = pieces.text(made(text, add_special_tokens=False)["input_ids"])
    assert spelt.removeprefix(" ") == text


@pytest.mark.parametrize("kind", KINDS)
def test_a_sentence_begins_with_its_own_first_word(kind: str) -> None:
    made, pieces = tokenizer_and_pieces(kind)
    ids, bounds = segment_tokens(made, [], "Mia buys 4 more. So 7.", "punctuation")
    assert pieces.text(ids[bounds[1] : bounds[2]]).strip() == "Mia buys 4 more."
    assert pieces.text(ids[bounds[2] : bounds[3]]).strip() == "So 7."
