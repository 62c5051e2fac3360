"""Edits of a row's states and biases of its tokens, beside rows that do not notice."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rjepa.students.loading import Student
from rjepa.students.sampled import GREEDY, RowRequest, SampledChain
from rjepa.students.session import Session

from .rows import STATEMENTS, alike, finish, identical, requests, written


def test_an_edit_that_changes_nothing_changes_no_bit(student: Student) -> None:
    def sampled(edit: bool, fuses: bool) -> list[SampledChain]:
        with Session(replace(student, fuses=fuses)) as session:
            rows = session.add(requests(2, STATEMENTS[:2]))
            if edit:
                session.set_edit(rows[0], lambda state: state)
                session.set_edit(rows[1], torch.zeros(student.hidden_size))
            finish(session)
            return session.chains(rows)

    for one, other in zip(sampled(False, fuses=False), sampled(True, fuses=False), strict=True):
        assert identical(one, other)
    # Compiled passes draw for rows that nothing bends: the same tokens, the last bits of their figures are others.
    for one, other in zip(sampled(False, fuses=True), sampled(True, fuses=True), strict=True):
        alike(one, other)


def test_an_edit_moves_the_states_of_its_row_from_then_on_and_no_others(student: Student) -> None:
    plain = written(student, requests(2, STATEMENTS[:2]))
    shift = torch.full((student.hidden_size,), 3.0)
    with Session(student) as session:
        rows = session.add(requests(2, STATEMENTS[:2]))
        session.set_edit(rows[0], shift)
        finish(session)
        edited = session.chains(rows)
    assert edited[0].latents is not None and plain[0].latents is not None
    np.testing.assert_array_equal(edited[0].latents[0], plain[0].latents[0])  # the prompt was read before
    width = student.hidden_size
    assert np.abs(edited[0].latents[1, :width].astype(float) - plain[0].latents[1, :width].astype(float)).mean() > 1
    assert edited[0].token_ids[0] == plain[0].token_ids[0] and edited[0].token_logprobs != plain[0].token_logprobs
    for one, other in zip(plain[1:], edited[1:], strict=True):
        alike(one, other)


def test_a_bias_of_minus_infinity_forbids_a_token_and_leaves_log_probabilities_alone(student: Student) -> None:
    (plain,) = written(student, [RowRequest(STATEMENTS[0], 1, GREEDY, None, 10)])
    size = student.model.get_output_embeddings().weight.shape[0]
    forbidden = torch.zeros(size)
    forbidden[plain.token_ids[0]] = -torch.inf
    with Session(student) as session:
        biased, callable_, free = session.add([RowRequest(STATEMENTS[0], 1, GREEDY, None, 10)] * 3)
        session.set_bias(biased, forbidden)
        session.set_bias(callable_, lambda tokens: forbidden if not tokens else None)
        finish(session)
        assert plain.token_ids[0] not in session.tokens(biased)
        assert session.tokens(callable_)[0] != plain.token_ids[0]
        assert session.chain(biased).token_logprobs[0] < plain.token_logprobs[0]
        assert np.isfinite(session.chain(biased).token_logprobs).all()
        alike(session.chain(free), plain)
        with pytest.raises(ValueError, match="expected a bias"):
            session.set_bias(free, torch.zeros(3))
