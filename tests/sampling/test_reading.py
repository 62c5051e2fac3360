"""What a source reads of texts that somebody else wrote: the same here and in the student's process."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from rjepa.errors import InvalidInputError
from rjepa.home import Home
from rjepa.sampling.local import LocalSource
from rjepa.sampling.process import ProcessSource
from rjepa.sampling.reading import StudentReader, TextReader
from rjepa.sampling.server import make_server
from rjepa.students.extraction import extract_latents
from rjepa.students.generation import sample_indices
from rjepa.students.loading import Student
from rjepa.students.prompting import encode_statements
from rjepa.students.rescoring import score_chains
from tests.students.tiny import taught_pairs

STATEMENTS = [pair[0] for pair in taught_pairs()[:3]]


@pytest.fixture(scope="module")
def readers(taught: Student) -> Iterator[tuple[TextReader, TextReader]]:
    local = LocalSource(taught)
    with make_server(local) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        yield local.reader, ProcessSource(Home(taught.path), taught.record, address).reader
        server.shutdown()
        thread.join()


def test_a_chain_that_is_read_is_the_chain_that_was_sampled(
    taught: Student, readers: tuple[TextReader, TextReader]
) -> None:
    sampled = [row[0] for row in sample_indices(taught, STATEMENTS, [0], seed=2, temperature=0.6)]
    whole = [(statement, chain) for statement, chain in zip(STATEMENTS, sampled, strict=True) if chain.finished]
    assert whole
    statements, texts = [statement for statement, _ in whole], [chain.text for _, chain in whole]
    for reader in readers:
        encoded = reader.encode(statements, texts)
        for (_, chain), read, latents in zip(whole, reader.chains(statements, texts), encoded, strict=True):
            assert (read.text, read.token_ids, read.finished) == (chain.text, chain.token_ids, True)
            np.testing.assert_allclose(read.token_logprobs, chain.token_logprobs, atol=1e-3)
            assert read.latents is not None and chain.latents is not None
            np.testing.assert_allclose(read.latents.astype(float), chain.latents.astype(float), atol=8e-3)
            np.testing.assert_array_equal(latents.latents, read.latents)


def test_both_read_texts_alike(readers: tuple[TextReader, TextReader]) -> None:
    here, there = readers
    texts = here.tokenize([*STATEMENTS, "\u00e9t\u00e9 7"])
    assert there.tokenize([*STATEMENTS, "\u00e9t\u00e9 7"]) == texts and there.vocabulary == here.vocabulary
    assert here.text(texts[3]) == there.text(texts[3]) == "\u00e9t\u00e9 7"
    assert (
        here.names(texts[3]) == there.names(texts[3]) and b"".join(here.names(texts[3])).decode() == "\u00e9t\u00e9 7"
    )
    assert here.score(texts, 2) == there.score(texts, 2)
    np.testing.assert_array_equal(here.embed(texts), there.embed(texts))


def test_what_it_cannot_read_is_refused(readers: tuple[TextReader, TextReader]) -> None:
    for reader in readers:
        with pytest.raises(InvalidInputError, match="has no token"):
            reader.score([(1, 10_000_000)], 0)
        with pytest.raises(InvalidInputError, match="empty"):
            reader.chains(STATEMENTS[:1], ["  "])
        with pytest.raises(InvalidInputError, match="tokens"):
            reader.chains(STATEMENTS[:1], ["word " * 500])


def test_chains_are_read_in_one_forward_as_they_would_be_in_two(taught: Student) -> None:
    statements = [pair[0] for pair in taught_pairs()[:3]]
    texts = [pair[1] for pair in taught_pairs()[:3]] + ["Step 1: 2 + 2", "x"]
    pairs = [(statement, text) for statement in statements for text in texts]
    every, chains = zip(*pairs, strict=True)
    passes = []
    with taught.model.register_forward_hook(lambda *_: passes.append(1)):
        read = StudentReader(taught).chains(every, chains)
    assert len(passes) == 1
    ids = [list(row) for row in taught.tokenizer(list(chains), add_special_tokens=False)["input_ids"]]
    scores = score_chains(taught, encode_statements(taught, every), ids)
    for chain, row, score, latents in zip(read, ids, scores, extract_latents(taught, every, chains), strict=True):
        assert chain.token_ids == row and chain.latents is not None and latents is not None
        np.testing.assert_allclose(chain.token_logprobs, score.logprobs, atol=1e-4)
        assert chain.self_certainty == pytest.approx(score.self_certainty, abs=1e-4)
        np.testing.assert_allclose(chain.latents.astype(float), latents.latents.astype(float), atol=8e-3)
