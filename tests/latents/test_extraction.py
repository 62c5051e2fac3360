"""Text to latents: truncated, batched, equal to the obvious way."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rjepa.home import Home
from rjepa.students.extraction import extract_latents
from rjepa.students.generation import sample_chains
from rjepa.students.loading import Student
from rjepa.students.pooling import pool_segments
from rjepa.students.segmentation import segment_tokens, sentence_ids
from tests.students.tiny import open_tiny, taught_pairs, write_student

STATEMENTS = [statement for statement, _, _ in taught_pairs()[:12]] + ["Où ?"]
CHAINS = [f"Step 1: {step}\n" * (1 + index % 3) + f"Answer: {a}\n" for index, (_, step, a) in enumerate(taught_pairs())]


@pytest.mark.parametrize("kind", ["qwen3", "llama", "gpt2"])
def test_batched_extraction_equals_one_chain_at_a_time_through_the_whole_model(kind: str, tmp_path: Path) -> None:
    student = open_tiny(Home(tmp_path / "home"), write_student(tmp_path / "model", kind))
    texts = CHAINS[: len(STATEMENTS)]
    for budget in (1, 200, 100_000):
        found = extract_latents(student, STATEMENTS, texts, tokens_a_batch=budget)
        for statement, chain, latents in zip(STATEMENTS, texts, found, strict=True):
            prompt = student.tokenizer(f"{statement}\n")["input_ids"]
            ids, boundaries = segment_tokens(student.tokenizer, prompt, chain)
            with torch.inference_mode():
                states = student.model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-2][0]
            expected = pool_segments(states, boundaries, student.pieces.marks[ids], student.record.poolings)
            assert latents.boundaries.tolist() == boundaries.tolist()
            np.testing.assert_allclose(latents.latents, expected.numpy(), atol=1e-2, rtol=2e-3)


def many_chains(a_problem: int = 5) -> tuple[list[str], list[str]]:
    """Several chains of each problem: some with the same first steps, two alike, one that is another's beginning."""
    statements = [statement for statement in STATEMENTS for _ in range(a_problem)]
    chains = [
        chain
        for right, wrong in zip(CHAINS, CHAINS[40:], strict=False)
        for chain in (right, right, right[: right.index("Answer")], right + wrong, wrong)[:a_problem]
    ]
    return statements, chains[: len(statements)]


def same(one: object, other: object) -> None:
    np.testing.assert_allclose(one.latents, other.latents, atol=2e-3, rtol=2e-3)
    np.testing.assert_allclose(one.sentences, other.sentences, atol=2e-3, rtol=2e-3)
    assert one.boundaries.tolist() == other.boundaries.tolist()


@pytest.mark.parametrize("kind", ["qwen3", "llama"])
def test_chains_that_share_their_beginning_have_the_latents_they_have_when_read_whole(
    kind: str, tmp_path: Path
) -> None:
    student = open_tiny(Home(tmp_path / "home"), write_student(tmp_path / "model", kind))
    assert student.shares_prefix
    statements, chains = many_chains()
    shared = extract_latents(student, statements, chains)
    whole = extract_latents(replace(student, shares_prefix=False), statements, chains)
    for one, other in zip(shared, whole, strict=True):
        same(one, other)


def test_latents_of_a_chain_do_not_depend_on_what_is_read_with_it(taught: Student) -> None:
    statements, chains = many_chains()
    pairs = list(zip(statements, chains, strict=True))
    expected = extract_latents(taught, statements, chains)
    random.Random(0).shuffle(pairs)
    by_pair = dict(zip(zip(statements, chains, strict=True), expected, strict=True))
    for budget in (1, 150, 100_000):
        found = extract_latents(taught, [s for s, _ in pairs], [c for _, c in pairs], tokens_a_batch=budget)
        for pair, latents in zip(pairs, found, strict=True):
            same(latents, by_pair[pair])
    (alone,) = extract_latents(taught, statements[3:4], chains[3:4])
    same(alone, expected[3])


def test_extraction_of_sampled_text_equals_what_was_captured(taught: Student) -> None:
    chains = [row[0] for row in sample_chains(taught, STATEMENTS[:12], num_candidates=1, seed=4)]
    alike = [
        (found.latents, chain.latents)
        for found, chain in zip(
            extract_latents(taught, STATEMENTS[:12], [chain.text for chain in chains]), chains, strict=True
        )
        if found.latents.shape == chain.latents.shape
    ]
    assert len(alike) >= 6
    closest = sorted(float(np.abs(one.astype(float) - other.astype(float)).max()) for one, other in alike)
    assert closest[len(closest) // 2] < 2e-2  # sampled ids may be another spelling of the same text in some chains


def test_sentences_of_a_prompt_are_the_same_read_alone_with_a_chain_or_while_sampling(taught: Student) -> None:
    statements = ["Tom has 3 pens. Mia has 5 more than Tom.\nHow many pens does Mia have?", "a = 1\nb = a + 2"]
    found = extract_latents(taught, statements, CHAINS[:2])
    sampled = sample_chains(taught, statements, num_candidates=2, seed=1)
    for statement, one, candidates in zip(statements, found, sampled, strict=True):
        ids = taught.tokenizer(f"{statement}\n")["input_ids"]
        bounds = sentence_ids(taught.pieces, ids)
        with torch.inference_mode():
            states = taught.encoder(input_ids=torch.tensor([ids])).last_hidden_state[0]
        expected = pool_segments(states, bounds, taught.pieces.marks[ids], taught.record.poolings).numpy()
        np.testing.assert_allclose(one.sentences, expected, atol=1e-2, rtol=2e-3)
        for candidate in candidates:
            np.testing.assert_allclose(candidate.sentences, expected, atol=1e-2, rtol=2e-3)


def test_a_chain_beyond_the_context_has_no_latents_and_the_others_do(taught: Student) -> None:
    found = extract_latents(taught, STATEMENTS[:3], [CHAINS[0], "Step 1: " + "a1 " * 300, CHAINS[2]])
    assert [latents is None for latents in found] == [False, True, False]


def test_progress_counts_every_chain_and_gives_a_rate(taught: Student) -> None:
    seen: list[tuple[int, int, str]] = []
    extract_latents(
        taught, STATEMENTS[:5], CHAINS[:5], tokens_a_batch=64, progress=lambda d, t, note="": seen.append((d, t, note))
    )
    assert seen[-1][:2] == (5, 5) and "tokens/s" in seen[-1][2]
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)


def test_nothing_in_gives_nothing_out(taught: Student) -> None:
    assert extract_latents(taught, [], []) == []
    with pytest.raises(ValueError, match="chain for each statement"):
        extract_latents(taught, ["a"], [])
