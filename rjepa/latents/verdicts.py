"""Verdicts over sampled chains, kept apart from the chains: another gold answer or checker judges anew and samples
nothing, and what was judged for one dataset version is not judged for the next.

A verdict depends on the problem's statement, domain, gold answer and meta, on the chain, and on the code of the
checkers, whose hash names the folder of the shards. The judge itself is `rjepa.validation.judge`.
"""

import functools
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import rjepa
from rjepa.home import Home
from rjepa.latents.store import KEY_LENGTH, KeptRow, ShardIndex, ShardStore, ShardWriter, make_key
from rjepa.schemas import Problem, Verdict
from rjepa.tables import to_records
from rjepa.validation.judge import judge

_SHARD_VERDICTS: Final = 5000
"""Verdicts of a shard: a few tens of bytes each."""

_SHARD_SECONDS: Final = 20.0
"""A shard ends after this long, whatever it holds: running code against tests takes seconds a chain."""


class KeptVerdict(KeptRow):
    """A verdict in a shard: fields as in `Verdict`."""

    is_valid: bool
    is_correct: bool
    reason: str
    first_error_step: int | None


class Judge:
    """Judges chains that no shard has a verdict on. `judged` counts those; `used` holds the ids of shards with verdicts
    that were asked for.
    """

    def __init__(self, store: ShardStore[KeptVerdict], writer: ShardWriter[KeptVerdict]) -> None:
        self.judged = 0
        self.used: set[str] = set()
        self._store, self._writer = store, writer
        self._index = ShardIndex(store)
        self._new: dict[str, Verdict] = {}
        self._started = time.monotonic()

    def verdicts(self, chains: Sequence[tuple[Problem, str, list[str], str | None]]) -> list[Verdict]:
        """The verdict on each (problem, text, steps, final answer).

        Raises:
            RjepaError: as `rjepa.validation.judge.judge`.
        """
        keys = [verdict_key(problem, text) for problem, text, _, _ in chains]
        shards, places = self._index.find(keys)
        known = shards >= 0
        self.used |= {self._index.receipts[number].id for number in set(shards[known].tolist())}
        rows = self._store.rows(self._index.receipts, shards[known], places[known])
        found = iter(to_records(KeptVerdict, rows))
        verdicts = []
        for key, is_known, (problem, _, steps, answer) in zip(keys, known.tolist(), chains, strict=True):
            if is_known:
                kept = next(found)
                verdicts.append(Verdict(**kept.model_dump(exclude={"key"})))
                continue
            if key not in self._new:
                self._keep(key, judge(problem, steps, answer))
            verdicts.append(self._new[key])
        return verdicts

    def finish(self) -> None:
        """Make durable what was judged."""
        if len(self._writer):
            self.used.add(self._writer.finish().id)
        self._started = time.monotonic()

    def _keep(self, key: str, verdict: Verdict) -> None:
        self._new[key] = verdict
        self.judged += 1
        self._writer.append({}, [KeptVerdict(key=key, **verdict.model_dump())])
        if len(self._writer) >= _SHARD_VERDICTS or time.monotonic() - self._started > _SHARD_SECONDS:
            self.finish()


def verdict_store(home: Home, llm_tag: str, folder: str) -> ShardStore[KeptVerdict]:
    """The shards of verdicts on one student's chains."""
    return ShardStore(
        home.shards("verdicts", llm_tag) / folder,
        KeptVerdict,
        f"verdicts on chains of {llm_tag}",
        f"materialise the asset rollouts of {llm_tag}",
    )


def verdict_key(problem: Problem, text: str) -> str:
    """The key of a verdict: of all that a checker reads."""
    return make_key(problem.statement, problem.domain, problem.answer_gold, problem.meta, text)


@functools.cache
def checkers_folder(segmentation: str) -> str:
    """Name of the folder of verdicts: a hash of the code that judges, so that a changed checker judges anew. How a
    chain is cut into steps changes its verdict too.
    """
    root = Path(rjepa.__file__).parent
    digest = hashlib.sha256(segmentation.encode())
    for path in [root / "chains.py", root / "clauses.py", *sorted((root / "validation").rglob("*.py"))]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:KEY_LENGTH]
