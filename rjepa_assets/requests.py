"""Who asked for what, written down where Dagster sees it: partitions, and the asset `request`.

A partition appears when a dataset version or an LLM is first wanted. Asking for a dataset|LLM materialises its
`request`, upon which automation fills its rollouts and latents. Nothing else makes either.
"""

import dagster as dg

from rjepa.errors import NotFoundError
from rjepa.home import Home
from rjepa_assets.defs.partitions import DATASET, LLM, partition_key
from rjepa_assets.instance import open_instance

REQUEST = dg.AssetKey("request")
_FIRST_DATASET = "v1.0.0"
"""What a new LLM is asked to do where no dataset version is released yet."""


def want_dataset(instance: dg.DagsterInstance, dataset: str) -> None:
    """Give a dataset version its partition."""
    instance.add_dynamic_partitions(DATASET, [dataset])


def want_llm(instance: dg.DagsterInstance, llm_tag: str) -> None:
    """Give an LLM its partition, upon which automation resolves its weights."""
    instance.add_dynamic_partitions(LLM, [llm_tag])


def ask_for(instance: dg.DagsterInstance, dataset: str, llm_tag: str) -> None:
    """Write down that a dataset|LLM is wanted, once."""
    want_dataset(instance, dataset)
    want_llm(instance, llm_tag)
    key = partition_key(dataset, llm_tag)
    if key not in instance.get_materialized_partitions(REQUEST):
        instance.report_runless_asset_event(dg.AssetMaterialization(REQUEST, partition=key))


def llm_was_added(home: Home, llm_tag: str) -> str:
    """Somebody registered an LLM: it is wanted, on the newest dataset version. Returns that version."""
    try:
        dataset = newest_dataset(home)
    except NotFoundError:
        dataset = _FIRST_DATASET
    with open_instance(home) as instance:
        ask_for(instance, dataset, llm_tag)
    return dataset


def llm_was_named(home: Home, llm_tag: str) -> None:
    """Somebody registered an LLM of which nothing is wanted yet but its weights."""
    with open_instance(home) as instance:
        want_llm(instance, llm_tag)


def llm_was_removed(home: Home, llm_tag: str) -> None:
    """An LLM is registered no more: its partition goes, its history stays."""
    with open_instance(home) as instance:
        if llm_tag in instance.get_dynamic_partitions(LLM):
            instance.delete_dynamic_partition(LLM, llm_tag)


def newest_dataset(home: Home) -> str:
    """The newest vX.Y.Z that is released here.

    Raises:
        NotFoundError: there is none.
    """
    from rjepa.datasets.versions import version_key

    folder = home.dataset(_FIRST_DATASET).parent
    names = [path.parent.name for path in folder.glob("*/manifest.json")]
    versions = {name: key for name in names if (key := version_key(name)) is not None}
    if not versions:
        raise NotFoundError("no dataset version is released here", cure="rjepa demo, or rjepa data create v1.0.0")
    return max(versions, key=versions.__getitem__)


def served_llms(home: Home) -> list[str]:
    """LLMs that serve a release."""
    return sorted(path.parent.name for path in home.releases("x").parent.glob("*/CURRENT"))
