"""Frozen candidates of a dataset version: K chains a problem sampled by a student, the greedy one, verdicts, latents.

Sampled once and shared by every method that chooses among them, and by every version that has the problem. Apart from
them are those of training problems, which labels are learnt from. How they are made is `rjepa.latents.freezing`, who
judges them `rjepa.latents.verdicts`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from rjepa.arrays import Float16, Int64
from rjepa.chains import Segmentation, read_segments
from rjepa.datasets.reading import load_problems, stage_paths
from rjepa.datasets.stages import PROBLEMS
from rjepa.errors import CorruptError
from rjepa.files import sha256_file, sha256_json
from rjepa.home import Home
from rjepa.latents.joining import Runs, join_rows
from rjepa.latents.sets import LatentSet, Prompts
from rjepa.latents.shards import first_error_segment
from rjepa.latents.store import KEY_LENGTH, KeptRow, ShardStore
from rjepa.latents.texts import Texts
from rjepa.latents.verdicts import checkers_folder
from rjepa.latents.versions import Version, VersionManifest
from rjepa.schemas import Candidate, Problem, Split
from rjepa.stages import StageReport
from rjepa.step_types import chain_types
from rjepa.students.catalog import StudentRecord

RolloutAsset = Literal["rollouts", "train_rollouts"]
"""Candidates to choose from (validation, test), or to learn labels from (train). Each asset has a folder of its own."""

SPLITS: Final[dict[RolloutAsset, tuple[Split, ...]]] = {
    "rollouts": ("validation", "test"),
    "train_rollouts": ("train",),
}
"""Whose problems are sampled for."""

_FORMAT: Final = 3
"""Version of what a shard holds: it enters the name of the shards' folder, so that a change samples anew."""


class KeptSample(KeptRow):
    """A sampled chain in a shard, before anybody judges it. Its key hashes its problem's statement, its sample index
    and how it was sampled. The greedy chain has no latents.
    """

    text: str
    steps: list[str]
    final_answer: str | None
    finished: bool
    token_logprobs: list[float]
    self_certainty: float
    segments: int = Field(description="rows in `latents`, the prompt included; 0 for the greedy chain")
    first_row: int = Field(description="the first of them")
    first_sentence: int = Field(description="first row in `sentences` of its problem")
    sentences: int = Field(description="how many sentences its problem has")
    digest: str = Field(description="hash of its text, its numbers and its rows")


class CandidateRow(BaseModel):
    """A candidate of a version: its verdict, and where it lies. Text and log-probabilities are in its shard."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    problem_id: str
    sample_index: int
    is_correct: bool | None
    is_valid: bool | None
    first_error_step: int | None
    reason: str
    shard: int = Field(description="index of its shard in the manifest")
    place: int = Field(description="its row in the shard's table")


class RolloutManifest(VersionManifest):
    """How all candidates of a version were sampled and judged."""

    splits: tuple[Split, ...]
    num_candidates: int
    seed: int
    temperature: float
    max_new_tokens: int
    served_model: str | None = Field(description="the endpoint's name of the model; None where the student sampled")
    segmentation: Segmentation
    verdict_folder: str
    verdict_shards: tuple[str, ...] = Field(description="ids of the shards that the verdicts are kept in")


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
        return self.select([index for index, problem in enumerate(self.problems) if problem.split == name])

    def select(self, chosen: Sequence[int]) -> "Rollouts":
        """The problems at these indices with all that belongs to them."""
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
                if problem.domain == domain and all(candidate.is_correct is not None for candidate in row)
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


def open_rollouts(
    home: Home,
    llm_tag: str,
    dataset: str,
    *,
    asset: RolloutAsset = "rollouts",
    fingerprint: str | None = None,
    verify: bool = True,
) -> Rollouts:
    """The frozen candidates of a student on a dataset.

    Raises:
        NotFoundError: they are not made yet.
        CorruptError: the bytes of a file do not match their hash, or its problems are not in the dataset.
        InvalidInputError: another student than `fingerprint`'s made them.
    """
    version = rollout_version(home, llm_tag, dataset, asset)
    manifest = version.manifest(fingerprint)
    store = sample_store(home, llm_tag, manifest.shard_folder)
    if verify:
        version.verify_table(manifest)
        for receipt in manifest.shards:
            store.verify(receipt)
    table = pq.read_table(version.table(manifest))
    shards = table["shard"].to_numpy()
    kept = store.rows(manifest.shards, shards, table["place"].to_numpy())
    known = {problem.problem_id: problem for problem in load_problems(home, dataset)}
    rows = _candidates(table, kept)
    if missing := {row.problem_id for row in rows} - known.keys():
        raise CorruptError(
            f"{version.what} hold {len(missing)} problems that the dataset does not", cure=f"{version.cure} again"
        )
    stride = manifest.num_candidates + 1
    groups = [rows[first : first + stride] for first in range(0, len(rows), stride)]
    problems = [known[group[0].problem_id] for group in groups]
    candidates = [group[1:] for group in groups]
    sampled, first = table["sample_index"].to_numpy() >= 0, np.arange(0, len(rows), stride)
    segments, counts = kept["segments"].to_numpy(), kept["sentences"].to_numpy()
    runs, sentence_runs = Runs(), Runs()
    runs.add(shards[sampled], kept["first_row"].to_numpy()[sampled], segments[sampled])
    sentence_runs.add(shards[first], kept["first_sentence"].to_numpy()[first], counts[first])
    empty = np.empty((0, manifest.width), dtype=np.float16)
    return Rollouts(
        problems=problems,
        candidates=candidates,
        greedy=[group[0] for group in groups],
        latents=_latent_set(
            join_rows(store, manifest.shards, "latents", runs, empty),
            segments[sampled],
            Prompts.of(join_rows(store, manifest.shards, "sentences", sentence_runs, empty), counts[first]),
            problems,
            candidates,
            manifest.segmentation,
        ),
        seed=manifest.seed,
        temperature=manifest.temperature,
        fingerprint=manifest.fingerprint,
    )


@dataclass(frozen=True)
class RolloutRequest:
    """What is to be sampled on a dataset version. `splits` of None are those of the asset; of more problems than
    `max_problems`, so many are chosen, evenly spread.
    """

    dataset: str
    num_candidates: int
    seed: int
    asset: RolloutAsset = "rollouts"
    splits: tuple[Split, ...] | None = None
    max_problems: int | None = None

    @property
    def chosen_splits(self) -> tuple[Split, ...]:
        """Whose problems are sampled for."""
        return self.splits or SPLITS[self.asset]

    def inputs(self, home: Home, record: StudentRecord, fingerprint: str) -> str:
        """A hash of all that these rollouts are made from."""
        files = [sha256_file(path) for path in stage_paths(home, self.dataset, PROBLEMS)]
        served = record.served_model if record.endpoint is not None else None
        limits = [record.sampling.temperature, record.sampling.max_new_tokens, self.max_problems]
        folders = [sample_folder(fingerprint), checkers_folder(record.segmentation)]
        return sha256_json([folders, served, limits, self.num_candidates, self.seed, self.chosen_splits, files])


def find_rollouts(home: Home, record: StudentRecord, fingerprint: str, request: RolloutRequest) -> StageReport | None:
    """What a build of these rollouts would report, if nothing has changed since the last one and all of it is whole.
    Reads bytes, and not the student. None: they have to be built.

    Raises:
        NotFoundError: the dataset is not made yet.
    """
    version = rollout_version(home, record.llm_tag, request.dataset, request.asset)
    manifest = version.find(request.inputs(home, record, fingerprint))
    if manifest is None:
        return None
    store = sample_store(home, record.llm_tag, manifest.shard_folder)
    if not all(store.is_whole(receipt) for receipt in manifest.shards):
        return None
    count = int(manifest.figures["chains_found"]) + int(manifest.figures["chains_sampled"])
    nothing = {"chains_found": count, "chains_sampled": 0, "chains_judged": 0, "tokens_per_second": 0}
    return StageReport(manifest.data_version, {**manifest.figures, **nothing})


def find_train_rollouts(home: Home, llm_tag: str, dataset: str) -> Rollouts | None:
    """The student's chains for training problems; None where it has answered none (errors as `open_rollouts`)."""
    if not rollout_version(home, llm_tag, dataset, "train_rollouts").is_made:
        return None
    return open_rollouts(home, llm_tag, dataset, asset="train_rollouts")


def rollout_version(home: Home, llm_tag: str, dataset: str, asset: RolloutAsset) -> Version[RolloutManifest]:
    """The files of one version's candidates."""
    folders = {"rollouts": home.rollouts, "train_rollouts": home.train_rollouts}
    return Version(
        folders[asset](llm_tag, dataset),
        RolloutManifest,
        CandidateRow,
        f"{asset} of {dataset} by {llm_tag}",
        f"materialise the asset {asset} for {dataset}|{llm_tag}",
    )


def sample_store(home: Home, llm_tag: str, shard_folder: str) -> ShardStore[KeptSample]:
    """The shards of what one student sampled, for both assets. `shard_folder`: of `sample_folder`, or a manifest's."""
    return ShardStore(
        home.shards("rollouts", llm_tag) / shard_folder,
        KeptSample,
        f"rollouts of {llm_tag}",
        f"materialise the asset rollouts of {llm_tag}",
    )


def sample_folder(fingerprint: str) -> str:
    """Name of the folder of a student's shards."""
    return sha256_json([_FORMAT, fingerprint])[:KEY_LENGTH]


def _candidates(table: pa.Table, kept: pa.Table) -> list[Candidate]:
    """Candidates from the rows of a version and, in the same order, what their shards keep of them."""
    of_version = ("problem_id", "sample_index", "is_correct", "is_valid", "first_error_step", "reason")
    of_shard = ("text", "steps", "final_answer", "finished", "token_logprobs", "self_certainty")
    rows = zip(table.select(of_version).to_pylist(), kept.select(of_shard).to_pylist(), strict=True)
    return [Candidate.model_validate(one | two) for one, two in rows]


def _latent_set(
    latents: Float16,
    segments: Int64,
    prompts: Prompts,
    problems: Sequence[Problem],
    candidates: Sequence[Sequence[Candidate]],
    segmentation: Segmentation,
) -> LatentSet:
    names = tuple(sorted({problem.domain for problem in problems}))
    flat = [(problem, candidate) for problem, row in zip(problems, candidates, strict=True) for candidate in row]
    return LatentSet(
        latents=latents,
        offsets=np.concatenate([[0], np.cumsum(segments)]).astype(np.int64),
        domains=np.array([names.index(problem.domain) for problem, _ in flat], dtype=np.int64),
        domain_names=names,
        first_error=np.array(
            [
                _first_error(candidate, int(count), segmentation)
                for (_, candidate), count in zip(flat, segments, strict=True)
            ],
            dtype=np.int64,
        ),
        problem_ids=Texts.of([problem.problem_id for problem, _ in flat]),
        chain_ids=Texts.of([f"{problem.problem_id}#{candidate.sample_index}" for problem, candidate in flat]),
        splits=Texts.of([problem.split or "test" for problem, _ in flat]),
        prompts=prompts,
        prompt_of=np.repeat(np.arange(len(problems)), [len(row) for row in candidates]),
        types=chain_types((candidate.text for _, candidate in flat), segments, segmentation),
    )


def _first_error(candidate: Candidate, segments: int, segmentation: Segmentation) -> int:
    """Segment of a candidate's first error; -1 where none is known. Empty steps are segments but not steps."""
    if candidate.is_valid is not False:
        return -1
    step = candidate.first_error_step
    if step is None or segments - 1 == len(candidate.steps) + (candidate.final_answer is not None):
        return first_error_segment(False, step, segments)
    read = read_segments(candidate.text, segmentation)
    of_step = [index for index, segment in enumerate(read) if segment.text and not segment.is_answer]
    return first_error_segment(False, of_step[step] if step < len(of_step) else None, segments)
