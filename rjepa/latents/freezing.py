"""Freeze the candidates of a dataset version: sample the chains that no shard holds yet, judge, name a row for each.

A chain is a function of the student, the statement, its sample index and how it is sampled: another version that has
the problem finds it, and so does a larger K. (Chains of an endpoint are written together, and are found for the same K
alone.) What shards and versions hold is `rjepa.latents.rollouts`.
"""

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from rjepa.arrays import Bools, Float16, Int64
from rjepa.chains import parse_chain
from rjepa.datasets.reading import load_problems
from rjepa.errors import InvalidInputError
from rjepa.home import Home
from rjepa.latents.rollouts import (
    CandidateRow,
    KeptSample,
    RolloutAsset,
    RolloutManifest,
    RolloutRequest,
    rollout_version,
    sample_folder,
    sample_store,
)
from rjepa.latents.store import KEY_LENGTH, ShardIndex, ShardStore, ShardWriter, make_key, store_in_use
from rjepa.latents.verdicts import Judge, checkers_folder, verdict_store
from rjepa.latents.versions import VersionWriter
from rjepa.locks import stage_lock
from rjepa.progress import Progress, silent
from rjepa.sampling.opening import source_of
from rjepa.schemas import Problem, Split
from rjepa.stages import StageReport
from rjepa.students.loading import Student
from rjepa.students.sampled import GREEDY, SampledChain
from rjepa.tables import to_table
from rjepa.validation.judge import PROBLEM_FAULTS

_SHARD_PROBLEMS: Final = 100
"""Problems of a shard, at most: with K = 8 about nine hundred chains, some seconds of a small student's time."""

_SHARD_BATCHES: Final = 2
"""Batches of a shard, at most: what a killed build of a slow student loses."""

_ENDPOINT_PROBLEMS: Final = 32
"""Problems of a shard whose chains an endpoint writes: as many as it is asked for at once, twice over."""

_COPIED_PROBLEMS: Final = 24
"""An endpoint that wrote equal chains for each of its first so many problems does not draw them. By chance a small
student writes eight equal chains for one problem in three, two for every second.
"""

_JUDGED: Final = 50
"""Problems whose candidates are judged between two reports of progress."""


def build_rollouts(
    home: Home,
    student: Student,
    dataset: str,
    *,
    num_candidates: int,
    seed: int,
    asset: RolloutAsset = "rollouts",
    splits: Sequence[Split] | None = None,
    max_problems: int | None = None,
    progress: Progress = silent,
) -> StageReport:
    """Sample `num_candidates` chains and the greedy one for every problem of these splits, judge and freeze them.

    The student's own model writes the chains, or the server at its record's endpoint. What was sampled before for the
    same statement in the same way is not sampled again.

    Args:
        splits: None for those of the asset.
        max_problems: of more problems than this, only so many are sampled for, evenly spread. None: all.

    Raises:
        InvalidInputError: there are no problems in these splits, or one has a prompt beyond the student's context.
        EndpointError: the student's endpoint does not answer, or writes the same chain whatever the seed.
        BusyError: another process makes the same rollouts.
    """
    if num_candidates < 1:
        raise ValueError(f"expected at least one candidate, got {num_candidates}")
    chosen = tuple(splits) if splits else None
    request = RolloutRequest(dataset, num_candidates, seed, asset, chosen, max_problems)
    llm_tag, splits = student.record.llm_tag, request.chosen_splits
    with contextlib.ExitStack() as stack:
        stack.enter_context(stage_lock(home, asset, llm_tag, dataset))
        inputs = request.inputs(home, student.record, student.fingerprint)
        problems = [problem for problem in load_problems(home, dataset) if problem.split in splits]
        problems = spread_evenly(problems, max_problems)
        if not problems:
            raise InvalidInputError(
                f"dataset {dataset} has no problems in {', '.join(splits)}",
                cure="choose a dataset with problems in these splits, or give its recipe some",
            )
        store = sample_store(home, llm_tag, sample_folder(student.fingerprint))
        verdicts = verdict_store(home, llm_tag, checkers_folder(student.record.segmentation))
        stack.enter_context(store_in_use(home, "rollouts", llm_tag, store))
        stack.enter_context(store_in_use(home, "verdicts", llm_tag, verdicts))
        # What is frozen must not hang, to the bit, on which rows shared a batch: a run that was killed has others.
        exact = replace(student, fuses=False)
        samples = _Samples(exact, store, stack.enter_context(store.writing()), num_candidates, seed)
        shards, places = samples.freeze(problems, progress)
        judge = Judge(verdicts, stack.enter_context(verdicts.writing()))
        table = stack.enter_context(rollout_version(home, llm_tag, dataset, asset).writing())
        rows = _Rows(samples, judge, table)
        for first in range(0, len(problems), _JUDGED):
            part = slice(first, first + _JUDGED)
            rows.append(problems[part], shards[part], places[part])
            progress(len(problems), len(problems), f"{min(first + _JUDGED, len(problems))} judged")
        judge.finish()
        figures: dict[str, int | float | str] = {
            "problems": len(problems),
            "candidates_a_problem": num_candidates,
            **rows.counts,
            "shards": len(rows.shards),
            "chains_found": shards.size - samples.sampled,
            "chains_sampled": samples.sampled,
            "chains_judged": judge.judged,
            "tokens_per_second": round(samples.tokens / samples.seconds) if samples.tokens else 0,
        }
        names = {"llm_tag": llm_tag, "dataset": dataset, "splits": list(splits)}
        manifest = rows.publish(names, {"inputs": inputs, "figures": figures})
    return StageReport(manifest.data_version, figures)


def spread_evenly(problems: list[Problem], limit: int | None) -> list[Problem]:
    """At most so many, of every split, domain and difficulty as large a part. Datasets list their domains in turn: of
    every third problem, all would be of one.
    """
    if limit is None or len(problems) <= limit:
        return problems
    kinds = [(problem.split or "", problem.domain, problem.difficulty or "") for problem in problems]
    by_kind = sorted(range(len(problems)), key=kinds.__getitem__)
    return [problems[place] for place in sorted(by_kind[index * len(problems) // limit] for index in range(limit))]


class _Samples:
    """The chains of one student, sampled in one way: found in shards, or sampled into new ones. `sampled` and `tokens`
    count the latter, in `seconds`. `_copied` problems have equal chains, of an endpoint that never wrote others.
    """

    def __init__(
        self, student: Student, store: ShardStore[KeptSample], writer: ShardWriter[KeptSample], count: int, seed: int
    ) -> None:
        self.sampled = self.tokens = 0
        self.seconds = 0.0
        self.store, self.index, self.student = store, ShardIndex(store), student
        self.indices = [GREEDY, *range(count)]
        self.seed = seed
        self._writer = writer
        record = student.record
        served = record.endpoint is not None
        self._may_copy = served  # until it is seen to draw
        self._copied = 0
        self.way: dict[str, Any] = {
            "seed": seed,
            "temperature": record.sampling.temperature,
            "max_new_tokens": record.sampling.max_new_tokens,
            # Not the address: a server may move.
            "served_model": record.served_model if served else None,
        }
        # A server writes the samples of a problem together: they belong together.
        self._together = [served, count if served else 0]
        per_batch = max(1, record.sampling.batch_size // len(self.indices))
        self._shard_problems = _ENDPOINT_PROBLEMS if served else min(_SHARD_PROBLEMS, _SHARD_BATCHES * per_batch)

    def freeze(self, problems: Sequence[Problem], progress: Progress) -> tuple[Int64, Int64]:
        """Shard number and place of every chain, both int64 [problems, K + 1], the greedy one first."""
        started = time.monotonic()
        keys = [[self._key(problem.statement, index) for index in self.indices] for problem in problems]
        found = self.index.find([key for row in keys for key in row])
        shards, places = (array.reshape(len(problems), len(self.indices)) for array in found)
        missing = shards < 0
        if self._together[0]:
            missing |= missing.any(axis=1, keepdims=True)
        done = int((~missing.any(axis=1)).sum())
        if done:
            progress(done, len(problems), "found")
        sampler = source_of(self.student) if missing.any() else None
        for rows, columns in _batches(missing, self._shard_problems):
            assert sampler is not None  # there is something to sample
            wanted = [self.indices[column] for column in columns]
            chains = sampler.sample(
                [problems[row].statement for row in rows],
                wanted,
                seed=self.seed,
                progress=_Within(progress, done, len(problems)),
            )
            self._refuse_copies(chains)
            placed = self._write([[keys[row][column] for column in columns] for row in rows], wanted, chains)
            for row in rows:
                for column in columns:
                    shards[row, column], places[row, column] = placed[keys[row][column]]
            self.seconds = time.monotonic() - started
            done += len(rows)
            progress(done, len(problems), f"{self.tokens / self.seconds:.0f} tokens/s")
        return shards, places

    def _refuse_copies(self, sampled: list[list[SampledChain]]) -> None:
        """Raise EndpointError where a server writes copies: some ignore a temperature that their model's own settings
        do not ask for, and what chooses among candidates would choose among one.
        """
        count = len(self.indices) - 1
        if not self._may_copy or count == 1:
            return
        for row in sampled:
            if len({chain.text for chain in row[1:]}) > 1:  # the first is the greedy one
                self._may_copy = False
                return
        self._copied += len(sampled)
        if self._copied >= _COPIED_PROBLEMS:
            # It loads the openai client, which a student's own environment lacks.
            from rjepa.sampling.endpoint import EndpointError

            record = self.student.record
            raise EndpointError(
                f"the endpoint {record.endpoint} of {record.llm_tag} wrote {count} equal chains for "
                f"each of {self._copied} problems at temperature {record.sampling.temperature}: it does not draw them",
                cure='let it sample (transformers serve: "do_sample": true in the model\'s generation_config.json), '
                "or use vLLM, SGLang or llama.cpp",
            )

    def _key(self, statement: str, index: int) -> str:
        return make_key(statement, index, self.way, self._together)

    def _write(
        self, keys: list[list[str]], wanted: list[int], sampled: list[list[SampledChain]]
    ) -> dict[str, tuple[int, int]]:
        """One shard of the chains of some problems. Returns shard number and place of each key."""
        places: dict[str, int] = {}
        latents: list[Float16] = []
        sentences: list[Float16] = []
        first_row = first_sentence = 0
        records = []
        for row, chains in zip(keys, sampled, strict=True):
            told = next((chain.sentences for chain in chains if chain.sentences is not None), None)
            of_prompt = np.empty((0, self.student.width), np.float16) if told is None else told
            for key, index, chain in zip(row, wanted, chains, strict=True):
                if key in places:  # another problem with the same statement
                    continue
                own = chain.latents if index != GREEDY and chain.latents is not None else of_prompt[:0]
                places[key] = len(places)
                records.append(_record(key, chain, own, of_prompt, first_row, first_sentence))
                latents.append(own)
                first_row += len(own)
                self.tokens += len(chain.token_logprobs)
            sentences.append(of_prompt)
            first_sentence += len(of_prompt)
        self.sampled += len(records)
        self._writer.append({"latents": np.concatenate(latents), "sentences": np.concatenate(sentences)}, records)
        number = self.index.add(self._writer.finish())
        return {key: (number, place) for key, place in places.items()}


def _batches(missing: Bools, size: int) -> Iterator[tuple[list[int], list[int]]]:
    """What to sample together: some problems, and the samples that all of them miss (columns).

    Args:
        missing: bool [problems, samples].
        size: problems, at most. `size` neighbours that miss everything are sampled as they are, so that their chains
            are those of every build; what is missing elsewhere is gathered.
    """
    gathered: dict[tuple[int, ...], list[int]] = {}
    for first in range(0, len(missing), size):
        part = missing[first : first + size]
        if part.all():
            yield list(range(first, first + len(part))), list(range(missing.shape[1]))
            continue
        for row in np.flatnonzero(part.any(axis=1)).tolist():
            columns = tuple(np.flatnonzero(part[row]).tolist())
            rows = gathered.setdefault(columns, [])
            rows.append(first + row)
            if len(rows) == size:
                yield gathered.pop(columns), list(columns)
    for columns, rows in gathered.items():
        yield rows, list(columns)


@dataclass(frozen=True)
class _Within:
    """Passes on the progress of a part as progress of the whole."""

    progress: Progress
    before: int
    total: int

    def __call__(self, done: int, total: int, note: str = "") -> None:
        self.progress(self.before + done, self.total, note)


class _Rows:
    """Judges candidates and writes the table of a version, problem by problem. `counts` are of the whole version;
    `shards` are their numbers in the index, each with its number in the version.
    """

    def __init__(self, samples: _Samples, judge: Judge, table: VersionWriter[RolloutManifest]) -> None:
        self.counts = {"tokens": 0, "correct": 0, "unfinished": 0, "broken_checks": 0}
        self._samples, self._judge, self._table = samples, judge, table
        self.shards: dict[int, int] = {}

    def append(self, problems: Sequence[Problem], shards: Int64, places: Int64) -> None:
        """Add the candidates of some problems; `shards` and `places` are int64 [problems, K + 1]."""
        index, indices = self._samples.index, self._samples.indices
        kept = self._samples.store.rows(index.receipts, shards.ravel(), places.ravel())
        owners = [(problem, sample) for problem in problems for sample in indices]
        columns = (kept[name].to_pylist() for name in ("text", "steps", "final_answer", "digest"))
        texts, steps, answers, digests = columns
        problems_of = [problem for problem, _ in owners]
        verdicts = self._judge.verdicts(list(zip(problems_of, texts, steps, answers, strict=True)))
        rows = []
        where = zip(shards.ravel().tolist(), places.ravel().tolist(), strict=True)
        for (problem, sample), verdict, (shard, place) in zip(owners, verdicts, where, strict=True):
            can_tell = problem.answer_gold is not None and verdict.reason not in PROBLEM_FAULTS
            rows.append(
                CandidateRow(
                    problem_id=problem.problem_id,
                    sample_index=sample,
                    is_correct=verdict.is_correct if can_tell else None,
                    is_valid=verdict.is_valid if can_tell else None,
                    first_error_step=verdict.first_error_step,
                    reason=verdict.reason,
                    shard=self.shards.setdefault(shard, len(self.shards)),
                    place=place,
                )
            )
        content = [
            [row.problem_id, row.sample_index, digest, row.is_correct, row.is_valid, row.first_error_step, row.reason]
            for row, digest in zip(rows, digests, strict=True)
        ]
        self._table.append(to_table(CandidateRow, rows), content)
        self._count(rows, kept)

    def publish(self, names: dict[str, Any], made: dict[str, Any]) -> RolloutManifest:
        """Write the manifest. `made` are its inputs and figures."""
        student = self._samples.student
        common = {
            **names,
            **self._samples.way,
            "fingerprint": student.fingerprint,
            "width": student.width,
            "num_candidates": len(self._samples.indices) - 1,
            "segmentation": student.record.segmentation,
        }
        where = {
            **made,
            "shards": [self._samples.index.receipts[number] for number in self.shards],
            "shard_folder": self._samples.store.folder.name,
            "verdict_folder": checkers_folder(student.record.segmentation),
            "verdict_shards": sorted(self._judge.used),
        }
        return self._table.publish(common, where)

    def _count(self, rows: Sequence[CandidateRow], kept: pa.Table) -> None:
        self.counts["tokens"] += sum(len(values) for values in kept["token_logprobs"].to_pylist())
        self.counts["correct"] += sum(row.is_correct is True for row in rows if row.sample_index != GREEDY)
        self.counts["unfinished"] += kept["finished"].to_pylist().count(False)
        self.counts["broken_checks"] += sum(row.reason in PROBLEM_FAULTS for row in rows)


def _record(
    key: str,
    chain: SampledChain,
    latents: Float16,
    sentences: Float16,
    first_row: int,
    first_sentence: int,
) -> KeptSample:
    parsed = parse_chain(chain.text, chain.segmentation)
    numbers = json.dumps([chain.text, chain.finished, chain.token_logprobs, chain.self_certainty])
    return KeptSample(
        key=key,
        text=chain.text,
        steps=parsed.steps,
        final_answer=parsed.final_answer,
        finished=chain.finished,
        token_logprobs=chain.token_logprobs,
        self_certainty=chain.self_certainty,
        segments=len(latents),
        first_row=first_row,
        first_sentence=first_sentence,
        sentences=len(sentences),
        digest=hashlib.sha256(numbers.encode() + latents.tobytes() + sentences.tobytes()).hexdigest()[:KEY_LENGTH],
    )
