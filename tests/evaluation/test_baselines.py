from collections.abc import Callable

import numpy as np
import pytest

from rjepa.evaluation.baselines import METHODS, JudgedTable, choose_by_each, choose_greedily
from rjepa.evaluation.pool import CandidatePool
from rjepa.inference.calibration import ScoreCalibration
from rjepa.inference.probability import ProbabilityModel
from rjepa.inference.score import CompositeScore, ScoreTerm
from rjepa.schemas import Candidate, Problem

LOGPROB = ScoreTerm(term="logprob", feature="logprob_sum", weight=1.0)
ENERGY = ScoreTerm(term="energy", feature="energy_max", weight=1.0)
LENGTH = ScoreTerm(term="length", feature="tokens", weight=-3.0)
PROBABILITY = ProbabilityModel(
    num_candidates=1, weights=(1,) * 5, centers=(0,) * 5, scales=(1,) * 5, intercept=0, answers=1
)
CALIBRATION = ScoreCalibration(
    energy=CompositeScore(terms=(ENERGY,)),
    logprob_length=CompositeScore(terms=(LOGPROB, LENGTH)),
    combined=CompositeScore(terms=(LOGPROB, ENERGY, LENGTH)),
    selection="best_of",
    probability=(PROBABILITY,),
    probability_chosen=(PROBABILITY,),
    attribution=(),
    auroc={},
    loss=0.0,
    problems=1,
    mixed_problems=1,
    num_candidates=1,
)

# One problem whose five candidates are each the favourite of another rule. "7" is right.
#            answer tokens                          energies    certainty
TOY = [
    ("8", [-0.5, -0.5, -0.5, -2.0], [1.0, 5.0], 0.3),  # majority, with the next
    ("8", [-1.0] * 9, [2.0, 4.0], 0.2),
    ("7", [-3.0, -0.1, -0.1, -0.1, -0.1, -0.1, -0.1, -0.1], [1.0, 1.1], 0.1),  # least energy; best tail
    ("6", [-3.2, -0.2], [6.0, 6.0], 0.4),  # shortest
    (None, [-0.01], [0.0], 9.0),  # best of everything, but no answer
]


@pytest.fixture
def toy(candidate: Callable[..., Candidate]) -> CandidatePool:
    row = [
        candidate("p", index, answer, answer == "7", token_logprobs=logprobs, self_certainty=certainty)
        for index, (answer, logprobs, _, certainty) in enumerate(TOY)
    ]
    problem = Problem(problem_id="p", domain="math", source="test", statement="?", answer_gold="7", split="test")
    return CandidatePool([problem], [row], [candidate("p", -1, "7", True)], [[np.array(e) for _, _, e, _ in TOY]])


def test_every_baseline_chooses_as_computed_by_hand(toy: CandidatePool) -> None:
    choices = choose_by_each(JudgedTable.of(toy), CALIBRATION)
    chosen = {key: int(choice.chosen[0]) for key, choice in choices.items() if choice.chosen is not None}
    assert chosen == {
        "majority": 0,
        "shortest": 3,  # 2 tokens; the single token of the last one leads to no answer
        "logprob_sum": 3,  # -3.4 against -3.5, -9, -3.7
        "logprob_mean": 2,  # -3.7 / 8 against -0.875, -1, -1.7
        "logprob_min": 1,  # -1 against -2, -3, -3.2
        "logprob_tail": 2,  # -0.1 over two tokens against -2, -1, -0.2
        "self_certainty": 3,
        "logprob_length": 3,  # -3.4 - 6 against -15.5, -36, -27.7
        "logprob_length_vote": 3,
        "rjepa": 2,  # highest energies 5, 4, 1.1, 6
        "rjepa_vote": 2,
        "rjepa_logprob": 3,  # -15.4 against -20.5, -40, -28.8
        "rjepa_logprob_vote": 3,
        "rjepa_logprob_served": 3,
    }


def test_what_is_served_leaves_rjepa_out_where_it_knows_no_such_problems(toy: CandidatePool) -> None:
    heavy = CALIBRATION.combined.reweighted(energy=9.0)  # R-JEPA decides: the third; without it the fourth
    for limit, chosen in (((), 2), ((0.0,), 2), ((-1.0,), 3)):  # this problem's energy lies between -1 and 0
        calibration = CALIBRATION.model_copy(update={"combined": heavy, "familiar_energy": limit})
        choices = choose_by_each(JudgedTable.of(toy), calibration)
        assert choices["rjepa_logprob"].chosen.tolist() == [2]
        assert choices["rjepa_logprob_served"].chosen.tolist() == [chosen]


def test_accuracies_and_tokens_of_the_baselines_by_hand(toy: CandidatePool) -> None:
    choices = choose_by_each(JudgedTable.of(toy), CALIBRATION)
    assert choices["mean_at_1"].correct.tolist() == [pytest.approx(1 / 5)]
    assert choices["mean_at_1"].tokens.tolist() == [pytest.approx(24 / 5)]
    assert choices["oracle"].correct.tolist() == [1.0]
    assert choices["rjepa"].correct.tolist() == [1.0] and choices["majority"].correct.tolist() == [0.0]
    assert choices["rjepa"].tokens.tolist() == [24.0]
    greedy = choose_greedily(toy)
    assert (greedy.correct.tolist(), greedy.tokens.tolist()) == ([1.0], [3.0])


def test_the_choices_are_the_methods_in_the_order_of_the_leaderboard(toy: CandidatePool) -> None:
    assert ["greedy", *choose_by_each(JudgedTable.of(toy), CALIBRATION)] == [method.key for method in METHODS]


def test_with_one_candidate_every_method_chooses_it(toy: CandidatePool) -> None:
    choices = choose_by_each(JudgedTable.of(toy).first(1), CALIBRATION)
    assert {choice.correct[0] for choice in choices.values()} == {0.0}


def test_no_method_depends_on_which_candidate_is_right(toy: CandidatePool) -> None:
    table = JudgedTable.of(toy)
    turned = JudgedTable(table.features, table.ids, ~table.correct)
    for key, choice in choose_by_each(table, CALIBRATION).items():
        other = choose_by_each(turned, CALIBRATION)[key]
        assert (choice.chosen is None) or choice.chosen.tolist() == other.chosen.tolist()
