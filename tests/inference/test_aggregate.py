import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rjepa.inference.aggregate import FEATURES, chain_features
from rjepa.schemas import Candidate

LOGPROBS = st.lists(st.floats(-20, 0), max_size=12)
ENERGIES = st.lists(st.floats(0, 50), max_size=8)


def _candidate(logprobs: list[float], steps: int = 1, certainty: float = 0.0) -> Candidate:
    return Candidate(
        problem_id="p",
        sample_index=0,
        text="",
        steps=["s"] * steps,
        final_answer=None,
        finished=True,
        token_logprobs=logprobs,
        self_certainty=certainty,
    )


def test_features_of_a_chain_are_those_computed_by_hand() -> None:
    features = chain_features([_candidate([-1.0, -2.0, -3.0, -4.0, -0.5], 2, 0.7)], [[1.0, 4.0, 2.0]])
    expected = {
        "energy_sum": 7.0,
        "energy_mean": 7 / 3,
        "energy_max": 4.0,
        "energy_tail": 2.0,  # the last quarter of three segments, rounded up, is one
        "energy_log": (math.log(1.01) + math.log(4.01) + math.log(2.01)) / 3,
        "logprob_sum": -10.5,
        "logprob_mean": -2.1,
        "logprob_min": -4.0,
        "logprob_tail": -2.25,  # the last quarter of five tokens, rounded up, is two
        "self_certainty": 0.7,
        "tokens": 5.0,
        "steps": 2.0,
        "digits": 0.0,
        "letters": 1.0,
    }
    assert {name: pytest.approx(values[0]) for name, values in features.items()} == expected
    assert set(features) == set(FEATURES)


@given(st.lists(st.tuples(LOGPROBS, ENERGIES), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_a_chain_has_the_same_features_alone_as_among_others(chains: list[tuple[list[float], list[float]]]) -> None:
    together = chain_features([_candidate(logprobs) for logprobs, _ in chains], [energy for _, energy in chains])
    for index, (logprobs, energy) in enumerate(chains):
        alone = chain_features([_candidate(logprobs)], [energy])
        for name in FEATURES:
            np.testing.assert_allclose(together[name][index], alone[name][0])


def test_a_text_is_told_by_its_digits_and_letters() -> None:
    candidate = _candidate([-1.0]).model_copy(update={"steps": ["a = 12", "b3"], "final_answer": "999"})
    features = chain_features([candidate, _candidate([-1.0], steps=0)], [[1.0], [1.0]])
    assert (features["digits"][0], features["letters"][0]) == (3 / 8, 2 / 8)
    assert math.isnan(features["digits"][1]) and math.isnan(features["letters"][1])


def test_an_empty_chain_has_no_energy_and_no_log_probability() -> None:
    features = chain_features([_candidate([]), _candidate([-1.0])], [[], [2.0]])
    assert math.isnan(features["energy_max"][0]) and math.isnan(features["logprob_sum"][0])
    assert features["tokens"].tolist() == [0.0, 1.0]
    assert features["energy_max"][1] == 2.0


def test_a_chain_with_a_value_that_is_not_finite_has_no_feature_of_it() -> None:
    features = chain_features([_candidate([-1.0])] * 3, [[1.0, np.inf], [np.nan, 1.0], [1.0, 2.0]])
    assert np.isnan(features["energy_sum"][:2]).all() and np.isnan(features["energy_max"][:2]).all()
    assert features["energy_sum"][2] == 3.0


def test_lists_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 candidates but energies of 1"):
        chain_features([_candidate([]), _candidate([])], [[1.0]])
