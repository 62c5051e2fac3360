"""Is R-JEPA better than the baselines? Paired tests on the same problems, with Holm's correction over each family."""

from collections.abc import Mapping, Sequence

import numpy as np

from rjepa.arrays import Bools, Float64
from rjepa.evaluation.baselines import VOTE, WITH_LOGPROB, Choice
from rjepa.evaluation.domains import ALL
from rjepa.evaluation.metrics import within_problem_auroc
from rjepa.evaluation.results import Comparison
from rjepa.evaluation.statistics import Resamples, bootstrap_p_value, holm, interval, mcnemar

MethodPair = tuple[str, str]
"""Keys of a method and of the one that it is compared with."""


def compare(
    choices: Mapping[str, Choice],
    variants: Sequence[str],
    best_logprob: str,
    correct: Bools,
    masks: Mapping[str, Bools],
    rng: np.random.Generator,
    resamples: int,
) -> tuple[Comparison, ...]:
    """Each R-JEPA with log-probability against majority, the best log-probability score and the best combination
    without R-JEPA, in every domain; over all domains against supervised baselines too, and its within-problem AUROC
    against that of every score without labels.

    Args:
        choices: every method's, by key.
        variants: keys of the R-JEPAs.
        masks: bool `[problems]` a domain, "all" among them.
    """
    found: list[Comparison] = []
    for variant in variants:
        combined = f"{variant}_{WITH_LOGPROB[0]}"
        ours = (combined, f"{combined}_{VOTE[0]}")
        rivals = ["majority", best_logprob, "logprob_length", "logprob_length_vote"]
        for domain, mask in masks.items():
            labelled = _keys(choices, ("supervised",), combined=True) if domain == ALL else []
            pairs = [(method, rival) for method in ours for rival in (*rivals, *labelled)]
            found += compare_accuracy(choices, pairs, mask, domain, rng, resamples)
        rivals = [key for key in _keys(choices, ("free", "label_free"), combined=False) if key != "majority"]
        ranked = [(variant, rival) for rival in ("majority", *rivals, "logprob_length")]
        ranked += [(combined, rival) for rival in ("logprob_length", *_keys(choices, ("supervised",), combined=True))]
        found += compare_ranking(choices, [pair for pair in ranked if _scored(choices, pair)], correct, rng, resamples)
    return tuple(found)


def compare_accuracy(
    choices: Mapping[str, Choice],
    pairs: Sequence[MethodPair],
    mask: Bools,
    domain: str,
    rng: np.random.Generator,
    resamples: int,
) -> list[Comparison]:
    """Accuracy of the first minus that of the second of each pair: paired bootstrap and exact McNemar. One family."""
    hits = {key: choices[key].correct[mask] for pair in pairs for key in pair}
    differences = np.stack([hits[first] - hits[second] for first, second in pairs], axis=1)
    exact = [mcnemar(hits[first] > 0.5, hits[second] > 0.5) for first, second in pairs]
    adjusted = holm([test.p_value for test in exact])
    tests = _bootstrap(choices, pairs, differences, "accuracy", domain, rng, resamples)
    return [
        test.model_copy(
            update={
                "only_method": result.only_first,
                "only_against": result.only_second,
                "p_mcnemar": result.p_value,
                "p_mcnemar_holm": after,
            }
        )
        for test, result, after in zip(tests, exact, adjusted, strict=True)
    ]


def compare_ranking(
    choices: Mapping[str, Choice],
    pairs: Sequence[MethodPair],
    correct: Bools,
    rng: np.random.Generator,
    resamples: int,
    domain: str = ALL,
) -> list[Comparison]:
    """Within-problem AUROC of the first minus that of the second of each pair: paired bootstrap. One family."""
    ranks = {key: within_problem_auroc(choices[key].ranking, correct) for pair in pairs for key in pair}
    differences = np.stack([ranks[first] - ranks[second] for first, second in pairs], axis=1)
    if not np.isfinite(differences).any():
        return []
    return _bootstrap(choices, pairs, differences, "within_auroc", domain, rng, resamples)


def _bootstrap(
    choices: Mapping[str, Choice],
    pairs: Sequence[MethodPair],
    differences: Float64,
    metric: str,
    domain: str,
    rng: np.random.Generator,
    resamples: int,
) -> list[Comparison]:
    drawn = Resamples(len(differences), rng=rng, resamples=resamples).means(differences)
    # A resample without a single mixed problem says nothing.
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    low, high = interval(drawn)
    p_values = [bootstrap_p_value(drawn[:, column]) for column in range(len(pairs))]
    return [
        Comparison(
            method=method,
            against=rival,
            label=choices[method].method.label,
            against_label=choices[rival].method.label,
            metric=metric,
            domain=domain,
            problems=int(np.isfinite(differences[:, column]).sum()),
            difference=float(np.nanmean(differences[:, column])),
            ci_low=float(low[column]),
            ci_high=float(high[column]),
            p_bootstrap=p_values[column],
            p_bootstrap_holm=after,
        )
        for column, ((method, rival), after) in enumerate(zip(pairs, holm(p_values), strict=True))
    ]


def _keys(choices: Mapping[str, Choice], groups: Sequence[str], *, combined: bool) -> list[str]:
    """Methods of these groups that score candidates: with log-probability and their votes, or each score alone."""
    found = []
    for key, choice in choices.items():
        vote = key.endswith(f"_{VOTE[0]}")
        with_logprob = key.removesuffix(f"_{VOTE[0]}").endswith(f"_{WITH_LOGPROB[0]}")
        wanted = choice.method.group in groups and choice.scores is not None and with_logprob == combined
        if wanted and (combined or not vote):
            found.append(key)
    return found


def _scored(choices: Mapping[str, Choice], pair: MethodPair) -> bool:
    return all(choices[key].scores is not None for key in pair)
