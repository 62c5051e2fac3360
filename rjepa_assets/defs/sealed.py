"""The problems that a night's evidence comes from: drawn afresh where the last set is worn out, answered by the
student.

Which sets there are and when one is retired is decided in `rjepa.living.sealed`.
"""

from typing import Any

import dagster as dg
from pydantic import Field

from rjepa.living.defaults import PROBLEMS_A_DOMAIN
from rjepa.stages import StageReport
from rjepa_assets.defs.evaluation import benchmark_report
from rjepa_assets.defs.partitions import LLMS, SAME_LLM
from rjepa_assets.defs.resources import HomeResource, ProgressResource
from rjepa_assets.defs.stage import GPU_POOL, SEALED_JOB, explained, made_by, running
from rjepa_assets.own_process import make_with_student


class SealedConfig(dg.Config):
    """What a fresh set is drawn from, and how large it is."""

    dataset: str = Field(default="", description="dataset version; empty: the newest that was evaluated for this LLM")
    problems_a_domain: int = Field(
        default=PROBLEMS_A_DOMAIN, gt=0, description="of a fresh set, where a generator can draw them"
    )


@dg.asset(
    partitions_def=LLMS,
    deps=[dg.AssetDep(benchmark_report, partition_mapping=SAME_LLM)],
    group_name="release",
    owners=["team:serving"],
    kinds={"parquet", "safetensors"},
    tags=made_by(SEALED_JOB),
    pool=GPU_POOL,
    code_version="1",
    metadata=explained(
        sealed_set="the set that the next challenger is tested on",
        datasets="whose test problems it holds",
        uses="challengers that were tested on it",
    ),
)
def sealed_candidates(
    context: dg.AssetExecutionContext, config: SealedConfig, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult[Any]:
    """The sealed test problems of an LLM with its frozen candidates: what a night's evidence comes from."""
    with running(context, home, progress) as stage:
        llm_tag = context.partition_key

        def make() -> StageReport:
            from rjepa.living.drawing import prepare_set, report_of
            from rjepa.releases.stage import newest_evaluated

            sealed = prepare_set(
                stage.home,
                llm_tag,
                config.dataset or newest_evaluated(stage.home, llm_tag),
                lambda task: make_with_student(context, stage.home, task, stage.progress).report,
                problems_a_domain=config.problems_a_domain,
                progress=stage.progress,
            )
            return report_of(stage.home, llm_tag, sealed)

        return stage.always(make)
