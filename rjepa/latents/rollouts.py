"""Frozen candidates: K chains a problem sampled by a student, the greedy one, verdicts and latents.

Sampled once and shared by every method that chooses among them. In a room of their own lie those of training problems,
which labels are learnt from. How shards lie on disk is `rjepa.latents.store`.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rjepa.chains import Segmentation, parse_chain, segment_spans
from rjepa.datasets.reading import load_problems
from rjepa.errors import CorruptError, InvalidInputError
from rjepa.files import sha256_json
from rjepa.home import Home
from rjepa.latents.sets import LatentSet, Prompts
from rjepa.latents.shards import first_error_segment
from rjepa.latents.store import MANIFEST, ShardStore, map_tensors
from rjepa.latents.texts import Texts
from rjepa.progress import Progress, silent
from rjepa.sampling.opening import source_of
from rjepa.sampling.protocol import ChainSource
from rjepa.schemas import Candidate, Problem, Split
from rjepa.stages import StageReport
from rjepa.step_types import chain_types
from rjepa.students.loading import Student
from rjepa.students.sampled import GREEDY, SampledChain
from rjepa.tables import read_records
from rjepa.validation.judge import judge

Room = Literal["rollouts", "train_rollouts"]
"""Candidates to choose from (validation, test), or to learn labels from (train). Each asset has a folder of its own."""

SPLITS: dict[Room, tuple[Split, ...]] = {"rollouts": ("validation", "test"), "train_rollouts": ("train",)}
"""Whose problems are sampled for."""

_FORMAT = 2
"""Version of what a shard holds: it enters every key, so that a change makes shards anew."""

SHARD_PROBLEMS = 100
"""Problems a shard: with K = 8 about nine hundred chains, some seconds of a small student's time."""


@dataclass(frozen=True)
class Rollouts:
    """P problems, K candidates each. Chain `i` of `latents` is sample `i % K` of problem `i // K`; its chain id is
    `problem_id#sample_index`. Chains without any text have the prompt's row alone.
    """

    problems: list[Problem]
    candidates: list[list[Candidate]]
    greedy: list[Candidate]
    latents: LatentSet
    seed: int
    temperature: float
    fingerprint: str

    @property
    def num_candidates(self) -> int:
        """K."""
        return len(self.candidates[0]) if self.candidates else 0

    def split(self, name: Split) -> "Rollouts":
        """The problems of one split with all that belongs to them."""
        chosen = [index for index, problem in enumerate(self.problems) if problem.split == name]
        samples = np.arange(self.num_candidates)
        return Rollouts(
            problems=[self.problems[index] for index in chosen],
            candidates=[self.candidates[index] for index in chosen],
            greedy=[self.greedy[index] for index in chosen],
            latents=self.latents.select((np.array(chosen, dtype=int)[:, None] * len(samples) + samples).ravel()),
            seed=self.seed,
            temperature=self.temperature,
            fingerprint=self.fingerprint,
        )

    def regime(self) -> dict[str, dict[str, float]]:
        """Whether choosing among the candidates can show anything, per domain, over problems with a gold answer.

        problems: their number. mean_at_1: share of right answers. pass_at_k: share of problems with one. mixed_share:
        share of problems with a right and a wrong one. right_with_wrong_step: share of the right answers whose chain
        contains a wrong step.
        """
        figures: dict[str, dict[str, float]] = {}
        for domain in sorted({problem.domain for problem in self.problems}):
            rows = [
                row
                for problem, row in zip(self.problems, self.candidates, strict=True)
                if problem.domain == domain and row[0].is_correct is not None
            ]
            if not rows:
                continue
            correct = np.array([[bool(candidate.is_correct) for candidate in row] for row in rows])
            right = [candidate for row in rows for candidate in row if candidate.is_correct]
            flawed = sum(candidate.is_valid is False for candidate in right)
            figures[domain] = {
                "problems": float(len(rows)),
                "mean_at_1": float(correct.mean()),
                "pass_at_k": float(correct.any(axis=1).mean()),
                "mixed_share": float((correct.any(axis=1) & ~correct.all(axis=1)).mean()),
                "right_with_wrong_step": flawed / len(right) if right else 0.0,
            }
        return figures


def build_rollouts(
    home: Home,
    student: Student,
    dataset: str,
    *,
    num_candidates: int,
    seed: int,
    room: Room = "rollouts",
    splits: Sequence[Split] | None = None,
    most: int | None = None,
    shard_size: int = SHARD_PROBLEMS,
    progress: Progress = silent,
) -> StageReport:
    """Sample `num_candidates` chains and the greedy one for every problem of these splits, judge and freeze them.

    The student's own model writes the chains, or the server at its record's endpoint.

    Shards that are whole already are left as they are: temperature, token limit, seed and problems are in their keys.

    Args:
        splits: None for those of the room.
        most: of more problems than this, only so many are sampled for, evenly spread. None: all.

    Raises:
        InvalidInputError: there are no problems in these splits, or one has a prompt beyond the student's context.
        EndpointError: the student's endpoint does not answer.
    """
    if num_candidates < 1 or shard_size < 1:
        raise ValueError(f"expected at least one candidate and problem a shard, got {num_candidates}, {shard_size}")
    splits = splits or SPLITS[room]
    problems = _spread([problem for problem in load_problems(home, dataset) if problem.split in splits], most)
    if not problems:
        raise InvalidInputError(
            f"dataset {dataset} has no problems in {', '.join(splits)}",
            cure="choose a dataset with problems in these splits, or give its recipe some",
        )
    store = _store(home, student.record.llm_tag, dataset, room)
    store.clean()
    sampler = source_of(student)
    identity = _identity(student, dataset, num_candidates, seed)
    receipts, reused, sampled, started = [], 0, 0, time.monotonic()
    for number, first in enumerate(range(0, len(problems), shard_size)):
        part = problems[first : first + shard_size]
        key = sha256_json([_FORMAT, identity, [[p.problem_id, p.statement, p.answer_gold, p.meta] for p in part]])
        receipt = store.finished(number, key)
        if receipt is None:
            receipt = _write_shard(store, sampler, number, key, part, num_candidates, seed)
            sampled += receipt["counts"]["tokens"]
        else:
            reused += 1
        receipts.append(receipt)
        rate = sampled / (time.monotonic() - started)
        progress(first + len(part), len(problems), f"{rate:.0f} tokens/s" if sampled else "found")
    seconds = time.monotonic() - started
    manifest = store.publish(identity | {"splits": list(splits)}, receipts)
    counts = {name: sum(receipt["counts"][name] for receipt in receipts) for name in receipts[0]["counts"]}
    return StageReport(
        manifest["data_version"],
        {
            "problems": len(problems),
            "candidates_a_problem": num_candidates,
            **counts,
            "shards": len(receipts),
            "shards_reused": reused,
            "tokens_per_second": round(sampled / seconds) if sampled else 0,
        },
    )


def open_rollouts(
    home: Home,
    llm_tag: str,
    dataset: str,
    *,
    room: Room = "rollouts",
    fingerprint: str | None = None,
    verify: bool = True,
) -> Rollouts:
    """The frozen candidates of a student on a dataset.

    Raises:
        NotFoundError: they are not made yet.
        CorruptError: a shard's bytes do not match its hash, or its problems are not in the dataset.
        InvalidInputError: another student than `fingerprint`'s made them.
    """
    store = _store(home, llm_tag, dataset, room)
    manifest = store.manifest(fingerprint)
    if verify:
        store.verify(manifest)
    known = {problem.problem_id: problem for problem in load_problems(home, dataset)}
    rows = [row for path in store.paths(manifest, "parquet") for row in read_records(path, Candidate)]
    missing = {row.problem_id for row in rows} - known.keys()
    if missing:
        raise CorruptError(
            f"{store.what} hold {len(missing)} problems that the dataset does not", cure=f"{store.cure} again"
        )
    stride = manifest["num_candidates"] + 1
    groups = [rows[first : first + stride] for first in range(0, len(rows), stride)]
    segments = [map_tensors(path)["segments"] for path in store.paths(manifest, "safetensors")]
    problems = [known[group[0].problem_id] for group in groups]
    candidates = [group[1:] for group in groups]
    return Rollouts(
        problems=problems,
        candidates=candidates,
        greedy=[group[0] for group in groups],
        latents=_latent_set(
            store.latents(manifest),
            np.concatenate(segments),
            store.prompts(manifest),
            problems,
            candidates,
            manifest.get("segmentation", "guided"),
        ),
        seed=manifest["seed"],
        temperature=manifest["temperature"],
        fingerprint=manifest["fingerprint"],
    )


def find_train_rollouts(home: Home, llm_tag: str, dataset: str) -> Rollouts | None:
    """The student's chains for training problems; None where it has answered none (errors as `open_rollouts`)."""
    if not (home.train_rollouts(llm_tag, dataset) / MANIFEST).exists():
        return None
    return open_rollouts(home, llm_tag, dataset, room="train_rollouts")


def _spread(problems: list[Problem], most: int | None) -> list[Problem]:
    if most is None or len(problems) <= most:
        return problems
    return [problems[index * len(problems) // most] for index in range(most)]


def _store(home: Home, llm_tag: str, dataset: str, room: Room) -> ShardStore[Candidate]:
    folders = {"rollouts": home.rollouts, "train_rollouts": home.train_rollouts}
    return ShardStore(
        folders[room](llm_tag, dataset),
        Candidate,
        f"{room} of {dataset} by {llm_tag}",
        f"materialise the asset {room} for {dataset}|{llm_tag}",
    )


def _identity(student: Student, dataset: str, num_candidates: int, seed: int) -> dict[str, Any]:
    sampling, segmentation = student.record.sampling, student.record.segmentation
    served = student.record.endpoint is not None
    # The default goes unnamed, so that what was made before there were modes keeps its version.
    return ({} if segmentation == "guided" else {"segmentation": segmentation}) | {
        "llm_tag": student.record.llm_tag,
        "dataset": dataset,
        "fingerprint": student.fingerprint,
        "width": student.width,
        "num_candidates": num_candidates,
        "seed": seed,
        "temperature": sampling.temperature,
        "max_new_tokens": sampling.max_new_tokens,
        # Not the address: a server may move. Without an endpoint nothing is added, and older shards keep their keys.
        **({"served_model": student.record.served_model} if served else {}),
    }


def _write_shard(
    store: ShardStore[Candidate],
    sampler: ChainSource,
    number: int,
    key: str,
    problems: list[Problem],
    num_candidates: int,
    seed: int,
) -> dict[str, Any]:
    indices = [GREEDY, *range(num_candidates)]
    sampled = sampler.sample([problem.statement for problem in problems], indices, seed=seed)
    records = [
        judged_candidate(problem, index, chain)
        for problem, chains in zip(problems, sampled, strict=True)
        for index, chain in zip(indices, chains, strict=True)
    ]
    latents = [chain.latents for chains in sampled for chain in chains[1:] if chain.latents is not None]
    sentences = [chains[0].sentences for chains in sampled if chains[0].sentences is not None]
    tensors = {
        "sentences": np.concatenate(sentences),
        "sentence_counts": np.array([len(rows) for rows in sentences], dtype=np.int64),
        "latents": np.concatenate(latents),
        "segments": np.array([len(rows) for rows in latents], dtype=np.int64),
    }
    counts = {
        "tokens": sum(len(record.token_logprobs) for record in records),
        "correct": sum(record.is_correct is True for record in records if record.sample_index != GREEDY),
        "unfinished": sum(not record.finished for record in records),
    }
    return store.write(number, key, tensors, records, counts)


def judged_candidate(problem: Problem, sample_index: int, chain: SampledChain) -> Candidate:
    """A sampled chain with its verdict. Without a gold answer (and no checker of its own) it has none."""
    parsed = parse_chain(chain.text, chain.segmentation)
    verdict = judge(problem, parsed.steps, parsed.final_answer)
    can_tell = problem.answer_gold is not None
    return Candidate(
        problem_id=problem.problem_id,
        sample_index=sample_index,
        text=chain.text,
        steps=parsed.steps,
        final_answer=parsed.final_answer,
        finished=chain.finished,
        token_logprobs=chain.token_logprobs,
        self_certainty=chain.self_certainty,
        is_correct=verdict.is_correct if can_tell else None,
        is_valid=verdict.is_valid if can_tell else None,
        first_error_step=verdict.first_error_step,
        reason=verdict.reason,
    )


def _latent_set(
    latents: npt.NDArray[np.float16],
    segments: npt.NDArray[np.int64],
    prompts: Prompts | None,
    problems: list[Problem],
    candidates: list[list[Candidate]],
    segmentation: Segmentation,
) -> LatentSet:
    names = tuple(sorted({problem.domain for problem in problems}))
    pairs = [(problem, candidate) for problem, row in zip(problems, candidates, strict=True) for candidate in row]
    return LatentSet(
        latents=latents,
        offsets=np.concatenate([[0], np.cumsum(segments)]).astype(np.int64),
        domains=np.array([names.index(problem.domain) for problem, _ in pairs], dtype=np.int64),
        domain_names=names,
        first_error=np.array(
            [
                _first_error(candidate, int(count), segmentation)
                for (_, candidate), count in zip(pairs, segments, strict=True)
            ],
            dtype=np.int64,
        ),
        problem_ids=Texts.of([problem.problem_id for problem, _ in pairs]),
        chain_ids=Texts.of([f"{problem.problem_id}#{candidate.sample_index}" for problem, candidate in pairs]),
        splits=Texts.of([problem.split or "test" for problem, _ in pairs]),
        prompts=prompts,
        prompt_of=None if prompts is None else np.repeat(np.arange(len(problems)), [len(row) for row in candidates]),
        types=chain_types((candidate.text for _, candidate in pairs), segments, segmentation),
    )


def _first_error(candidate: Candidate, segments: int, segmentation: Segmentation) -> int:
    """Segment of a candidate's first error; -1 where none is known. Empty steps are segments but not steps."""
    if candidate.is_valid is not False:
        return -1
    step = candidate.first_error_step
    if step is None or segments - 1 == len(candidate.steps) + (candidate.final_answer is not None):
        return first_error_segment(False, step, segments)
    spans = segment_spans(candidate.text, segmentation)
    of_step = [index for index, (start, end) in enumerate(spans) if parse_chain(candidate.text[start:end]).steps]
    return first_error_segment(False, of_step[step] if step < len(of_step) else None, segments)
