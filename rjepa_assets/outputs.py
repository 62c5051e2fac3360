"""The file that each asset leaves last: where it is missing, the asset has to be made again."""

from pathlib import Path

from rjepa.home import Home


def output_of(home: Home, asset: str, dataset: str, llm_tag: str) -> Path:
    """Path of an asset's last-written file for one dataset and one LLM; an asset of a dataset alone needs no LLM.

    Raises KeyError for an unknown asset.
    """
    data = home.dataset(dataset)
    of_dataset = {
        "problems": data / "problems.parquet",
        "teacher_chains": data / "teacher_chains.parquet",
        "validated_chains": data / "validated_chains.parquet",
        "dataset_release": data / "manifest.json",
    }
    if asset in of_dataset:
        return of_dataset[asset]
    models = home.models(llm_tag, dataset)
    return {
        "student": home.student(llm_tag) / "resolved.json",
        "rollouts": home.rollouts(llm_tag, dataset) / "manifest.json",
        "train_rollouts": home.train_rollouts(llm_tag, dataset) / "manifest.json",
        "latents": home.latents(llm_tag, dataset) / "manifest.json",
        "latent_normalizer": models / "normalizer.safetensors",
        "rjepa_checkpoint": models / "rjepa" / "model.safetensors",
        "score_calibration": models / "calibration.json",
        "benchmark_report": home.reports(llm_tag, dataset) / "report.json",
        "rjepa_variants": models / "variants" / "variants.json",
        "variants_report": home.reports(llm_tag, dataset) / "variants" / "report.json",
        "release": home.releases(llm_tag) / "CURRENT",
    }[asset]
