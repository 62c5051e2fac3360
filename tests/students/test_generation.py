"""Sampling: seeded, independent of company, scored and captured on the way."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from rjepa.errors import InvalidInputError
from rjepa.students.generation import sample_chains, sample_indices, stream_chain
from rjepa.students.loading import Student
from rjepa.students.noise import uniform_noise
from rjepa.students.sampled import GREEDY, SampledChain
from tests.students.encoding import assert_encoded_alike, prompt_ids
from tests.students.tiny import STATEMENTS, taught_pairs


def ids(chains: list[list[SampledChain]]) -> list[list[list[int]]]:
    return [[chain.token_ids for chain in row] for row in chains]


def with_batches_of(student: Student, rows: int) -> Student:
    sampling = student.record.sampling.model_copy(update={"batch_size": rows})
    return replace(student, record=student.record.model_copy(update={"sampling": sampling}))


def test_the_same_seed_gives_the_same_chains_and_another_seed_others(student: Student) -> None:
    first = ids(sample_chains(student, STATEMENTS, num_candidates=3, seed=5))
    assert ids(sample_chains(student, STATEMENTS, num_candidates=3, seed=5)) == first
    assert ids(sample_chains(student, STATEMENTS, num_candidates=3, seed=6)) != first
    assert all(row[0] != row[1] for row in first)


def test_a_chain_does_not_depend_on_the_problems_sampled_beside_it(student: Student) -> None:
    together = sample_chains(student, STATEMENTS, num_candidates=3, seed=5)
    backwards = sample_chains(student, STATEMENTS[::-1], num_candidates=3, seed=5)[::-1]
    small = sample_chains(with_batches_of(student, 3), STATEMENTS, num_candidates=3, seed=5)
    fewer = sample_chains(student, STATEMENTS, num_candidates=2, seed=5)
    assert ids(backwards) == ids(together) == ids(small)
    assert ids(fewer) == [row[:2] for row in ids(together)]
    for row, other in zip(together, small, strict=True):
        for chain, same in zip(row, other, strict=True):
            np.testing.assert_allclose(chain.token_logprobs, same.token_logprobs, atol=1e-4)
            np.testing.assert_allclose(chain.latents, same.latents, atol=4e-3)


def test_the_greedy_chain_is_what_generate_gives(student: Student) -> None:
    for statement in STATEMENTS[:3]:
        ((chain,),) = sample_chains(student, [statement], num_candidates=1, seed=0, greedy=True, max_new_tokens=12)
        prompt = torch.tensor([prompt_ids(student, statement)])
        expected = student.model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=12, do_sample=False, pad_token_id=0
        )[0, prompt.shape[1] :].tolist()
        assert chain.token_ids == expected[: len(chain.token_ids)]
        assert len(chain.token_ids) == 12 or chain.finished


def test_greedy_and_samples_can_share_one_reading_of_the_prompt(student: Student) -> None:
    mixed = ids(sample_indices(student, STATEMENTS, [GREEDY, 0, 1], seed=5))
    samples = ids(sample_chains(student, STATEMENTS, num_candidates=2, seed=5))
    greedy = ids(sample_chains(student, STATEMENTS, num_candidates=1, seed=5, greedy=True))
    assert mixed == [one + two for one, two in zip(greedy, samples, strict=True)]


def test_log_probabilities_and_certainty_are_the_models_own_at_temperature_one(student: Student) -> None:
    for row, statement in zip(
        sample_chains(student, STATEMENTS[:2], num_candidates=2, seed=1, temperature=0.7), STATEMENTS, strict=False
    ):
        for chain in row:
            prompt = prompt_ids(student, statement)
            with torch.inference_mode():
                logits = student.model(input_ids=torch.tensor([prompt + chain.token_ids])).logits[0, len(prompt) - 1 :]
            log_p = logits[: len(chain.token_ids)].log_softmax(-1)
            expected = log_p.gather(1, torch.tensor(chain.token_ids)[:, None]).squeeze(1)
            np.testing.assert_allclose(chain.token_logprobs, expected, atol=1e-4)
            certainty = (-log_p.mean(-1) - math.log(log_p.shape[-1])).mean()
            assert chain.self_certainty == pytest.approx(float(certainty), abs=1e-4)


def test_captured_latents_equal_encoding_the_same_tokens_again(student: Student) -> None:
    statements = STATEMENTS[:3]
    for row, statement in zip(sample_chains(student, statements, num_candidates=3, seed=2), statements, strict=True):
        for chain in row:
            assert_encoded_alike(student, statement, chain)


def test_captured_numbers_equal_encoding_the_same_tokens_again(student: Student) -> None:
    reader = replace(student, record=student.record.model_copy(update={"poolings": ("number", "mean")}))
    statements = STATEMENTS[:3]
    for row, statement in zip(sample_chains(reader, statements, num_candidates=3, seed=2), statements, strict=True):
        for chain in row:
            assert chain.latents is not None and chain.latents.shape[1] == 2 * student.hidden_size
            assert_encoded_alike(reader, statement, chain)


def test_captured_latents_of_real_steps_equal_encoding_again(taught: Student) -> None:
    statements = [statement for statement, _, _ in taught_pairs()[:20]]
    segments = set()
    for row, statement in zip(sample_chains(taught, statements, num_candidates=3, seed=2), statements, strict=True):
        for chain in row:
            assert_encoded_alike(taught, statement, chain)
            segments.add(len(chain.latents))
    assert 4 in segments  # prompt, two steps, answer line


def test_a_chain_stops_after_its_answer_line(taught: Student) -> None:
    statements = [statement for statement, _, _ in taught_pairs()]
    chains = [row[0] for row in sample_chains(taught, statements, num_candidates=1, seed=0)]
    answered = [chain for chain in chains if "\nAnswer: " in chain.text]
    assert len(answered) > 50
    for chain in answered:
        assert chain.finished or chain.text.count("\n") < 3
        assert "\n" not in chain.text.split("\nAnswer: ", 1)[1].rstrip("\n")
        assert taught.tokenizer.eos_token_id not in chain.token_ids


def test_a_chain_cut_at_the_limit_is_marked_unfinished(student: Student) -> None:
    rows = sample_chains(student, STATEMENTS, num_candidates=2, seed=3, max_new_tokens=4)
    for chain in (chain for row in rows for chain in row):
        assert len(chain.token_ids) <= 4
        assert chain.finished == (len(chain.token_ids) < 4)


def test_without_capture_there_are_no_latents_and_the_same_tokens(student: Student) -> None:
    plain = sample_chains(student, STATEMENTS, num_candidates=2, seed=5, capture=False)
    assert ids(plain) == ids(sample_chains(student, STATEMENTS, num_candidates=2, seed=5))
    assert all(chain.latents is None for row in plain for chain in row)


def test_a_streamed_chain_is_the_sampled_one(student: Student) -> None:
    ((_, chain),) = sample_chains(student, STATEMENTS[:1], num_candidates=2, seed=9)
    pieces = list(stream_chain(student, STATEMENTS[0], seed=9, sample_index=1))
    assert "".join(pieces) == chain.text
    assert len(pieces) > 1


def test_new_tokens_are_clipped_to_the_context(qwen: Student) -> None:
    statement = "a " * 100
    ((chain,),) = sample_chains(qwen, [statement], num_candidates=1, seed=0, max_new_tokens=10_000)
    assert len(prompt_ids(qwen, statement)) + len(chain.token_ids) <= qwen.context_length


def test_a_prompt_beyond_the_context_is_refused_with_the_cure(qwen: Student) -> None:
    with pytest.raises(InvalidInputError, match="takes 1 to 255\n.*shorten"):
        sample_chains(qwen, ["fine", "a1" * 200], num_candidates=1, seed=0)


def test_no_statements_give_no_chains(qwen: Student) -> None:
    assert sample_chains(qwen, [], num_candidates=2, seed=0) == []


@pytest.mark.parametrize("wrong", [{"num_candidates": 0}, {"temperature": 0.0}, {"max_new_tokens": 0}])
def test_arguments_that_make_no_sense_are_refused(qwen: Student, wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        sample_chains(qwen, ["x"], **{"num_candidates": 1, "seed": 0, **wrong})


def test_sampled_tokens_follow_the_models_distribution(qwen: Student) -> None:
    rows = sample_chains(with_batches_of(qwen, 4096), ["x = 2"], num_candidates=4000, seed=0, max_new_tokens=1)
    with torch.inference_mode():
        p = qwen.model(input_ids=torch.tensor([prompt_ids(qwen, "x = 2")])).logits[0, -1].softmax(-1).numpy()
    drawn = [chain.token_ids[0] if chain.token_ids else 0 for chain in rows[0]]
    counts = np.bincount(drawn, minlength=len(p))
    assert np.abs(counts / 4000 - p).max() < 5 * math.sqrt(p.max() / 4000)


def test_noise_of_a_row_is_its_own_and_stays_below_one() -> None:
    alone = uniform_noise(3, ["b"], [1], 8)
    among = uniform_noise(3, ["a", "b"], [0, 1], 8)
    assert (among[3] == alone[0]).all()
    assert (uniform_noise(0, ["a"], [0], 100_000) < 1).all()
