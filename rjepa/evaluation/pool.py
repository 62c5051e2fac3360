"""The frozen candidates that every method is judged on: problems, K samples each, the greedy chain, energies.

A pool is built once from rollouts; what is done with it lives in `rjepa.evaluation.baselines` and `evaluating`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rjepa.arrays import Bools, Float64, Int64
from rjepa.inference.aggregate import chain_features
from rjepa.inference.table import CandidateTable
from rjepa.inference.voting import answer_ids
from rjepa.schemas import Candidate, Problem, Split


class RolloutsLike(Protocol):
    """What a pool needs of `rjepa.latents.rollouts.Rollouts`."""

    @property
    def problems(self) -> list[Problem]: ...
    @property
    def candidates(self) -> list[list[Candidate]]: ...
    @property
    def greedy(self) -> list[Candidate]: ...


@dataclass(frozen=True)
class CandidatePool:
    """P problems with K sampled candidates each.

    Attributes:
        problems: `[P]`.
        candidates: `[P][K]`.
        greedy: `[P]`.
        energies: `[P][K]`, each an array of the energies of segments 1.. of that chain.
        extra: further scores by name, float64 `[P, K]`, higher is better: the baselines of `rjepa.evaluation.rivals`.

    Raises:
        ValueError: the lists do not have these shapes, or a candidate belongs to another problem.
    """

    problems: Sequence[Problem]
    candidates: Sequence[Sequence[Candidate]]
    greedy: Sequence[Candidate]
    energies: Sequence[Sequence[Float64]]
    extra: Mapping[str, Float64] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.problems)
        if not len(self.candidates) == len(self.greedy) == len(self.energies) == count:
            raise ValueError(
                f"{count} problems, but candidates of {len(self.candidates)}, greedy chains of {len(self.greedy)} "
                f"and energies of {len(self.energies)}"
            )
        sizes = {len(row) for row in self.candidates} | {len(row) for row in self.energies}
        if len(sizes) > 1 or 0 in sizes:
            raise ValueError(f"every problem needs the same number of candidates and energies, found {sorted(sizes)}")
        for problem, row, greedy in zip(self.problems, self.candidates, self.greedy, strict=True):
            strangers = {c.problem_id for c in (*row, greedy)} - {problem.problem_id}
            if strangers:
                raise ValueError(f"candidates of {sorted(strangers)} were given for problem {problem.problem_id}")

    @classmethod
    def from_rollouts(cls, rollouts: RolloutsLike, energies: Sequence[npt.ArrayLike]) -> "CandidatePool":
        """Join rollouts with the energies of their latents.

        Args:
            rollouts: problems, candidates and greedy chains.
            energies: one array a sampled chain, in the order of `rollouts.latents` (problem by problem).

        Raises:
            ValueError: there are more or fewer energies than candidates.
        """
        return cls(
            problems=rollouts.problems,
            candidates=rollouts.candidates,
            greedy=rollouts.greedy,
            energies=_by_problem(energies, [len(row) for row in rollouts.candidates]),
        )

    def __len__(self) -> int:
        return len(self.problems)

    @property
    def num_candidates(self) -> int:
        return len(self.candidates[0]) if self.candidates else 0

    @cached_property
    def features(self) -> dict[str, Float64]:
        """Each of `rjepa.inference.aggregate.FEATURES`, and what is in `extra`: float64 `[P, K]`."""
        flat = chain_features([c for row in self.candidates for c in row], [e for row in self.energies for e in row])
        return {name: values.reshape(len(self), self.num_candidates) for name, values in flat.items()} | {**self.extra}

    @cached_property
    def ids(self) -> Int64:
        """Which candidates of a problem agree: int64 `[P, K]`, as from `rjepa.inference.voting.answer_ids`."""
        return answer_ids([[c.final_answer for c in row] for row in self.candidates])

    @property
    def table(self) -> CandidateTable:
        """What a calibration scores and chooses from."""
        return CandidateTable(self.features, self.ids)

    @cached_property
    def correct(self) -> Bools:
        """Whether the final answer is right, bool `[P, K]`. An unjudged candidate counts as wrong: see `judged`."""
        flat = [bool(c.is_correct) for row in self.candidates for c in row]
        return np.array(flat, dtype=bool).reshape(len(self), self.num_candidates)

    @cached_property
    def greedy_correct(self) -> Bools:
        """Bool `[P]`."""
        return np.array([bool(c.is_correct) for c in self.greedy], dtype=bool)

    @cached_property
    def greedy_tokens(self) -> Float64:
        """float64 `[P]`."""
        return np.array([len(c.token_logprobs) for c in self.greedy], dtype=np.float64)

    @cached_property
    def domains(self) -> list[str]:
        """The domains there are, sorted."""
        return sorted({problem.domain for problem in self.problems})

    def select(self, keep: npt.ArrayLike) -> "CandidatePool":
        """The pool of the problems at these indices, or where this mask `[P]` is true."""
        chosen = np.asarray(keep)
        indices = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        return CandidatePool(
            [self.problems[i] for i in indices],
            [self.candidates[i] for i in indices],
            [self.greedy[i] for i in indices],
            [self.energies[i] for i in indices],
            {name: scores[indices] for name, scores in self.extra.items()},
        )

    def with_energies(self, energies: Sequence[npt.ArrayLike]) -> "CandidatePool":
        """The same candidates seen by another world model; `energies` as for `from_rollouts`."""
        return replace(self, energies=_by_problem(energies, [len(row) for row in self.candidates]))

    def with_extra(self, extra: Mapping[str, Float64]) -> "CandidatePool":
        """The same candidates with further scores beside those there are."""
        return replace(self, extra={**self.extra, **extra})

    def split(self, split: Split) -> "CandidatePool":
        """The pool of one split's problems."""
        return self.select(np.array([problem.split == split for problem in self.problems], dtype=bool))

    def judged(self) -> "CandidatePool":
        """The pool of the problems whose candidates were all judged: without a gold answer nothing can be measured."""
        return self.select(
            np.array(
                [
                    all(c.is_correct is not None for c in (*row, greedy))
                    for row, greedy in zip(self.candidates, self.greedy, strict=True)
                ],
                dtype=bool,
            )
        )


def _by_problem(energies: Sequence[npt.ArrayLike], counts: Sequence[int]) -> list[list[Float64]]:
    if len(energies) != sum(counts):
        raise ValueError(f"{sum(counts)} candidates but energies of {len(energies)} chains")
    flat = iter([np.asarray(values, dtype=np.float64) for values in energies])
    return [[next(flat) for _ in range(count)] for count in counts]
