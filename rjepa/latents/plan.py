"""Which chains of a dataset version have latents, and in which order, decided by row numbers alone.

What is held of every chain is a few integers, however long its text is; texts are read a part at a time. Encoding lives
in `rjepa.latents.building`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rjepa.arrays import Bools, Int32, Int64
from rjepa.datasets.reading import stage_paths
from rjepa.datasets.stages import PROBLEMS, VALIDATED_CHAINS
from rjepa.errors import CorruptError
from rjepa.home import Home
from rjepa.latents.shares import draw_problems, in_drawing_order
from rjepa.schemas import ChainOfThought, Problem, Split
from rjepa.tables import read_columns, read_rows, scan_columns

_FAULTS = {1: "no_steps", 2: "no_verdict"}
"""Why a chain is left out, by the code that stands for it."""


@dataclass(frozen=True)
class Part:
    """Some chains of a plan and their problems, as compact tables. owner: int64 [chains], rows of `problems`."""

    chains: pa.Table
    problems: pa.Table
    owner: Int64

    def __len__(self) -> int:
        return len(self.owner)

    def pieces(self, size: int) -> list[Int64]:
        """All of its chains, int64 indices, at most `size` at a time, those of a problem together where they fit."""
        bounds = _cut(self.owner, size)
        return [np.arange(first, last) for first, last in zip(bounds, bounds[1:], strict=False)]


@dataclass(frozen=True)
class Plan:
    """Usable chains in the order of a version, split after split, those of a problem together.

    chains, problems: int64 [chains], rows of the dataset's files counted end to end. bounds: [parts + 1].
    skipped: chains that are left out, by reason.
    """

    chain_paths: list[Path]
    problem_paths: list[Path]
    chains: Int64
    problems: Int64
    bounds: list[int]
    skipped: Counter[str]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def part(self, number: int) -> Part:
        """Read the chains and problems of part `number`."""
        part = slice(self.bounds[number], self.bounds[number + 1])
        rows, owner = np.unique(self.problems[part], return_inverse=True)
        return Part(
            chains=read_rows(self.chain_paths, ChainOfThought, self.chains[part]),
            problems=read_rows(self.problem_paths, Problem, rows),
            owner=owner.astype(np.int64),
        )


def plan_chains(home: Home, dataset: str, splits: Sequence[Split], part_size: int, share: float = 1.0) -> Plan:
    """Parts of at most `part_size` chains. A problem's chains are in one part unless they are more than that.

    Args:
        share: part of the training problems, of those that have a usable chain, whose chains are planned for.

    Raises:
        InvalidInputError: a share is asked for of fewer than two problems.
        NotFoundError: the dataset or its chains are not made yet.
        CorruptError: a chain's problem is not in the dataset.
    """
    problem_paths = stage_paths(home, dataset, PROBLEMS)
    chain_paths = stage_paths(home, dataset, VALIDATED_CHAINS)
    known = read_columns(problem_paths, Problem, ["problem_id", "split"])
    ids = known["problem_id"].combine_chunks()
    # Split after split, so that each is one run of rows, which need not be copied to be trained on.
    split_of = pc.fill_null(pc.index_in(known["split"], pa.array(splits)), -1).to_numpy()
    owner, fault = _chains(chain_paths, ids, dataset)
    wanted = split_of[owner] >= 0
    usable = np.flatnonzero(wanted & (fault == 0))
    if share < 1:
        usable = usable[_of_share(known, owner[usable], share)]
    usable = usable[np.lexsort((owner[usable], split_of[owner[usable]]))].astype(np.int64)
    problems = owner[usable].astype(np.int64)
    skipped = Counter({reason: int((fault[wanted] == code).sum()) for code, reason in _FAULTS.items()})
    return Plan(chain_paths, problem_paths, usable, problems, _cut(problems, part_size), skipped)


def _of_share(known: pa.Table, owner: Int32, share: float) -> Bools:
    """Which chains, by the row of each one's problem, stay where a share of the training problems is drawn."""
    in_training = pc.equal(known["split"], "train").to_numpy()
    rows = np.unique(owner[in_training[owner]])
    ids = known["problem_id"].take(pa.array(rows)).to_pylist()
    drawn = set(draw_problems(in_drawing_order(ids), share))
    stays = ~in_training
    stays[rows[[each in drawn for each in ids]]] = True
    return np.asarray(stays[owner])


def _chains(paths: list[Path], ids: pa.Array, dataset: str) -> tuple[Int32, npt.NDArray[np.int8]]:
    """Row of each chain's problem, and what makes a chain useless (0 for nothing)."""
    owners, faults = [np.empty(0, dtype=np.int32)], [np.empty(0, dtype=np.int8)]
    for batch in scan_columns(paths, ChainOfThought, ["problem_id", "steps", "is_valid"]):
        owner = pc.index_in(batch["problem_id"], ids)
        if owner.null_count:
            lost = batch["problem_id"].filter(pc.is_null(owner))[0]
            raise CorruptError(
                f"dataset {dataset} has chains of problem {lost}, which it does not hold",
                cure=f"materialise validated_chains of {dataset} again",
            )
        without_steps = pc.fill_null(pc.list_value_length(batch["steps"]), 0).to_numpy() == 0
        without_verdict = pc.is_null(batch["is_valid"]).to_numpy(zero_copy_only=False)
        owners.append(owner.to_numpy())
        faults.append(np.select([without_steps, without_verdict], [1, 2], 0).astype(np.int8))
    return np.concatenate(owners), np.concatenate(faults)


def _cut(problems: Int64, size: int) -> list[int]:
    """Where pieces of at most `size` chains begin, and the number of chains: between two problems, where it can be."""
    bounds = [0]
    while bounds[-1] < len(problems):
        end = min(bounds[-1] + size, len(problems))
        if end < len(problems) and problems[end] == problems[end - 1]:
            before = end - int(np.argmax(problems[bounds[-1] : end][::-1] != problems[end]))
            # argmax is 0 where all of the piece is one problem, which then has to be cut.
            end = before if before > bounds[-1] else end
        bounds.append(end)
    return bounds
