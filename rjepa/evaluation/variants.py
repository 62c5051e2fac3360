"""Several R-JEPAs of one student and dataset side by side: train what is missing, judge all on the same candidates.

They lie beside the one that may be released and are never served. One run's training lives in `rjepa.jepa.stage`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml
from pydantic import TypeAdapter, ValidationError

from rjepa.errors import CorruptError, InvalidInputError
from rjepa.evaluation.evaluating import Contender, calibrate, evaluate
from rjepa.evaluation.frozen import Frozen, energies_of, open_frozen, with_rivals
from rjepa.evaluation.gallery import gallery_markdown
from rjepa.evaluation.reading import REPORT_FILE
from rjepa.evaluation.report import write_report
from rjepa.evaluation.results import EvaluationResult, SizePoint
from rjepa.evaluation.rivals import fit_rivals
from rjepa.evaluation.stage import Benchmark, report_numbers
from rjepa.files import read_json, sha256_file, sha256_json, write_json
from rjepa.home import Home
from rjepa.inference.calibration import ScoreCalibration
from rjepa.jepa.config import load_jepa_config
from rjepa.jepa.launching import train_side_by_side
from rjepa.jepa.stage import build_checkpoint, open_variant, variant_folder
from rjepa.progress import Progress, silent
from rjepa.stages import StageReport

BASELINE: Final = "textbook"
"""The papers' recipe: a baseline, so that one seed is enough."""

CALIBRATION_FILE: Final = "calibration.json"
_LIST: Final = "variants.json"
_CURE: Final = "rjepa report"


@dataclass(frozen=True)
class Run:
    """One trained variant. `variant` is the name in its config, or its recipe's where two recipes share a name."""

    recipe: str
    seed: int
    variant: str


def variants_file(home: Home, llm_tag: str, dataset: str) -> Path:
    """The list of the trained variants, written when all of them are there."""
    return variant_folder(home, llm_tag, dataset, BASELINE, 0).parent / _LIST


def variants_report_folder(home: Home, llm_tag: str, dataset: str) -> Path:
    """Where the report of all variants lies."""
    return home.reports(llm_tag, dataset) / "variants"


def train_variants(
    home: Home, llm_tag: str, dataset: str, recipes: Sequence[str], seeds: int, progress: Progress = silent
) -> StageReport:
    """Train every recipe under `seeds` seeds (the textbook baseline under one). What is trained already is kept.

    Raises:
        InvalidInputError: no recipe, no seed, or a training that failed.
    """
    if not recipes or seeds < 1:
        raise InvalidInputError("nothing to train", cure="name at least one recipe of configs/rjepa/ and one seed")
    wanted = [(recipe, seed) for recipe in dict.fromkeys(recipes) for seed in range(1 if recipe == BASELINE else seeds)]
    for wave in _waves(wanted):
        if len(wave) > 1:
            train_side_by_side(home, llm_tag, dataset, wave, progress)
    versions, metadata = {}, dict[str, int | float | str]()
    for recipe, seed in wanted:
        # After a training of its own process this finds the finished run, and diagnoses it.
        done = build_checkpoint(home, llm_tag, dataset, recipe, progress, seed=seed).report
        versions[f"{recipe}-{seed}"] = done.data_version
        metadata |= {
            f"{recipe}_{seed}_{name}": done.metadata[name]
            for name in ("seconds", "updates", "validation_energy", "skill_over_ridge", "rankme")
            if name in done.metadata
        }
    names = {recipe: _config_name(home, llm_tag, dataset, recipe) for recipe, _ in wanted}
    runs = [
        {"recipe": recipe, "seed": seed, "variant": _distinct(names, recipe), "model": versions[f"{recipe}-{seed}"]}
        for recipe, seed in wanted
    ]
    write_json(variants_file(home, llm_tag, dataset), runs)
    return StageReport(sha256_json(runs), {"runs": len(runs), **metadata})


def list_variants(home: Home, llm_tag: str, dataset: str) -> list[Run]:
    """The variants that were trained, the main one first.

    Raises:
        NotFoundError: none was.
        CorruptError: the list does not fit.
    """
    path = variants_file(home, llm_tag, dataset)
    try:
        return [Run(row["recipe"], int(row["seed"]), row["variant"]) for row in read_json(path)]
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptError(f"{path} does not list variants", cure=f"delete it, then {_CURE}") from error


def report_variants(
    home: Home, llm_tag: str, dataset: str, sizes: Path | None = None, progress: Progress = silent
) -> Benchmark:
    """Judge every variant and every baseline on the same frozen candidates; write HTML, PNG and JSON.

    Each variant gets a calibration of its own, fitted on validation, which is kept beside its weights.

    Args:
        sizes: JSON or YAML list of `SizePoint`s: runs at several sizes of training data, for the curve.

    Raises:
        NotFoundError: no variants were trained, or there are no rollouts.
        InvalidInputError: `sizes` does not fit.
    """
    points = _read_sizes(sizes)
    runs = list_variants(home, llm_tag, dataset)
    frozen = open_frozen(home, llm_tag, dataset)
    contenders = []
    for number, run in enumerate(runs):
        progress(number, len(runs) + 2, f"energies of {run.recipe}, seed {run.seed}")
        contenders.append(judge_variant(home, llm_tag, dataset, run, frozen))
    progress(len(runs), len(runs) + 2, "baselines")
    model, reader = open_variant(home, llm_tag, dataset, runs[0].recipe, runs[0].seed)
    main, *others = contenders
    frozen = with_rivals(
        frozen, home, llm_tag, dataset, reader, (model.config, main.calibration.energy.terms[0].feature)
    )
    progress(len(runs) + 1, len(runs) + 2, "figures")
    result = evaluate(
        frozen.pool("test", None).with_energies(main.energies),
        main.calibration,
        rivals=fit_rivals(frozen.pool("validation", None)),
        contenders=others,
        variant=(main.name, main.seed),
    ).model_copy(update={"sizes": points})
    folder = variants_report_folder(home, llm_tag, dataset)
    files = write_report(folder, result, title=f"{llm_tag} on {dataset}: R-JEPA's variants and every baseline")
    progress(len(runs) + 2, len(runs) + 2)
    report = StageReport(sha256_file(files.json), report_numbers(result) | {"html": str(files.html)})
    return Benchmark(report, result.leaderboard.to_markdown(), gallery_markdown(result.gallery), files.image_bytes)


def judge_variant(home: Home, llm_tag: str, dataset: str, run: Run, frozen: Frozen) -> Contender:
    """A variant's energies on the test candidates, and its calibration, fitted on validation and kept."""
    world_model = open_variant(home, llm_tag, dataset, run.recipe, run.seed)
    calibration = calibrate(frozen.pool("validation", world_model))
    calibration.save(variant_folder(home, llm_tag, dataset, run.recipe, run.seed) / CALIBRATION_FILE)
    return Contender(run.variant, run.seed, energies_of(world_model, frozen.rollouts["test"].latents), calibration)


def variant_calibration(home: Home, llm_tag: str, dataset: str, run: Run) -> ScoreCalibration:
    """What the last report fitted for a variant (errors as `ScoreCalibration.load`)."""
    return ScoreCalibration.load(variant_folder(home, llm_tag, dataset, run.recipe, run.seed) / CALIBRATION_FILE)


def read_variants_report(home: Home, llm_tag: str, dataset: str) -> EvaluationResult:
    """What the last report of the variants found (errors as `EvaluationResult.load`)."""
    return EvaluationResult.load(variants_report_folder(home, llm_tag, dataset) / REPORT_FILE)


def _waves(wanted: Sequence[tuple[str, int]]) -> list[list[tuple[str, int]]]:
    """Runs (recipe, seed) that can be trained side by side: those that start from a trunk after all that do not."""
    trunks = {recipe: load_jepa_config(recipe).trunk for recipe, _ in wanted}
    needed = [(trunk, seed) for recipe, seed in wanted if (trunk := trunks[recipe]) is not None]
    first = [run for run in wanted if trunks[run[0]] is None]
    return [[*dict.fromkeys([*first, *needed])], [run for run in wanted if trunks[run[0]] is not None]]


def _config_name(home: Home, llm_tag: str, dataset: str, recipe: str) -> str:
    return str(read_json(variant_folder(home, llm_tag, dataset, recipe, 0) / "config.json")["name"])


def _distinct(names: dict[str, str], recipe: str) -> str:
    return names[recipe] if list(names.values()).count(names[recipe]) == 1 else recipe


def _read_sizes(path: Path | None) -> tuple[SizePoint, ...]:
    if path is None:
        return ()
    try:
        text = path.read_text(encoding="utf-8")
        return tuple(TypeAdapter(list[SizePoint]).validate_python(yaml.safe_load(text)))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
        raise InvalidInputError(
            f"{path} cannot be read as runs of a data-size curve ({str(error).splitlines()[0]})",
            cure="give a list of {chains, variant, within_auroc, first_error_auroc, gap_closed}",
        ) from error
