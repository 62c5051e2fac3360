"""What is served: one bundle an LLM, built only from what passed, and only served if the gate agrees."""

from pathlib import Path
from typing import Any, Literal

import dagster as dg
from pydantic import Field

from rjepa.home import Home
from rjepa.stages import Made
from rjepa_assets.defs.decoders import latent_decoder, logit_guidance
from rjepa_assets.defs.evaluation import benchmark_report
from rjepa_assets.defs.inputs import decoders_version, evaluations_version
from rjepa_assets.defs.partitions import LLMS, SAME_LLM
from rjepa_assets.defs.resources import HomeResource, ProgressResource
from rjepa_assets.defs.sealed import sealed_candidates
from rjepa_assets.defs.stage import RELEASE_JOB, explained, made_by, partitioned_check, running, with_metadata


class ReleaseConfig(dg.Config):
    """Which dataset version's model to release."""

    rule: Literal["replace", "improve", "nightly"] = Field(
        default="replace",
        description="replace: serve it if it is not worse; improve: only if it is better; nightly: as improve, on "
        "sealed problems and within the budget of errors over nights",
    )
    claim: str = Field(
        default="all", description="where it has to be better under improve and nightly: all, or a domain"
    )
    dataset: str = Field(
        default="", description="dataset version; empty: the newest vX.Y.Z that was evaluated for this LLM"
    )


@dg.asset(
    partitions_def=LLMS,
    deps=[
        dg.AssetDep(benchmark_report, partition_mapping=SAME_LLM),
        dg.AssetDep(latent_decoder, partition_mapping=SAME_LLM),
        dg.AssetDep(logit_guidance, partition_mapping=SAME_LLM),
        sealed_candidates,
    ],
    group_name="release",
    owners=["team:serving"],
    kinds={"json", "safetensors"},
    tags=made_by(RELEASE_JOB),
    code_version="2",
    metadata=explained(
        release="the bundle that was made of this evaluation",
        served="the bundle that is served now",
        promoted="1 if the one is the other",
        reason="the gate's reason, in a word",
        decision="the gate's reason, in a sentence",
        replaces="what was served before",
        rjepa="whose R-JEPA it is: the LLM's own, or one that was carried to it by an adapter",
        dataset="dataset version that it was trained on",
        judged_on="whose test problems it was judged on: the same, or a sealed set",
        accuracy="share of those that it answers right",
        problems="how many they are",
        story="what is served and why, what it went on from, what feedback joined, the gate's numbers, the last nights",
        **{
            "accuracy_*": "the same, by domain",
            "gate_night_*": "of rule nightly: level, evidence, budget left, uses of the sealed set, calibration",
            "*": "figures of the gate's comparison",
        },
    ),
)
def release(
    context: dg.AssetExecutionContext, config: ReleaseConfig, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult[Any]:
    """The atomic bundle that is served: what it holds, why it was promoted or refused, and what it replaced."""
    with running(context, home, progress) as stage:
        llm_tag, run_id = context.partition_key, context.run.run_id
        nightly = config.rule == "nightly"

        def make() -> Made:
            from rjepa.living.evidence import build_nightly_release
            from rjepa.releases.stage import build_release

            dataset = config.dataset or None
            if nightly:
                return build_nightly_release(
                    stage.home, llm_tag, dataset, run_id=run_id, claim=config.claim, progress=stage.progress
                )
            return build_release(
                stage.home,
                llm_tag,
                dataset,
                run_id=run_id,
                rule=config.rule,
                claim=config.claim,
                progress=stage.progress,
            )

        result = stage.once(
            {
                "dataset": config.dataset or "newest",
                "rule": config.rule,
                "claim": config.claim,
                "evaluated": evaluations_version(stage.home, llm_tag, config.dataset),
                "decoders": decoders_version(stage.home, llm_tag, config.dataset),
                "sealed": _sealed(stage.home, llm_tag) if nightly else "none",
            },
            lambda: _bundles(stage.home, llm_tag),
            make,
        )
        return with_metadata(result, story=dg.MetadataValue.md(_story(stage.home, llm_tag)))


def _story(home: Home, llm_tag: str) -> str:
    from rjepa.living.story import tell

    return tell(home, llm_tag)


def _sealed(home: Home, llm_tag: str) -> str:
    from rjepa.living.sealed import require_live_set

    return require_live_set(home, llm_tag).name


def _bundles(home: Home, llm_tag: str) -> list[Path]:
    """Weights of all bundles: one that is damaged is no longer what was made. Which of them is served is not looked at,
    so that a rollback stays; but one has to be.
    """
    folder = home.releases(llm_tag)
    nothing_served = [] if (folder / "CURRENT").exists() else [folder / "CURRENT"]
    return [*sorted(folder.glob("*/**/*.safetensors")), *sorted(folder.glob("*/**/calibration.json")), *nothing_served]


@partitioned_check(release, blocking=True, repeat=True)
def release_hashes_match(context: dg.AssetCheckExecutionContext, home: HomeResource) -> dg.AssetCheckResult:
    """Every byte of the served bundle is the one its manifest names."""
    from rjepa.errors import RjepaError
    from rjepa.releases.bundle import verify
    from rjepa.releases.pointer import require_current

    try:
        manifest = verify(home.open(), context.partition_key, require_current(home.open(), context.partition_key))
    except RjepaError as error:
        return dg.AssetCheckResult(passed=False, description=str(error))
    return dg.AssetCheckResult(passed=True, metadata={"release": manifest.release_id, "files": len(manifest.files)})
