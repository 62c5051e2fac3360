"""What the world model is worth: weights fitted on validation, then every way of choosing on the same candidates."""

from pathlib import Path
from typing import Any

import dagster as dg

from rjepa.stages import Made
from rjepa_assets.defs.adapter import WHEN_CARRIED, adapter
from rjepa_assets.defs.inputs import (
    latents_version,
    models_version,
    rjepa_version,
    rollouts_version,
    train_rollouts_version,
)
from rjepa_assets.defs.leaderboard import leaderboard_table
from rjepa_assets.defs.partitions import DATASET_BY_LLM, SAME_KEY, split_partition
from rjepa_assets.defs.resources import HomeResource, ProgressResource
from rjepa_assets.defs.stage import DATASET_LLM_JOB, explained, made_by, partitioned_check, running, with_metadata
from rjepa_assets.defs.students import rollouts, train_rollouts
from rjepa_assets.defs.world_model import latent_normalizer, rjepa_checkpoint


@dg.asset(
    partitions_def=DATASET_BY_LLM,
    deps=[
        dg.AssetDep(rollouts, partition_mapping=SAME_KEY),
        dg.AssetDep(latent_normalizer, partition_mapping=SAME_KEY),
        dg.AssetDep(rjepa_checkpoint, partition_mapping=SAME_KEY),
        dg.AssetDep(adapter, partition_mapping=SAME_KEY),
    ],
    group_name="evaluation",
    owners=["team:evaluation"],
    kinds={"scipy", "json"},
    tags=made_by(DATASET_LLM_JOB),
    automation_condition=WHEN_CARRIED,
    code_version="3",
    metadata=explained(
        problems="validation problems that it was fitted on",
        selection="how an answer is chosen: the best candidate, or the best vote",
        **{
            "weight_*": "weight of a term: alpha of log-probability, beta of energy, gamma of length",
            "share_*": "the term's share of the score's movement within problems",
        },
    ),
)
def score_calibration(
    context: dg.AssetExecutionContext, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult[Any]:
    """Weights of energy, log-probability and length, and P(correct), fitted on the validation rollouts."""
    with running(context, home, progress) as stage:
        dataset, llm_tag = stage.dataset_and_llm

        def make() -> Made:
            from rjepa.evaluation.stage import build_calibration

            return Made(build_calibration(stage.home, llm_tag, dataset, stage.progress))

        return stage.once(
            {
                "rollouts": rollouts_version(stage.home, llm_tag, dataset),
                "models": rjepa_version(stage.home, llm_tag, dataset),
            },
            [stage.home.models(llm_tag, dataset) / _CALIBRATION],
            make,
        )


_CALIBRATION = "calibration.json"


@partitioned_check(score_calibration)
def calibrated_score_ranks_right_above_wrong(
    context: dg.AssetCheckExecutionContext, home: HomeResource
) -> dg.AssetCheckResult:
    """On the problems that it was fitted on, the combined score puts right candidates above wrong ones, and there are
    problems enough to fit on.
    """
    from rjepa.inference.calibrating import MINIMUM_MIXED
    from rjepa.inference.calibration import ScoreCalibration

    dataset, llm_tag = split_partition(context.partition_key)
    found = ScoreCalibration.load(home.open().models(llm_tag, dataset) / _CALIBRATION)
    return dg.AssetCheckResult(
        passed=found.auroc["combined"] > 0.5 and found.mixed_problems >= MINIMUM_MIXED,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "within_auroc_of_the_combination": found.auroc["combined"],
            "within_auroc_without_rjepa": found.auroc["logprob_length"],
            "problems_with_right_and_wrong": found.mixed_problems,
            "required": MINIMUM_MIXED,
        },
    )


@partitioned_check(score_calibration)
def prefix_chances_come_true(context: dg.AssetCheckExecutionContext, home: HomeResource) -> dg.AssetCheckResult:
    """P(correct) after each step comes true on validation problems that it was not fitted on: an overconfident one
    would stop, give up and repair the wrong chains.
    """
    dataset, llm_tag = split_partition(context.partition_key)
    return judge_prefix_chances(home.open().models(llm_tag, dataset) / _CALIBRATION)


def judge_prefix_chances(calibration: Path) -> dg.AssetCheckResult:
    """How P(correct) after each step of a calibration comes true on problems that it was not fitted on."""
    from rjepa.inference.calibration import ScoreCalibration
    from rjepa.inference.prefix import WORST_ECE

    found = ScoreCalibration.load(calibration).prefix
    return dg.AssetCheckResult(
        passed=bool(found.reliability) and found.ece <= WORST_ECE,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            **{f"ece_after_step_{step.steps}": step.ece for step in found.reliability},
            **{f"chains_of_step_{step.steps}": step.chains for step in found.reliability},
            "ece": found.ece,
            "required": WORST_ECE,
        },
    )


@dg.asset(
    partitions_def=DATASET_BY_LLM,
    deps=[
        dg.AssetDep(rollouts, partition_mapping=SAME_KEY),
        dg.AssetDep(train_rollouts, partition_mapping=SAME_KEY),
        dg.AssetDep(score_calibration, partition_mapping=SAME_KEY),
    ],
    group_name="evaluation",
    owners=["team:evaluation"],
    kinds={"scipy", "matplotlib", "json"},
    tags=made_by(DATASET_LLM_JOB),
    automation_condition=WHEN_CARRIED,
    code_version="2",
    metadata=explained(
        problems="test problems that were judged",
        mixed_problems="of them, those with right and wrong candidates: only there can a choice help",
        num_candidates="K: sampled candidates of a problem",
        html="the whole report, with plots",
        leaderboard="every way of choosing, on all problems",
        gallery="problems where R-JEPA and the majority choose differently",
        **{
            "accuracy_*": "share of test problems answered right by a way of choosing",
            "rerank_accuracy_*": "the same of what is served, by domain",
            "rerank_gap_closed_*": "0 at one sample, 1 at the best choice possible",
            "*within_auroc_*": "chance that a right candidate is above a wrong one of the same problem",
            "first_error_*": "how well the first wrong step is found by its energy",
            "ece*": "how far P(correct) is from what comes true",
            "plot_*": "a plot of the report",
        },
    ),
)
def benchmark_report(
    context: dg.AssetExecutionContext, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult[Any]:
    """Every mode and every baseline on the same frozen candidates, with intervals: a leaderboard, plots, HTML."""
    with running(context, home, progress) as stage:
        dataset, llm_tag = stage.dataset_and_llm
        folder = stage.home.reports(llm_tag, dataset)

        def make() -> Made:
            from rjepa.evaluation.stage import build_report

            found = build_report(stage.home, llm_tag, dataset, stage.progress)
            plots = {f"plot_{name}": png for name, png in found.plots.items()}
            return Made(found.report, {"gallery": found.gallery_markdown}, plots)

        result = stage.once(
            {
                "rollouts": rollouts_version(stage.home, llm_tag, dataset),
                "train_rollouts": train_rollouts_version(stage.home, llm_tag, dataset),
                "latents": latents_version(stage.home, llm_tag, dataset),
                "models": rjepa_version(stage.home, llm_tag, dataset),
                "calibration": models_version(stage.home, llm_tag, dataset, _CALIBRATION),
            },
            _report_files(folder),
            make,
        )
        return with_metadata(result, leaderboard=leaderboard_table(folder / "report.json"))


def _report_files(folder: Path) -> list[Path]:
    """Files of a report itself: a folder of reports may hold others."""
    return [folder / "report.json", folder / "report.html"]


@partitioned_check(benchmark_report, blocking=True)
def report_is_of_the_files_that_are_there(
    context: dg.AssetCheckExecutionContext, home: HomeResource
) -> dg.AssetCheckResult:
    """What the report judged hashes to the candidates and to the parts that a release would take."""
    from rjepa.evaluation.stage import candidates_to_judge, judged_files, open_split, reported_files

    dataset, llm_tag = split_partition(context.partition_key)
    candidates = candidates_to_judge([open_split(home.open(), llm_tag, dataset, "test")], dataset)
    judged = reported_files(home.open(), llm_tag, dataset)
    now = judged_files(home.open(), llm_tag, dataset, candidates)
    changed = sorted(name for name in now if judged.get(name) != now[name])
    return dg.AssetCheckResult(passed=not changed, metadata={"files": len(now)}, description=", ".join(changed) or None)


@partitioned_check(benchmark_report, blocking=True)
def no_way_of_choosing_beats_the_oracle(
    context: dg.AssetCheckExecutionContext, home: HomeResource
) -> dg.AssetCheckResult:
    """The best choice possible is the best in every domain, and every accuracy lies in its own interval."""
    from rjepa.evaluation.plausible import implausible_rows
    from rjepa.evaluation.reading import read_report

    dataset, llm_tag = split_partition(context.partition_key)
    board = read_report(home.open(), llm_tag, dataset).leaderboard
    wrong = implausible_rows(board)
    return dg.AssetCheckResult(
        passed=not wrong, metadata={"rows": len(board.rows)}, description="; ".join(wrong[:5]) or None
    )
