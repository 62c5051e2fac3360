"""Chains written by llama.cpp's own server, over the same weights: no stand-in of ours has a say in what it answers."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from rjepa.home import Home
from rjepa.latents.freezing import build_rollouts
from rjepa.latents.rollouts import open_rollouts
from rjepa.sampling.endpoint import EndpointSource
from rjepa.students.extraction import extract_latents
from rjepa.students.generation import sample_indices
from rjepa.students.loading import Student
from rjepa.students.rescoring import score_chains
from rjepa.students.rules import TokenRules
from rjepa.students.sampled import GREEDY, ChainEnd, RowRequest, Token
from tests.latents.conftest import DATASET
from tests.students.tiny import taught_pairs

pytest.importorskip("xllamacpp")
pytest.importorskip("gguf")

STATEMENTS = [pair[0] for pair in taught_pairs()[:3]]


@pytest.fixture(scope="module")
def served(taught: Student, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Student]:
    """The taught student, whose chains llama.cpp writes."""
    from tests.sampling.llama_cpp import llama_cpp
    from tests.students.gguf_files import write_gguf

    file = write_gguf(tmp_path_factory.mktemp("llama") / "taught.gguf", taught.model, taught.tokenizer)
    with llama_cpp(file) as url:
        yield replace(taught, record=taught.record.model_copy(update={"endpoint": url}))


def test_its_chains_are_the_students_with_the_students_log_probabilities(taught: Student, served: Student) -> None:
    samples = [GREEDY, 0, 1, 2, 3, 4, 5]
    rows = EndpointSource(served).sample(STATEMENTS, samples, seed=1, temperature=0.9)
    own = sample_indices(taught, STATEMENTS, [GREEDY], seed=1)
    for statement, row, (greedy,) in zip(STATEMENTS, rows, own, strict=True):
        assert len(row) == len(samples) and row[0].text == greedy.text
        prompt = taught.tokenizer(f"{statement}\n")["input_ids"]
        scores = score_chains(taught, [prompt] * len(row), [chain.token_ids for chain in row])
        encoded = extract_latents(taught, [statement] * len(row), [chain.text for chain in row])
        for chain, score, latents in zip(row, scores, encoded, strict=True):
            assert chain.finished and latents is not None and chain.latents is not None
            assert sum(chain.token_logprobs) == pytest.approx(sum(score.logprobs), abs=0.05)
            np.testing.assert_allclose(chain.latents, latents.latents, atol=4e-3)
        assert len({chain.text for chain in row[1:]}) > 1


def test_a_limit_cuts_its_chains_as_it_would_the_students(served: Student) -> None:
    for chain in EndpointSource(served).sample(STATEMENTS[:1], [GREEDY, 0], seed=1, max_new_tokens=6)[0]:
        assert not chain.finished and 0 < len(chain.token_ids) <= 6


def test_rollouts_are_made_from_its_chains(home: Home, served: Student) -> None:
    build_rollouts(home, served, DATASET, num_candidates=3, seed=1, splits=("test",))
    found = open_rollouts(home, served.record.llm_tag, DATASET, fingerprint=served.fingerprint)
    assert found.problems and len(found.latents) == 3 * len(found.problems)
    assert all(candidate.steps for row in found.candidates for candidate in row)


def test_an_answer_is_streamed_from_it(taught: Student, served: Student) -> None:
    *pieces, chain = EndpointSource(served).stream(STATEMENTS[0], seed=1, sample_index=GREEDY)
    own = sample_indices(taught, STATEMENTS[:1], [GREEDY], seed=1, capture=False)[0][0]
    assert "".join(map(str, pieces)) == chain.text == own.text and chain.finished
    assert len(pieces) > 5  # as it was written


def test_it_draws_by_the_rules_of_a_row_and_stops_at_its_strings(taught: Student, served: Student) -> None:
    own = sample_indices(taught, STATEMENTS[:1], [GREEDY], seed=1, capture=False)[0][0]
    stop = own.text[8:11]
    rules = TokenRules(top_p=0.9, top_k=1, min_p=0.01, presence_penalty=0.1, stop=(stop,), top_logprobs=2)
    with EndpointSource(served).session(capture=False) as session:
        requests = [
            RowRequest(STATEMENTS[0], 1, 0, 0.8, 40, rules=replace(rules, top_logprobs=top)) for top in (None, 2)
        ]
        rows = session.add(requests)
        streamed = {row: "" for row in rows}
        for event in session.run():
            if isinstance(event, Token | ChainEnd):
                streamed[event.row] += event.text
        chains = session.chains(rows)
    for row, chain in zip(rows, chains, strict=True):
        assert chain.text == streamed[row] == own.text[: own.text.index(stop)] and chain.finished
    assert chains[1].scores is not None and [score.token for score in chains[1].scores] == chains[1].token_ids
