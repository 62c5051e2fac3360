import numpy as np
import pytest

from rjepa.inference.choice import Rule
from rjepa.inference.ranking import Ranking
from rjepa.inference.score import CompositeScore, ScoreTerm
from tests.inference.making import candidates_with, ranked

SCORE = CompositeScore(
    terms=(
        ScoreTerm(term="logprob", feature="logprob_sum", weight=1.0, center=-2.0, scale=2.0),
        ScoreTerm(term="energy", feature="energy_max", weight=2.0, center=1.0, scale=0.5),
        ScoreTerm(term="length", feature="tokens", weight=-0.5, center=2.0, scale=1.0),
    )
)


def test_the_score_is_the_sum_of_alpha_beta_and_gamma_terms() -> None:
    ranking = ranked(candidates_with("1", "2", logprobs=[[-1.0, -3.0], [-1.0]]), [[0.5, 2.0], [1.5]], Rule(SCORE))
    first, second = ranking.standings
    assert first.contributions == pytest.approx({"logprob": -1.0, "energy": -4.0, "length": 0.0})
    assert second.contributions == pytest.approx({"logprob": 0.5, "energy": -2.0, "length": 0.5})
    assert (first.score, second.score) == (pytest.approx(-5.0), pytest.approx(-1.0))
    assert (SCORE.alpha, SCORE.beta, SCORE.gamma) == (1.0, 2.0, -0.5)


def test_best_of_chooses_the_best_score_and_says_by_how_much_and_why() -> None:
    ranking = ranked(candidates_with("1", "2", "1"), [[3.0], [1.0], [2.0]], Rule(SCORE))
    assert (ranking.chosen, ranking.runner_up, ranking.reason) == (1, 2, "best_score")
    assert ranking.margin == pytest.approx(4.0)
    assert ranking.margin_terms == pytest.approx({"logprob": 0.0, "energy": 4.0, "length": 0.0})
    assert ranking.order == [1, 2, 0]
    assert "Candidate 2" in ranking.text and "ahead of candidate 3" in ranking.text


def test_a_weighted_vote_can_overrule_the_best_score_and_the_majority() -> None:
    candidates = candidates_with("1", "2", "2", "3", "3", "3")
    energies = [[1.0], [1.1], [1.1], [4.0], [4.0], [4.0]]
    assert ranked(candidates, energies, Rule(SCORE, "best_of")).chosen == 0
    vote = ranked(candidates, energies, Rule(SCORE, "vote"))
    assert (vote.chosen, vote.reason) == (1, "most_weight")
    majority = ranked(candidates, energies, Rule(SCORE, "majority"))
    assert (majority.chosen, majority.reason, majority.standings[3].votes) == (3, "most_votes", 3)


def test_top_k_counts_heads_among_the_best_scored_only() -> None:
    candidates = candidates_with("1", "2", "2", "3", "3", "3")
    ranking = ranked(candidates, [[1.0], [1.1], [1.1], [4.0], [4.0], [4.0]], Rule(SCORE, "top_k", 3))
    assert ranking.chosen == 1


def test_one_candidate_is_chosen_with_nothing_to_compare() -> None:
    ranking = ranked(candidates_with("1"), [[2.0]], Rule(SCORE, "vote"))
    assert (ranking.chosen, ranking.runner_up, ranking.margin, ranking.reason) == (0, None, None, "only_candidate")
    assert ranking.text == "Candidate 1: the only candidate (answer 1)."


@pytest.mark.parametrize("selection", ["best_of", "vote", "top_k", "majority"])
def test_a_candidate_without_an_answer_is_chosen_only_when_no_one_has_one(selection: str) -> None:
    ranking = ranked(candidates_with(None, "2", None), [[0.1], [9.0], [0.1]], Rule(SCORE, selection))
    assert (ranking.chosen, ranking.reason) == (1, "unanimous")
    ranking = ranked(candidates_with(None, None), [[3.0], [2.0]], Rule(SCORE, selection))
    assert ranking.reason == "no_answer"
    assert ranking.standings[0].votes == 0


@pytest.mark.parametrize("selection", ["best_of", "vote", "top_k", "majority"])
def test_equal_candidates_are_told_apart_by_the_sampling_order(selection: str) -> None:
    rankings = {ranked(candidates_with("1", "2"), [[1.0], [1.0]], Rule(SCORE, selection)).chosen for _ in "ab"}
    assert rankings == {0}


@pytest.mark.parametrize("energies", [[], [np.nan], [np.inf]])
def test_a_chain_without_energies_ranks_last_and_the_ranking_is_still_json(energies: list[float]) -> None:
    ranking = ranked(candidates_with("1", "2"), [energies, [9.0]], Rule(SCORE))
    assert (ranking.chosen, ranking.standings[0].score, ranking.margin) == (1, None, None)
    assert Ranking.model_validate_json(ranking.model_dump_json()) == ranking


def test_weights_can_be_replaced_by_name_only_where_the_score_has_the_term() -> None:
    assert SCORE.reweighted(energy=0.0).beta == 0.0
    assert SCORE.reweighted(energy=0.0).alpha == SCORE.alpha
    energy_alone = CompositeScore(terms=SCORE.terms[1:2])
    with pytest.raises(ValueError, match="no term"):
        energy_alone.reweighted(logprob=1.0)


def test_ranking_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        ranked([], [], Rule(SCORE))
