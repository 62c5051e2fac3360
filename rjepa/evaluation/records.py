"""An evaluation as a record: which candidates, which R-JEPA, right or wrong problem by problem. Append-only files.

A record is what the gate of `rjepa.releases.gate` compares and what a release shows of itself; it is written once,
under the hash of what it says, and never changed. Figures for people (intervals, curves, plots) are in
`rjepa.evaluation.results`; how methods choose is in `rjepa.evaluation.baselines`.
"""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from rjepa.arrays import Bools, Float64
from rjepa.errors import CorruptError, InvalidInputError
from rjepa.evaluation.baselines import METHOD, Choice, JudgedTable, Variant, choose_by_each, choose_greedily
from rjepa.evaluation.domains import ALL
from rjepa.evaluation.metrics import expected_calibration_error
from rjepa.evaluation.pool import CandidatePool
from rjepa.files import read_json, sha256_json, write_json
from rjepa.home import Home
from rjepa.inference.calibration import ScoreCalibration
from rjepa.inference.voting import of_chosen
from rjepa.parts import Content
from rjepa.schemas import Split
from rjepa.values import FrozenValue

BASELINES: Final = ("greedy", "majority", "logprob_length", "logprob_length_vote", "oracle")
"""What stands beside the served choice in a record: the ways of choosing that need no R-JEPA, and the ceiling."""

FORMAT: Final = 2
"""Version of a record's JSON. A file of an earlier version is not read: its evaluation is made again."""

_NAME_DIGITS: Final = 16
"""Hex digits of a hash in a file name: 64 bits do not collide among any number of evaluations of one student."""

_DIGITS: Final = 4
"""Decimals to which a record keeps each P(correct): a hundredth of a percent is closer than any of them is known, and
short numbers keep the file small."""

Outcomes = Annotated[str, Field(pattern=r"^[01]+$")]
"""One character a problem, 1 where the chosen answer is right."""


class CandidateSet(FrozenValue):
    """The frozen candidates that were chosen among. Equal hashes are the same chains with the same verdicts."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="over problems, chains, verdicts and the student")
    dataset: str
    split: Split
    student_fingerprint: str
    num_candidates: int = Field(ge=1, description="K")
    seed: int
    temperature: float


class EvaluationRecord(FrozenValue):
    """One R-JEPA on one set of candidates."""

    format: Literal[2] = FORMAT
    llm_tag: str
    content: str = Field(pattern=r"^[0-9a-f]{64}$", description="content id of the release or checkpoint judged")
    trained_on: str = Field(description="dataset version that its parts come from")
    candidates: CandidateSet
    problem_ids: tuple[str, ...] = Field(min_length=1)
    domains: tuple[str, ...] = Field(description="of each problem")
    served: Outcomes = Field(description="what mode rerank answers")
    baselines: dict[str, Outcomes] = Field(description="other ways of choosing among the same candidates, by method")
    p_correct: tuple[Annotated[float, Field(ge=0, le=1)] | None, ...] = Field(
        description="P(correct) of what is served, as it is told; None where the problem is of a kind it does not know"
    )
    right_candidates: tuple[int, ...] = Field(description="of each problem, 0 to K")
    tokens: dict[str, float] = Field(description="generated a problem, mean, by method; `served` for the served one")
    ece: float = Field(description="of P(correct) of the answers chosen with R-JEPA, 10 bins of equal width")
    unjudged_problems: int = Field(0, description="left out: no gold answer")
    unfamiliar_problems: int = Field(0, description="of a kind that R-JEPA does not know: served without it")
    created_at: datetime = Field(description="not part of the record's hash")

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        lengths = {len(self.problem_ids), len(self.domains), len(self.served), len(self.right_candidates)}
        lengths.add(len(self.p_correct))
        lengths |= {len(outcomes) for outcomes in self.baselines.values()}
        if len(lengths) > 1:
            raise ValueError(f"every problem needs one outcome a method, found lengths {sorted(lengths)}")
        return self

    @property
    def sha256(self) -> str:
        """Hash of all but the time: judging the same again gives the same record."""
        return sha256_json(self.model_dump(mode="json", exclude={"created_at"}))

    @property
    def num_problems(self) -> int:
        return len(self.problem_ids)

    @property
    def right(self) -> Bools:
        """Whether the served answer is right, bool `[problems]`."""
        return _as_array(self.served)

    @property
    def chances(self) -> Float64:
        """P(correct) of the served answers, float64 `[problems]`; NaN where the answer was given without one."""
        return np.array([np.nan if chance is None else chance for chance in self.p_correct], dtype=np.float64)

    @property
    def accuracy(self) -> float:
        """Of the served answers, a share."""
        return float(self.right.mean())

    def domain_names(self) -> list[str]:
        """The domains there are, sorted."""
        return sorted(set(self.domains))

    def in_domain(self, domain: str) -> Bools:
        """Which problems are of a domain, all of them for "all", bool `[problems]`."""
        return np.array([domain in (ALL, name) for name in self.domains], dtype=bool)

    def accuracy_by_domain(self) -> dict[str, float]:
        """Accuracy of the served answers in each domain."""
        return {name: float(self.right[self.in_domain(name)].mean()) for name in self.domain_names()}

    def accuracy_by_method(self) -> dict[str, float]:
        """Accuracy of one sample, every baseline and the served choice."""
        one_sample = sum(self.right_candidates) / (self.candidates.num_candidates * self.num_problems)
        shares = {name: float(_as_array(outcomes).mean()) for name, outcomes in self.baselines.items()}
        return {"mean_at_1": one_sample} | shares | {"served": self.accuracy}


def describe_candidates(
    pool: CandidatePool, *, dataset: str, split: Split, fingerprint: str, seed: int, temperature: float
) -> CandidateSet:
    """Name the judged candidates of a pool by their content.

    The hash is over every judged problem with its gold answer, and over each chain's text, log-probabilities and
    verdict: sampling again, more candidates, other problems or another student give another one; the dataset's name and
    where the candidates are stored do not.
    """
    judged = pool.judged()
    digest = hashlib.sha256(f"{fingerprint}\n".encode())
    for problem, greedy, row in zip(judged.problems, judged.greedy, judged.candidates, strict=True):
        digest.update(repr((problem.problem_id, problem.domain, problem.statement, problem.answer_gold)).encode())
        for chain in (greedy, *row):
            facts = (chain.sample_index, chain.text, chain.final_answer, chain.is_correct, chain.self_certainty)
            digest.update(repr(facts).encode())
            digest.update(np.asarray(chain.token_logprobs, dtype=np.float64).tobytes())
    return CandidateSet(
        sha256=digest.hexdigest(),
        dataset=dataset,
        split=split,
        student_fingerprint=fingerprint,
        num_candidates=pool.num_candidates,
        seed=seed,
        temperature=temperature,
    )


def make_record(
    content: Content, candidates: CandidateSet, pool: CandidatePool, calibration: ScoreCalibration
) -> EvaluationRecord:
    """Judge what an R-JEPA serves on a pool of test problems, problem by problem.

    Args:
        candidates: `describe_candidates` of this pool.
        pool: test problems with the energies of the R-JEPA that is judged.
        calibration: the one that belongs to it.

    Raises:
        InvalidInputError: no problem has a gold answer.
    """
    judged = pool.judged()
    if not len(judged):
        raise InvalidInputError(
            f"none of the {len(pool)} problems has a gold answer, so nothing can be judged",
            cure="evaluate a data set with answers",
        )
    variant = Variant(METHOD["rjepa"], JudgedTable.of(judged), calibration)
    choices = {"greedy": choose_greedily(judged), **choose_by_each(variant.table, calibration)}
    served, selected = choices[variant.served.key], choices[variant.selected]
    chances = calibration.p_correct(variant.table)
    told = of_chosen(calibration.decide(variant.table).p_correct, served.indices)
    tokens = {name: choices[name] for name in ("mean_at_1", *BASELINES)} | {"served": served}
    return EvaluationRecord(
        llm_tag=content.llm_tag,
        content=content.sha256,
        trained_on=content.dataset,
        candidates=candidates,
        problem_ids=tuple(problem.problem_id for problem in judged.problems),
        domains=tuple(problem.domain for problem in judged.problems),
        served=_as_text(served),
        baselines={name: _as_text(choices[name]) for name in BASELINES},
        p_correct=tuple(None if np.isnan(chance) else round(float(chance), _DIGITS) for chance in told),
        right_candidates=tuple(int(count) for count in variant.table.correct.sum(axis=1)),
        tokens={name: float(choice.tokens.mean()) for name, choice in tokens.items()},
        ece=expected_calibration_error(of_chosen(chances, selected.indices), selected.correct > 0.5),
        unjudged_problems=len(pool) - len(judged),
        unfamiliar_problems=int((~calibration.is_familiar(variant.table.features)).sum()),
        created_at=datetime.now(UTC),
    )


def write_record(home: Home, record: EvaluationRecord) -> Path:
    """Write a record beside the others of what it judged, once: an equal one that is there already stays."""
    path = _folder(home, record.llm_tag, record.content) / f"{record.sha256[:_NAME_DIGITS]}.json"
    if not path.exists():
        write_json(path, record.model_dump(mode="json"))
    return path


def list_records(home: Home, llm_tag: str, content: str) -> list[EvaluationRecord]:
    """Every record of a release or checkpoint, oldest first.

    Raises:
        CorruptError: a file is not the record that its name says.
    """
    folder = _folder(home, llm_tag, content)
    read = [_read(path) for path in sorted(folder.glob("*.json"))] if folder.is_dir() else []
    found = [record for record in read if record is not None and record.content == content]
    return sorted(found, key=lambda record: record.created_at)


def newest_record(home: Home, llm_tag: str, content: str, dataset: str) -> EvaluationRecord | None:
    """The newest record of a release or checkpoint on a dataset (any candidates); None where there is none."""
    found = [record for record in list_records(home, llm_tag, content) if record.candidates.dataset == dataset]
    return found[-1] if found else None


def find_record(home: Home, llm_tag: str, content: str, candidates: CandidateSet) -> EvaluationRecord | None:
    """The record of a release or checkpoint on these very candidates; None where there is none yet."""
    return next(
        (record for record in list_records(home, llm_tag, content) if record.candidates.sha256 == candidates.sha256),
        None,
    )


def _folder(home: Home, llm_tag: str, content: str) -> Path:
    return home.evaluations(llm_tag) / content[:_NAME_DIGITS]


def _read(path: Path) -> EvaluationRecord | None:
    """The record in a file; None where it is of an earlier format."""
    cure = f"delete {path}: what it held is measured again where it is needed"
    value = read_json(path)
    if value.get("format") in range(1, FORMAT):
        return None
    try:
        record = EvaluationRecord.model_validate(value)
    except ValidationError as error:
        raise CorruptError(f"{path} is not an evaluation record ({error.error_count()} errors)", cure=cure) from error
    if record.sha256[:_NAME_DIGITS] != path.stem:
        raise CorruptError(f"{path} was changed after it was written: its hash is {record.sha256[:16]}", cure=cure)
    return record


def _as_text(choice: Choice) -> str:
    return "".join("1" if right > 0.5 else "0" for right in choice.correct)


def _as_array(outcomes: str) -> Bools:
    return np.asarray(np.frombuffer(outcomes.encode(), dtype=np.uint8) == ord("1"), dtype=bool)
