"""One world model for several LLMs: what lets another LLM use an R-JEPA that was trained on somebody else's latents."""

import warnings
from dataclasses import replace
from typing import Any, Final

import dagster as dg
from pydantic import Field

from rjepa.adapters.in_use import CARRIED_FOLDER, put_in_use
from rjepa.adapters.sources import SOURCE_FILES, choose_source
from rjepa.latents.worker import StudentTask
from rjepa.stages import Made, file_version
from rjepa_assets.defs.inputs import latents_version, models_version, student_version
from rjepa_assets.defs.latents import latents
from rjepa_assets.defs.partitions import DATASET, DATASET_BY_LLM, LLM, split_partition
from rjepa_assets.defs.resources import HomeResource, ProgressResource
from rjepa_assets.defs.stage import CARRY_JOB, GPU_POOL, explained, made_by, partitioned_check, running
from rjepa_assets.defs.students import OF_A_STUDENT_ON_A_DATASET
from rjepa_assets.defs.world_model import rjepa_checkpoint
from rjepa_assets.own_process import Call, call, make_with_student

with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.BetaWarning)
    ANY_LLM: Final = dg.MultiPartitionMapping(
        {
            DATASET: dg.DimensionPartitionMapping(DATASET, dg.IdentityPartitionMapping()),
            LLM: dg.DimensionPartitionMapping(LLM, dg.AllPartitionMapping()),
        }
    )
    """From a dataset|LLM to the same dataset with every LLM: any of them may be the source."""

WHEN_CARRIED: Final = (
    dg.AutomationCondition.asset_matches("adapter", dg.AutomationCondition.newly_updated()).since(
        dg.AutomationCondition.newly_requested() | dg.AutomationCondition.newly_updated()
    )
    & ~dg.AutomationCondition.asset_matches("rollouts", dg.AutomationCondition.missing())
    & ~dg.AutomationCondition.in_progress()
)
"""Who materialises `adapter` asked for an R-JEPA that can be released: it is calibrated and judged without more."""


class AdapterConfig(dg.Config):
    """Whose R-JEPA is carried, and how much of the latents the adapter may see."""

    source: str = Field(
        default="", description="LLM whose R-JEPA is carried; empty: the only other one that has one on this dataset"
    )
    share: float = Field(
        default=0.05, gt=0, le=1, description="part of the training problems that the adapter is fitted on"
    )


@dg.asset(
    partitions_def=DATASET_BY_LLM,
    deps=[
        dg.AssetDep(latents, partition_mapping=ANY_LLM),
        dg.AssetDep(rjepa_checkpoint, partition_mapping=ANY_LLM),
        *OF_A_STUDENT_ON_A_DATASET,
    ],
    group_name="calibration",
    owners=["team:world-model"],
    kinds={"numpy", "safetensors"},
    tags=made_by(CARRY_JOB),
    pool=GPU_POOL,
    code_version="1",
    metadata=explained(
        source="LLM whose R-JEPA is carried",
        method="fit of the map, chosen on held-out problems",
        share="part of the training problems that it was fitted on",
        problems="they are so many",
        chains_read="chains that this LLM read for it now; what it had read before is not read again",
        pairs="latents that both LLMs made of the same text",
        r2="of the map on held-out problems, in the source's standardised space: 1 is perfect, 0 the mean's",
        r2_back="of the way back",
        coverage="part of this LLM's latents within reach of the pairs",
        seconds="time that all fits and the choice among them took",
        width="numbers of a latent of this LLM",
        source_width="numbers of a latent of the source",
        agreement="correlation of the log energies of held-out steps with those that the source itself gets",
        fits="every fit that was tried, and what it is worth on held-out problems",
        plot_fits="the same, drawn",
        **{
            "skill_*": "share of a simple guess's error that the carried R-JEPA takes away on this LLM's latents",
            "*": "measurements of the carried R-JEPA (rjepa.jepa.diagnostics)",
        },
    ),
)
def adapter(
    context: dg.AssetExecutionContext, config: AdapterConfig, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult[Any]:
    """W_in and W_out, by which this LLM uses the R-JEPA of another, with a copy of that R-JEPA."""
    with running(context, home, progress) as stage:
        dataset, llm_tag = stage.dataset_and_llm
        source = choose_source(stage.home, llm_tag, dataset, config.source)
        arguments = {"llm_tag": llm_tag, "dataset": dataset, "source": source, "share": config.share}

        def make() -> Made:
            reading = StudentTask("latents", llm_tag, dataset, share=config.share)
            read = make_with_student(context, stage.home, reading, stage.progress)
            made = call(context, stage.home, Call("rjepa.adapters.carrying:build_adapter", arguments), stage.progress)
            figures = {**made.report.metadata, "chains_read": read.report.metadata["chains_encoded"]}
            return replace(made, report=replace(made.report, metadata=figures))

        done = stage.once(
            {
                "source": source,
                "share": str(config.share),
                "dataset": file_version(stage.home.dataset(dataset) / "manifest.json"),
                "student": student_version(stage.home, llm_tag),
                "source_latents": latents_version(stage.home, source, dataset),
                "source_models": models_version(stage.home, source, dataset, *SOURCE_FILES),
            },
            [stage.home.models(llm_tag, dataset) / CARRIED_FOLDER],
            make,
        )
        # Also where there was nothing to do: who asks for it wants it, and not what was trained here meanwhile.
        put_in_use(stage.home, llm_tag, dataset, "carried")
        return done


@partitioned_check(adapter, blocking=True)
def carried_rjepa_has_skill_over_mean_and_copy(
    context: dg.AssetCheckExecutionContext, home: HomeResource
) -> dg.AssetCheckResult:
    """Through the adapter it predicts this LLM's next step better than the mean latent and than a copy of the step
    before, as a trained R-JEPA has to.
    """
    from rjepa.adapters.opening import files_in_use
    from rjepa.jepa.stage import read_diagnostics_in

    dataset, llm_tag = split_partition(context.partition_key)
    found = read_diagnostics_in(files_in_use(home.open(), llm_tag, dataset).model)
    metadata = {"skill_over_mean": found.skill_over_mean, "skill_over_copy": found.skill_over_copy}
    return dg.AssetCheckResult(passed=min(metadata.values()) > 0, metadata=metadata)


@partitioned_check(adapter)
def adapter_holds_on_problems_that_it_has_not_seen(
    context: dg.AssetCheckExecutionContext, home: HomeResource
) -> dg.AssetCheckResult:
    """On held-out problems the energies of this LLM's steps follow those that the source's own latents get, and most of
    this LLM's latents lie within the map's reach.
    """
    from rjepa.adapters.adapter import read_facts
    from rjepa.adapters.in_use import carried_folder
    from rjepa.parts import ADAPTER_FOLDER

    dataset, llm_tag = split_partition(context.partition_key)
    facts = read_facts(carried_folder(home.open(), llm_tag, dataset) / ADAPTER_FOLDER)
    return dg.AssetCheckResult(
        passed=facts.agreement > _LEAST_AGREEMENT and facts.coverage > _LEAST_COVERAGE,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "agreement": facts.agreement,
            "required_agreement": _LEAST_AGREEMENT,
            "r2": facts.r2,
            "coverage": facts.coverage,
            "required_coverage": _LEAST_COVERAGE,
        },
    )


_LEAST_AGREEMENT: Final = 0.3
"""Correlation of log energies. Of tiny-b's latents in tiny-a's R-JEPA a rotation has 0.25, and the map that kept what
native training has 0.44 (docs/lab-book/53-adapters-tiny-a-and-tiny-b.md)."""

_LEAST_COVERAGE: Final = 0.5
"""Beyond the pairs' reach a map only guesses; where that is most of the latents, it is the wrong map."""
