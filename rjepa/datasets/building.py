"""The four stages of a dataset: problems, teacher chains, validated chains, release.

Each reads what the one before wrote, is deterministic in the recipe, and may be killed and run again at any point.
Where records come from lives in `sources`, how files are kept in `stages`, what a release says in `manifest`.
"""

from collections import Counter
from datetime import UTC, datetime

from rjepa.datasets.manifest import build_manifest
from rjepa.datasets.recipe import DatasetRecipe
from rjepa.datasets.sources import corrupted_chain, source_pairs
from rjepa.datasets.splits import SPLITS, check_leaks, deduplicate, interleave
from rjepa.datasets.stages import (
    MANIFEST,
    Stage,
    content_version,
    released_manifest,
    released_report,
    store,
    stored_report,
)
from rjepa.errors import CorruptError
from rjepa.files import sha256_file, write_json
from rjepa.home import Home
from rjepa.progress import Progress, silent
from rjepa.schemas import ChainOfThought, Problem
from rjepa.stages import StageReport
from rjepa.tables import Record, read_records
from rjepa.validation.judge import judged

PROBLEMS = Stage("problems", Problem)
TEACHER_CHAINS = Stage("teacher_chains", ChainOfThought)
VALIDATED_CHAINS = Stage("validated_chains", ChainOfThought)
STAGES = (PROBLEMS, TEACHER_CHAINS, VALIDATED_CHAINS)

_PROGRESS_EVERY = 500


def build_problems(home: Home, recipe: DatasetRecipe, progress: Progress = silent) -> StageReport:
    """Write problems.parquet: distinct problems, each in one split, mixed over domains.

    Raises:
        CorruptError: a statement or structure lies in two splits, or an imported file was changed.
        InvalidInputError: the dataset was released from another recipe.
    """
    made = released_report(home, recipe, PROBLEMS)
    if made is not None:
        return made
    drawn = [problem for problem, _ in source_pairs(home, recipe, progress)]
    distinct, removed = deduplicate(drawn)
    problems = interleave(distinct)
    check_leaks(problems, recipe.name)
    by_split = Counter(problem.split for problem in problems)
    metadata: dict[str, int | float | str] = {"problems": len(problems), "duplicates_removed": removed}
    metadata |= {f"problems_{split}": by_split[split] for split in SPLITS}
    metadata["licence_unknown"] = sum(problem.licence == "unknown" for problem in problems)
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
    gold = {problem.problem_id: chain for problem, chain in source_pairs(home, recipe, progress)}
    missing = [problem.problem_id for problem in problems if problem.problem_id not in gold]
    if missing:
        raise CorruptError(
            f"problems of {recipe.name} were made by another recipe or other code ({len(missing)} are not its own)",
            cure="materialise problems again",
        )
    chains: list[ChainOfThought] = []
    corrupted = 0
    for problem in problems:
        chain = gold[problem.problem_id]
        if chain is None or problem.split == "test":
            continue
        chains.append(chain)
        wrong = corrupted_chain(recipe, problem, chain)
        if wrong is not None:
            chains.append(wrong)
            corrupted += 1
    metadata: dict[str, int | float | str] = {"chains": len(chains), "corrupted": corrupted}
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
    validated = []
    for done, chain in enumerate(chains):
        if done % _PROGRESS_EVERY == 0:
            progress(done, len(chains))
        validated.append(judged(problems[chain.problem_id], chain))
    progress(len(chains), len(chains))
    reasons = Counter(chain.validation_reason for chain in validated if not chain.is_valid)
    valid = sum(chain.is_valid is True for chain in validated)
    metadata: dict[str, int | float | str] = {"chains": len(validated), "valid": valid}
    metadata |= {f"rejected_{reason}": times for reason, times in sorted(reasons.items())}
    return store(home, recipe, VALIDATED_CHAINS, validated, metadata)


def release_dataset(home: Home, recipe: DatasetRecipe) -> StageReport:
    """Write manifest.json, after which the dataset never changes. A dataset that is released already stays as it is.

    Raises:
        CorruptError: files, their reports and the recipe do not belong together, or splits leak.
        NotFoundError: a stage has not run.
    """
    manifest = released_manifest(home, recipe)
    if manifest is None:
        folder = home.dataset(recipe.name)
        problems = _read(home, recipe, PROBLEMS, Problem)
        chains = _read(home, recipe, VALIDATED_CHAINS, ChainOfThought)
        drafts = _read(home, recipe, TEACHER_CHAINS, ChainOfThought)
        check_leaks(problems, recipe.name)
        reports = {stage: stored_report(home, recipe.name, stage) for stage in STAGES}
        for stage, records in zip(STAGES, (problems, drafts, chains), strict=True):
            if content_version(records) != reports[stage].data_version:
                raise CorruptError(
                    f"{folder / stage.file} does not match its report", cure=f"materialise {stage.name} again"
                )
        _check_chains_belong(recipe, drafts, chains)
        manifest = build_manifest(recipe, problems, chains, {stage.name: r for stage, r in reports.items()})
        manifest["date"] = datetime.now(UTC).isoformat(timespec="seconds")
        manifest["files"] = {
            stage.file: {
                "sha256": sha256_file(folder / stage.file),
                "bytes": (folder / stage.file).stat().st_size,
                "rows": len(records),
            }
            for stage, records in zip(STAGES, (problems, drafts, chains), strict=True)
        }
        write_json(folder / MANIFEST, manifest)
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


def _read(home: Home, recipe: DatasetRecipe, stage: Stage, model: type[Record]) -> list[Record]:
    return read_records(home.dataset(recipe.name) / stage.file, model)


def _check_chains_belong(recipe: DatasetRecipe, drafts: list[ChainOfThought], chains: list[ChainOfThought]) -> None:
    if [chain.cot_id for chain in drafts] != [chain.cot_id for chain in chains]:
        raise CorruptError(
            f"validated chains of {recipe.name} are not those of its teacher chains",
            cure="materialise validated_chains again",
        )
