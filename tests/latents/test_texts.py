"""A column of texts: as a list to look at, a few bytes a row to hold."""

import numpy as np
import pyarrow as pa

from rjepa.latents.texts import Texts

WORDS = ["b", "a", "b", "c", "a"]


def test_texts_are_read_like_a_list_of_strings() -> None:
    for texts in (Texts.of(WORDS), Texts(pa.array(WORDS))):
        assert texts == WORDS and list(texts) == WORDS and len(texts) == 5 and texts != WORDS[:4]
        assert texts[1] == "a" and texts[-1] == "a" and texts[1::2] == ["a", "c"]
        assert texts.take(np.array([3, 0])) == ["c", "b"] and texts.run(1, 3) == ["a", "b"]
    assert Texts.of([]) == [] and list(Texts.of(pa.chunked_array([], pa.string()))) == []


def test_equal_texts_have_equal_numbers_however_they_were_chosen() -> None:
    for texts in (Texts.of(WORDS), Texts(pa.array(WORDS)), Texts(pa.array(WORDS)).take(np.arange(5))):
        numbers = texts.numbers()
        assert numbers[0] == numbers[2] and numbers[1] == numbers[4] and len(set(numbers.tolist())) == 3
        assert texts.equal("b").tolist() == [True, False, True, False, False]
        assert not texts.equal("nowhere").any()


def test_texts_of_many_pieces_share_one_dictionary() -> None:
    texts = Texts.of(pa.chunked_array([["a", "b"], ["c", "a"], ["b"]]))
    assert texts == ["a", "b", "c", "a", "b"] and texts.numbers().tolist() == [0, 1, 2, 0, 1]
