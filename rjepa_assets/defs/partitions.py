"""The two dimensions of the graph, their product, and the maps between them, written out for the reader's sake.

Keys are added by `rjepa llm add`, `rjepa data import` and the sensor `partitions_follow_the_registry`. What a key means
lives in the library's registry; a deleted key leaves its history behind, so nothing infers "live" students from it.
"""

import warnings
from typing import Final

import dagster as dg

DATASET: Final = "dataset_version"
LLM: Final = "llm_tag"

DATASETS: Final = dg.DynamicPartitionsDefinition(name=DATASET)
LLMS: Final = dg.DynamicPartitionsDefinition(name=LLM)
DATASET_BY_LLM: Final = dg.MultiPartitionsDefinition({DATASET: DATASETS, LLM: LLMS})

with warnings.catch_warnings():
    # In beta on 1.13; the version is pinned and the maps are tested, so the notice helps no one who runs the demo.
    warnings.simplefilter("ignore", dg.BetaWarning)
    SAME_DATASET: Final = dg.MultiToSingleDimensionPartitionMapping(partition_dimension_name=DATASET)
    """Between a dataset version and every partition of both that holds it."""
    SAME_LLM: Final = dg.MultiToSingleDimensionPartitionMapping(partition_dimension_name=LLM)
    """Between an LLM and every partition of both that holds it."""
SAME_KEY: Final = dg.IdentityPartitionMapping()


def partition_key(dataset: str, llm_tag: str) -> str:
    """The product's key for one dataset version and one LLM (dimensions are sorted by name)."""
    return f"{dataset}|{llm_tag}"


def split_partition(key: str) -> tuple[str, str]:
    """Dataset version and LLM of a key of the product."""
    dataset, llm_tag = key.split("|")
    return dataset, llm_tag
