"""What can be launched as one. An asset's own tag says which of these jobs makes it (`stage.made_by`)."""

import dagster as dg

from rjepa_assets.defs.stage import (
    CARRY_JOB,
    DATASET_JOB,
    DATASET_LLM_JOB,
    DECODERS_JOB,
    FEEDBACK_JOB,
    JOB_TAG,
    LLM_JOB,
    LORA_JOB,
    REHEARSAL_JOB,
    RELEASE_JOB,
    SEALED_JOB,
    VARIANTS_JOB,
)


def _job(name: str, description: str) -> dg.JobDefinition:
    selection = dg.AssetSelection.tag(JOB_TAG, name)
    return dg.define_asset_job(name, selection=selection, description=description)  # type: ignore[return-value]


dataset_version = _job(DATASET_JOB, "Build, judge and freeze one dataset version.")
llm = _job(LLM_JOB, "Resolve one LLM's weights, trained first where its record names a recipe.")
dataset_and_llm = _job(
    DATASET_LLM_JOB,
    "From one LLM and one dataset version that are there to its evaluated world model. `everything` makes those, too.",
)
release_llm = _job(RELEASE_JOB, "Bundle what was evaluated for one LLM; serve it if the gate agrees.")
variants = _job(VARIANTS_JOB, "Train several R-JEPAs of one LLM and dataset version, and judge them side by side.")
carry = dg.define_asset_job(
    CARRY_JOB,
    # In one run with what is judged of it: the daemon then has nothing left to ask for.
    selection=dg.AssetSelection.tag(JOB_TAG, CARRY_JOB)
    | dg.AssetSelection.assets("score_calibration", "benchmark_report"),
    description="Carry the R-JEPA of another LLM to this one, for a dataset version that both have read; judge it.",
)
decoders = _job(DECODERS_JOB, "Train what puts latents into words and guides the student, for an R-JEPA that is there.")
lora = _job(LORA_JOB, "Train a LoRA of one LLM on a dataset version, and register the student that has it.")
sealed_problems = _job(SEALED_JOB, "Draw the problems that a night's evidence comes from, where the last are worn out.")
feedback = _job(FEEDBACK_JOB, "Write down what of feedback joined a dataset version that a night made.")
rehearse = _job(REHEARSAL_JOB, "Rank the answers that users let us keep again, with the newest bundle.")
