"""The leaderboard: each method in each domain, with intervals. Values and Markdown; tables for a terminal: `summary`.

Which methods there are is decided in `rjepa.evaluation.baselines`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from pydantic import Field

from rjepa.arrays import Bools, Float64
from rjepa.evaluation.baselines import Choice, Group
from rjepa.evaluation.domains import ALL
from rjepa.evaluation.length import without_length
from rjepa.evaluation.metrics import auroc, gap_closed, mean_if_any, none_if_undefined, within_problem_auroc
from rjepa.evaluation.statistics import RESAMPLES, Resamples, interval
from rjepa.values import FrozenValue


class LeaderboardRow(FrozenValue):
    """One method in one domain. Intervals are 95 % bootstrap intervals over problems."""

    method: str
    label: str
    group: Group
    domain: str
    problems: int
    accuracy: float
    ci_low: float
    ci_high: float
    gap_closed: float | None = Field(description="0 at mean@1, 1 at pass@K; None where they are equal")
    gap_low: float | None
    gap_high: float | None
    within_auroc: float | None = Field(description="right above wrong candidates of the same problem")
    within_low: float | None
    within_high: float | None
    within_no_length: float | None = Field(
        None, description="within-problem AUROC of what a regression on tokens and steps leaves of the score"
    )
    pooled_auroc: float | None = Field(description="right above wrong candidates of any problem")
    first_error_auroc: float | None = Field(None, description="energy alone: first wrong steps above right ones")
    tokens: float = Field(description="generated per problem, mean")


class Leaderboard(FrozenValue):
    """Every method on the same candidates, "all" first, then domain by domain."""

    rows: tuple[LeaderboardRow, ...]
    num_candidates: int
    resamples: int
    seed: int

    @property
    def domains(self) -> list[str]:
        """The domains there are, "all" first."""
        return list(dict.fromkeys(row.domain for row in self.rows))

    def domain(self, domain: str) -> list[LeaderboardRow]:
        return [row for row in self.rows if row.domain == domain]

    def row(self, method: str, domain: str = ALL) -> LeaderboardRow:
        """
        Raises:
            KeyError: there is no such row.
        """
        for row in self.rows:
            if row.method == method and row.domain == domain:
                return row
        raise KeyError(f"{method} in {domain}")

    def to_rows(self) -> list[dict[str, Any]]:
        """One flat dictionary a row: for JSON, a data frame or a table in a terminal."""
        return [row.model_dump(mode="json") for row in self.rows]

    def to_markdown(self, domain: str | None = None) -> str:
        """A Markdown table of one domain; None for all of them, each under its heading."""
        names = self.domains if domain is None else [domain]
        return "\n\n".join(f"**{markdown_cell(name)}**\n\n{_markdown_table(self.domain(name))}" for name in names)


HEADINGS: Final = (
    "Method",
    "Accuracy",
    "95 % interval",
    "Gap closed",
    "Within-problem AUROC",
    "Without length",
    "Tokens",
)


def display_cells(row: LeaderboardRow) -> tuple[str, ...]:
    """A row as people read it, in the order of `HEADINGS`."""
    return (
        row.label,
        f"{row.accuracy:.1%}",
        f"{row.ci_low:.1%} to {row.ci_high:.1%}",
        "-" if row.gap_closed is None else f"{row.gap_closed:+.2f}",
        "-" if row.within_auroc is None else f"{row.within_auroc:.3f}",
        "-" if row.within_no_length is None else f"{row.within_no_length:.3f}",
        f"{row.tokens:.0f}",
    )


def build_leaderboard(
    choices: Mapping[str, Choice],
    correct: Bools,
    domains: Sequence[str],
    first_error: Mapping[str, Mapping[str, float | None]],
    lengths: Float64,
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> Leaderboard:
    """Judge every method's choices, over all problems and in each domain.

    Args:
        choices: by method key; `mean_at_1` and `oracle` must be among them.
        correct: bool `[problems, candidates]`.
        domains: each problem's domain.
        first_error: first-error AUROC of a method's energies, by method and domain.
        lengths: `[problems, candidates, measures]`, as `rjepa.evaluation.length.length_measures`.
        seed: of the bootstrap.
    """
    names = np.array(domains)
    parts = {ALL: np.ones(len(names), dtype=bool)} | {name: names == name for name in sorted(set(domains) - {ALL})}
    scored = {key: choice.scores for key, choice in choices.items() if choice.scores is not None}
    within = {key: within_problem_auroc(scores, correct) for key, scores in scored.items()}
    no_length = {key: within_problem_auroc(without_length(scores, lengths), correct) for key, scores in scored.items()}
    rng = np.random.default_rng(seed)
    rows = []
    for domain, mask in parts.items():
        rows += _domain_rows(domain, mask, choices, correct, within, no_length, first_error, rng, resamples)
    return Leaderboard(rows=tuple(rows), num_candidates=correct.shape[1], resamples=resamples, seed=seed)


def _domain_rows(
    domain: str,
    mask: Bools,
    choices: Mapping[str, Choice],
    correct: Bools,
    within: Mapping[str, Float64],
    no_length: Mapping[str, Float64],
    first_error: Mapping[str, Mapping[str, float | None]],
    rng: np.random.Generator,
    resamples: int,
) -> list[LeaderboardRow]:
    keys = list(choices)
    hits = np.stack([choices[key].correct[mask] for key in keys], axis=1)
    nothing = np.full(int(mask.sum()), np.nan)
    ranks = np.stack([within[key][mask] if key in within else nothing for key in keys], axis=1)
    resampled = Resamples(len(hits), rng=rng, resamples=resamples).means(np.concatenate([hits, ranks], axis=1))
    drawn_hits, drawn_ranks = resampled[:, : len(keys)], resampled[:, len(keys) :]

    floor, ceiling = keys.index("mean_at_1"), keys.index("oracle")
    accuracy = hits.mean(axis=0)
    gap = gap_closed(accuracy, accuracy[floor], np.full(len(keys), accuracy[ceiling]))
    drawn_gap = gap_closed(drawn_hits, drawn_hits[:, [floor]], np.repeat(drawn_hits[:, [ceiling]], len(keys), axis=1))
    low, high = interval(drawn_hits)
    gap_low, gap_high = interval(drawn_gap)
    within_low, within_high = interval(drawn_ranks)
    rows = []
    for column, key in enumerate(keys):
        scores = choices[key].scores
        rows.append(
            LeaderboardRow(
                method=key,
                label=choices[key].method.label,
                group=choices[key].method.group,
                domain=domain,
                problems=len(hits),
                accuracy=float(accuracy[column]),
                ci_low=float(low[column]),
                ci_high=float(high[column]),
                gap_closed=none_if_undefined(gap[column]),
                gap_low=none_if_undefined(gap_low[column]),
                gap_high=none_if_undefined(gap_high[column]),
                within_auroc=mean_if_any(ranks[:, column]),
                within_low=none_if_undefined(within_low[column]),
                within_high=none_if_undefined(within_high[column]),
                within_no_length=mean_if_any(no_length[key][mask]) if key in no_length else None,
                pooled_auroc=None if scores is None else none_if_undefined(auroc(scores[mask], correct[mask])),
                first_error_auroc=first_error.get(key, {}).get(domain),
                tokens=float(choices[key].tokens[mask].mean()),
            )
        )
    return rows


def _markdown_table(rows: Sequence[LeaderboardRow]) -> str:
    lines = [HEADINGS, ("---",) + ("---:",) * (len(HEADINGS) - 1), *(display_cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(markdown_cell(text) for text in line)} |" for line in lines)


def markdown_cell(text: str) -> str:
    """Text that others wrote, in one line: it cannot break out of a table cell or become markup or HTML."""
    plain = " ".join(text.split())
    for character in "\\`*_[]<>|":
        plain = plain.replace(
            character, f"\\{character}" if character not in "<>" else {"<": "&lt;", ">": "&gt;"}[character]
        )
    return plain
