"""The four stages of a dataset: problems, teacher chains, validated chains, release.

Each reads what the one before wrote, is deterministic in the recipe, and may be killed and run again at any point.
Where records come from lives in `sources`, how files are kept in `stages`, what a release says in `manifest`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from rjepa.datasets.agreeing import agreements, judged_by_agreement
from rjepa.datasets.growing import draw, drawn_warnings, known_statements, parent_manifest, removed_ids, take_over
from rjepa.datasets.manifest import build_manifest
from rjepa.datasets.novelty import Novel, select_new
from rjepa.datasets.parts import MANIFEST, Part
from rjepa.datasets.recipe import DatasetRecipe
from rjepa.datasets.sources import corrupted_chain, rejected_chains
from rjepa.datasets.splits import SPLITS, check_leaks, interleave
from rjepa.datasets.stages import (
    PROBLEMS,
    STAGES,
    TEACHER_CHAINS,
    VALIDATED_CHAINS,
    Stage,
    data_version,
    released_manifest,
    released_report,
    store,
    stored_report,
)
from rjepa.datasets.teaching import taught_chains
from rjepa.errors import CorruptError
from rjepa.files import read_json, sha256_file, write_json
from rjepa.home import Home
from rjepa.problems.importing import UNKNOWN_LICENCE
from rjepa.progress import Progress, silent
from rjepa.schemas import ChainOfThought, Problem
from rjepa.stages import StageReport
from rjepa.tables import Record, read_records
from rjepa.validation.judge import judged

NEAR_REPORT = "near_duplicates.json"
"""Beside the problems: every near-duplicate that was left out, what it is like, and how like."""
_PROGRESS_INTERVAL = 500


def build_problems(home: Home, recipe: DatasetRecipe, progress: Progress = silent) -> StageReport:
    """Write problems.parquet: distinct problems, each in one split, mixed over domains. A version that grows from
    another writes only what is new; what its parent has stays where it is.

    Raises:
        CorruptError: a statement or structure lies in two splits, or an imported file was changed.
        InvalidInputError: the dataset was released from another recipe.
        NotFoundError: the parent is not released.
    """
    made = released_report(home, recipe, PROBLEMS)
    base = take_over(home, recipe)
    if made is not None:
        return made
    known = known_statements(home, recipe, base)
    drawn = draw(home, recipe, progress)
    forgotten = removed_ids(home, recipe)
    wanted = [each.problem for each in drawn if each.problem.problem_id not in forgotten]
    novel = select_new(wanted, known, recipe.near_duplicates)
    problems = interleave(novel.problems)
    check_leaks(problems, recipe.name)
    by_split = Counter(problem.split for problem in problems)
    metadata: dict[str, int | float | str] = {"problems": len(problems), **novel.left_out}
    metadata |= {f"problems_{split}": by_split[split] for split in SPLITS}
    metadata["licence_unknown"] = sum(problem.licence == UNKNOWN_LICENCE for problem in problems)
    if base is not None:
        metadata["problems_of_parent"] = sum(part.rows for part in base.parts[PROBLEMS.name])
        metadata |= {"parent": base.parent, "parent_hash": base.parent_hash}
    if recipe.near_duplicates is not None:
        _keep_near_report(home, recipe, novel)
    return store(home, recipe, PROBLEMS, problems, metadata)


def build_teacher_chains(home: Home, recipe: DatasetRecipe, progress: Progress = silent) -> StageReport:
    """Write teacher_chains.parquet: the worked solutions of train and validation problems, not yet judged, and for the
    recipe's share of curriculum problems a corrupted chain after the gold one. Test problems have no chains here.

    Raises:
        CorruptError: problems.parquet was made by another recipe or other code.
    """
    made = released_report(home, recipe, TEACHER_CHAINS)
    if made is not None:
        return made
    problems = _read(home, recipe, PROBLEMS, Problem)
    drawn = {each.problem.problem_id: each for each in draw(home, recipe, progress)}
    missing = [problem.problem_id for problem in problems if problem.problem_id not in drawn]
    if missing:
        raise CorruptError(
            f"problems of {recipe.name} were made by another recipe or other code ({len(missing)} are not its own)",
            cure="materialise problems again",
        )
    taught, cost = taught_chains(home, recipe, problems, progress)
    chains: list[ChainOfThought] = []
    corrupted = 0
    for problem in problems:
        if problem.split == "test":
            continue
        chain = drawn[problem.problem_id].chain
        if chain is not None:
            chains.append(chain)
            wrong = corrupted_chain(drawn[problem.problem_id].recipe, problem, chain)
            if wrong is not None:
                chains.append(wrong)
                corrupted += 1
        rejected = rejected_chains(drawn[problem.problem_id].recipe, problem)
        corrupted += len(rejected)
        chains += [*rejected, *taught.get(problem.problem_id, [])]
    metadata: dict[str, int | float | str] = {"chains": len(chains), "corrupted": corrupted, **cost}
    return store(home, recipe, TEACHER_CHAINS, chains, metadata)


def validate_chains(home: Home, recipe: DatasetRecipe, progress: Progress = silent) -> StageReport:
    """Write validated_chains.parquet: every chain with its verdict. Wrong ones stay, as negatives."""
    made = released_report(home, recipe, VALIDATED_CHAINS)
    if made is not None:
        return made
    problems = {problem.problem_id: problem for problem in _read(home, recipe, PROBLEMS, Problem)}
    chains = _read(home, recipe, TEACHER_CHAINS, ChainOfThought)
    strays = sum(chain.problem_id not in problems for chain in chains)
    if strays:
        raise CorruptError(
            f"{strays} teacher chain(s) of {recipe.name} belong to no problem of it",
            cure="materialise teacher_chains again",
        )
    agreed = agreements(recipe, problems, chains)
    validated = []
    for done, chain in enumerate(chains):
        if done % _PROGRESS_INTERVAL == 0:
            progress(done, len(chains))
        problem, agreement = problems[chain.problem_id], agreed.get(chain.problem_id)
        validated.append(
            judged(problem, chain) if agreement is None else judged_by_agreement(problem, chain, agreement)
        )
    progress(len(chains), len(chains))
    reasons = Counter(chain.validation_reason for chain in validated if not chain.is_valid)
    valid = sum(chain.is_valid is True for chain in validated)
    metadata: dict[str, int | float | str] = {"chains": len(validated), "valid": valid}
    if agreed:
        metadata["problems_agreed_on"] = sum(agreement.accepted for agreement in agreed.values())
    metadata |= {f"rejected_{reason}": times for reason, times in sorted(reasons.items())}
    return store(home, recipe, VALIDATED_CHAINS, validated, metadata)


def build_dataset(home: Home, recipe: DatasetRecipe, progress: Progress = silent) -> StageReport:
    """Make a dataset from its recipe to its release, in this process: the stages that Dagster runs one by one.

    Raises:
        RjepaError: a stage failed; run again, it goes on from what was finished.
    """
    for stage in (build_problems, build_teacher_chains, validate_chains):
        stage(home, recipe, progress)
    return release_dataset(home, recipe)


def release_dataset(home: Home, recipe: DatasetRecipe) -> StageReport:
    """Write manifest.json, after which the dataset never changes. A dataset that is released already stays as it is.

    Raises:
        CorruptError: files, their reports and the recipe do not belong together, or splits leak.
        NotFoundError: a stage has not run.
    """
    manifest = released_manifest(home, recipe)
    if manifest is None:
        manifest = _manifest(home, recipe)
        write_json(home.dataset(recipe.name) / MANIFEST, manifest)
    rate = manifest["validation_rate"]
    return StageReport(
        manifest["data_hash"],
        {
            "problems": manifest["counts"]["problems"],
            "chains": manifest["chains"]["total"],
            "valid_chains": manifest["chains"]["valid"],
            "validation_rate": rate if rate is not None else "no worked solutions",
            "duplicates_removed": manifest["duplicates_removed"],
            "licences": ", ".join(sorted(manifest["licences"])),
            "warnings": "; ".join(manifest["warnings"]) or "none",
        },
    )


def _manifest(home: Home, recipe: DatasetRecipe) -> dict[str, Any]:
    folder = home.dataset(recipe.name)
    problems = _read(home, recipe, PROBLEMS, Problem)
    chains = _read(home, recipe, VALIDATED_CHAINS, ChainOfThought)
    drafts = _read(home, recipe, TEACHER_CHAINS, ChainOfThought)
    own: dict[Stage, Sequence[BaseModel]] = {PROBLEMS: problems, TEACHER_CHAINS: drafts, VALIDATED_CHAINS: chains}
    reports = {stage: stored_report(home, recipe.name, stage) for stage in STAGES}
    for stage, records in own.items():
        if data_version(recipe, records) != reports[stage].data_version:
            raise CorruptError(
                f"{folder / stage.file} does not match its report", cure=f"materialise {stage.name} again"
            )
    check_leaks(problems, recipe.name)
    _check_chains_belong(recipe, drafts, chains)
    base = take_over(home, recipe)
    parent = parent_manifest(home, recipe) if base is not None else None
    removed = base.removed if base is not None else None
    by_name = {stage.name: report for stage, report in reports.items()}
    warnings = drawn_warnings(home, recipe)
    manifest = build_manifest(recipe, problems, chains, by_name, parent, removed, warnings)
    manifest["date"] = datetime.now(UTC).isoformat(timespec="seconds")
    parts = {stage.name: list(base.parts[stage.name]) if base is not None else [] for stage in STAGES}
    for stage, records in own.items():
        path = folder / stage.file
        parts[stage.name].append(Part(recipe.name, stage.file, sha256_file(path), path.stat().st_size, len(records)))
    manifest["parts"] = {stage: [asdict(part) for part in listed] for stage, listed in parts.items()}
    manifest["files"] = {
        part.file: {"sha256": part.sha256, "bytes": part.bytes, "rows": part.rows}
        for listed in parts.values()
        for part in listed
        if part.dataset == recipe.name
    }
    return manifest


def _read(home: Home, recipe: DatasetRecipe, stage: Stage, model: type[Record]) -> list[Record]:
    """A version's own records: what it took over was judged and released before."""
    return read_records(home.dataset(recipe.name) / stage.file, model)


def _keep_near_report(home: Home, recipe: DatasetRecipe, novel: Novel) -> None:
    path = home.dataset(recipe.name) / NEAR_REPORT
    report = {"threshold": recipe.near_duplicates, "left_out": novel.near}
    if not path.exists() or read_json(path) != report:
        write_json(path, report)


def _check_chains_belong(recipe: DatasetRecipe, drafts: list[ChainOfThought], chains: list[ChainOfThought]) -> None:
    if [chain.cot_id for chain in drafts] != [chain.cot_id for chain in chains]:
        raise CorruptError(
            f"validated chains of {recipe.name} are not those of its teacher chains",
            cure="materialise validated_chains again",
        )
