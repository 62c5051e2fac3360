"""Baselines against hand-computed cases, against scipy and scikit-learn, and on candidates with a planted truth."""

import math

import numpy as np
import pytest
from scipy.optimize import approx_fprime, check_grad
from scipy.spatial.distance import mahalanobis as scipy_mahalanobis
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors

from rjepa.evaluation import supervised
from rjepa.evaluation.domains import ALL
from rjepa.evaluation.evaluating import calibrate, evaluate
from rjepa.evaluation.label_free import chain_of_embedding, fit_gaussian, mahalanobis, nearest_neighbours
from rjepa.evaluation.metrics import auroc
from rjepa.evaluation.pool import CandidatePool
from rjepa.evaluation.rivals import (
    RIVALS,
    Labelled,
    as_extra,
    fit_rivals,
    score_label_free,
    score_paths,
    score_supervised,
)
from rjepa.evaluation.supervised import GatedReward, TextVerifier, fit_gated_reward, fit_probe
from rjepa.evaluation.views import StepRows, mean_and_answer
from rjepa.latents.normalizer import Normalizer
from rjepa.latents.sets import LatentSet
from tests.evaluation.conftest import make_pool

WIDTH = 6
PLAIN = Normalizer(np.zeros(WIDTH, dtype=np.float32), np.ones(WIDTH, dtype=np.float32))


def steps_of(chains: list[list[list[float]]]) -> StepRows:
    rows = [row for chain in chains for row in chain]
    owner = [index for index, chain in enumerate(chains) for _ in chain]
    width = len(rows[0])
    values = np.array(rows, dtype=np.float32).reshape(-1, width)
    return StepRows(values, np.array(owner, dtype=np.int64), len(chains))


def latents_for(pool: CandidatePool, seed: int, planted: float = 1.5) -> LatentSet:
    """A prompt row, then a row an energy; rows of wrong chains are shifted along the first column."""
    rng = np.random.default_rng(seed)
    lengths = [len(energy) + 1 for row in pool.energies for energy in row]
    right = pool.correct.ravel()
    rows = rng.normal(size=(sum(lengths), WIDTH))
    rows[:, 0] += planted * np.repeat(~right, lengths)
    count = len(lengths)
    return LatentSet(
        latents=rows.astype(np.float16),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        domains=np.zeros(count, dtype=np.int64),
        domain_names=("math",),
        first_error=np.where(right, -1, 1),
        problem_ids=[str(index) for index in range(count)],
        chain_ids=[str(index) for index in range(count)],
        splits=["train"] * count,
    )


def test_steps_leave_the_prompt_out_and_chains_are_pooled_by_hand() -> None:
    latents = LatentSet(
        latents=np.arange(12, dtype=np.float16).reshape(6, 2),
        offsets=np.array([0, 3, 4, 6]),
        domains=np.zeros(3, dtype=np.int64),
        domain_names=("math",),
        first_error=np.full(3, -1),
        problem_ids=["a", "b", "c"],
        chain_ids=["a", "b", "c"],
        splits=["test"] * 3,
    )
    steps = StepRows.of(latents, Normalizer(np.zeros(2, np.float32), np.full(2, 2.0, np.float32)))
    assert steps.chain.tolist() == [0, 0, 2]
    assert steps.values.tolist() == [[1.0, 1.5], [2.0, 2.5], [5.0, 5.5]]
    pooled = mean_and_answer(steps)
    assert pooled[0].tolist() == [1.5, 2.0, 2.0, 2.5] and pooled[2].tolist() == [5.0, 5.5, 5.0, 5.5]
    assert np.isnan(pooled[1]).all()  # the chain that is only a prompt


def test_mahalanobis_agrees_with_scipy_and_is_a_mean_over_steps() -> None:
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(500, 3)) * [1.0, 5.0, 0.2]).astype(np.float32)
    gaussian = fit_gaussian(rows)
    inverse = gaussian.whiten.astype(np.float64) @ gaussian.whiten.T
    one, other = rows[0].tolist(), rows[1].tolist()
    by_hand = [scipy_mahalanobis(row, gaussian.mean, inverse) ** 2 for row in (one, other)]
    assert mahalanobis(steps_of([[one, other]]), gaussian)[0] == pytest.approx(-np.mean(by_hand), rel=1e-4)
    plain = np.linalg.inv(np.cov(rows, rowvar=False))
    assert np.sqrt(by_hand[0]) == pytest.approx(scipy_mahalanobis(one, rows.mean(axis=0), plain), rel=0.5)


def test_nearest_neighbours_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    known, asked = (rng.normal(size=(size, 4)).astype(np.float32) for size in (50, 7))
    asked[3] = np.nan
    found = nearest_neighbours(asked, known, k=5)
    usable = [0, 1, 2, 4, 5, 6]
    distances, _ = NearestNeighbors(n_neighbors=5).fit(known).kneighbors(asked[usable])
    np.testing.assert_allclose(found[usable], -distances.mean(axis=1), rtol=1e-4)
    assert math.isnan(found[3])


def test_chain_of_embedding_by_hand() -> None:
    # (1, 0) -> (1, 1) -> (0, 1): moves of 1 and 1 over sqrt 2; turns of 45 degrees each over 90.
    r, c = chain_of_embedding(np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]))
    assert r == pytest.approx(1 / math.sqrt(2) - 0.5)
    assert c == pytest.approx(1 / math.sqrt(2))  # equal angles: the modulus is the mean move
    straight, _ = chain_of_embedding(np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert straight == pytest.approx(0.0)
    assert all(math.isnan(value) for value in chain_of_embedding(np.array([[1.0, 2.0]])))
    assert all(math.isnan(value) for value in chain_of_embedding(np.array([[1.0, 0.0], [2.0, 1.0], [1.0, 0.0]])))


def test_the_probe_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    inputs = rng.normal(size=(300, 4)).astype(np.float32)
    right = rng.random(300) < 1 / (1 + np.exp(-inputs @ [1.0, -2.0, 0.0, 0.5]))
    ridge = 0.03
    ours = fit_probe(inputs, right, ridge)
    theirs = LogisticRegression(C=1 / (ridge * 300), tol=1e-8).fit(inputs, right)
    np.testing.assert_allclose(ours.weights, theirs.coef_[0], atol=5e-3)
    np.testing.assert_allclose(ours.score(inputs), theirs.decision_function(inputs), atol=2e-2)


def test_the_gated_reward_is_a_gate_weighted_mean_of_rewards() -> None:
    gate, reward = np.array([1.0, 0.0], np.float32), np.array([0.0, 2.0], np.float32)
    model = GatedReward(gate, 0.0, reward, 0.25)
    opened = [1 / (1 + math.exp(-1.0)), 0.5]
    by_hand = (opened[0] * 2.0 * 3.0 + opened[1] * 2.0 * -1.0) / sum(opened) + 0.25
    assert model.score(steps_of([[[1.0, 3.0], [0.0, -1.0]]]))[0] == pytest.approx(by_hand, rel=1e-5)


def test_the_gated_reward_s_gradient_is_that_of_its_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    steps = steps_of([rng.normal(size=(int(n), 3)).tolist() for n in rng.integers(1, 4, size=12)])
    losses: list = []
    monkeypatch.setattr(supervised, "_minimise", lambda loss, start: losses.append(loss) or start)
    fit_gated_reward(steps, rng.random(12) < 0.5, 0.1)
    point = rng.normal(size=8)
    error = check_grad(lambda x: losses[0](x)[0], lambda x: losses[0](x)[1], point, epsilon=1e-2)
    scale = np.linalg.norm(approx_fprime(point, lambda x: losses[0](x)[0], 1e-2))
    assert error < 0.03 * scale  # weights are float32


def test_the_gated_reward_learns_which_steps_matter() -> None:
    """The second column says which step counts, the first whether it is good: no mean over steps can tell."""
    rng = np.random.default_rng(4)
    chains, right = [], []
    for _ in range(400):
        good = rng.normal(size=4)
        counts = np.full(4, -2.0)
        chosen = int(rng.integers(4))
        counts[chosen] = 2.0
        chains.append(np.stack([good, counts], axis=1).tolist())
        right.append(bool(good[chosen] > 0))
    steps, labels = steps_of(chains), np.array(right)
    gated = auroc(fit_gated_reward(steps, labels, 1e-3).score(steps), labels)
    vectors = mean_and_answer(steps)
    assert gated > 0.9 > auroc(fit_probe(vectors, labels, 1e-3).score(vectors), labels)


def test_the_text_verifier_reads_words_in_their_order() -> None:
    texts = ["so 3 + 4 = 7", "so 3 + 4 = 8", "so 4 + 3 = 7", "so 4 + 3 = 8"] * 20
    right = np.array([True, False, True, False] * 20)
    verifier = TextVerifier()
    read = verifier.read(texts)
    assert auroc(verifier.fit(read, right).score(read), right) == 1.0


def planted(problems: int, split: str, seed: int) -> tuple[CandidatePool, Labelled, LatentSet]:
    pool = make_pool(problems, 4, seed=seed, split=split)
    latents = latents_for(pool, seed)
    labelled = Labelled.of([p.statement for p in pool.problems], pool.candidates, latents, PLAIN)
    return pool, labelled, latents


def test_every_rival_finds_a_planted_signal_and_gets_its_rows_in_the_leaderboard() -> None:
    pools = {split: planted(150, split, seed) for seed, split in enumerate(("validation", "test"))}
    reference = pools["validation"][2]
    right = reference.select(reference.first_error < 0)
    free = score_label_free(right, [pools[split][1].steps for split in pools], PLAIN)
    learned = score_supervised(None, pools["validation"][1], pools["test"][1])
    joined = []
    for number, (pool, _, latents) in enumerate(pools.values()):
        scores = {key: parts[number] for key, parts in {**free, **learned}.items()} | score_paths(latents, PLAIN)
        joined.append(pool.with_extra(as_extra(scores, len(pool))))
    validation, test = joined
    for key in ("mahalanobis", "probe", "gated"):
        assert auroc(test.extra[key].ravel(), test.correct.ravel()) > 0.6, key
        assert auroc(validation.extra[key].ravel(), validation.correct.ravel()) > 0.6, key
    fits = fit_rivals(validation)
    assert {fit.method.key for fit in fits if fit.is_new} == set(RIVALS) - {"untrained"}
    result = evaluate(test, calibrate(validation), resamples=100, rivals=fits)
    methods = {row.method for row in result.leaderboard.domain(ALL)}
    assert {"logprob_sum_vote", "shortest_vote", "coe_r", "probe_vote", "gated_logprob", "text_logprob_vote"} <= methods
    tested = {(t.method, t.against) for t in result.comparisons if t.metric == "within_auroc"}
    assert {("rjepa", "mahalanobis"), ("rjepa", "logprob_sum"), ("rjepa_logprob", "probe_logprob")} <= tested


def test_validation_scores_are_held_out() -> None:
    """Noise can be learnt by heart; a held-out score must not show it."""
    pool = make_pool(60, 4, seed=9, split="validation", signal=0.0)
    latents = latents_for(pool, 9, planted=0.0)
    labelled = Labelled.of([p.statement for p in pool.problems], pool.candidates, latents, PLAIN)
    scores = score_supervised(None, labelled, labelled)
    for key, (held_out, in_sample) in scores.items():
        assert auroc(held_out, labelled.right) < 0.62, key
        assert auroc(in_sample, labelled.right) > auroc(held_out, labelled.right), key


def test_rivals_are_fitted_on_validation_problems_only() -> None:
    with pytest.raises(ValueError, match="validation problems only"):
        fit_rivals(make_pool(20, split="test"))
