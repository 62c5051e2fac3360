"""What a release has learnt from: the releases that it went on from, and the problems of all their dataset versions.

A release went on from another where its world model's config says so (`init_from`). One whose weights have seen an item
that was withdrawn since is not clean, and neither is any that went on from it.
"""

from collections.abc import Collection

from rjepa.datasets.reading import problem_ids
from rjepa.errors import CorruptError, InvalidInputError, NotFoundError
from rjepa.files import read_json
from rjepa.home import Home
from rjepa.parts import MODEL_FOLDER
from rjepa.releases.bundle import Manifest, load_manifest, release_folder
from rjepa.releases.pointer import require_current


def went_on_from(home: Home, llm_tag: str, release_id: str) -> str | None:
    """The release whose weights this one's training started from; None for one that was trained from nothing. Of a
    carried R-JEPA it is a release of the LLM that it was carried from.

    Raises:
        NotFoundError, CorruptError: as `load_manifest`.
    """
    path = release_folder(home, llm_tag, release_id) / MODEL_FOLDER / "config.json"
    try:
        found = read_json(path).get("init_from")
    except NotFoundError as error:
        raise CorruptError(f"release {release_id} has no {MODEL_FOLDER}/config.json", cure="roll back") from error
    return None if found is None else str(found)


def lineage(home: Home, llm_tag: str, release_id: str) -> list[Manifest]:
    """The release and those that it went on from, newest first.

    Raises:
        NotFoundError: one of them is gone, so that nobody can say what this release has learnt from.
        CorruptError: a manifest or config cannot be read.
    """
    found: list[Manifest] = []
    at: str | None = release_id
    while at is not None:
        manifest = load_manifest(home, llm_tag, at)
        found.append(manifest)
        at = went_on_from(home, llm_tag, at)
        if manifest.carried is not None:
            llm_tag = manifest.carried.source.llm_tag
    return found


def refuse_carried(manifest: Manifest) -> None:
    """Refuse to train on from a release whose R-JEPA was carried over.

    Raises:
        InvalidInputError: so it is.
    """
    if manifest.carried is not None:
        source, target = manifest.carried.source.llm_tag, manifest.llm_tag
        raise InvalidInputError(
            f"the R-JEPA of release {manifest.release_id} is {source}'s and knows the latents of {target} through an "
            "adapter alone, so that nothing is trained on from it",
            cure=f"let {source} learn and carry it again, or give {target} one of its own: rjepa llm migrate --from "
            f"{source} --to {target} --strategy retrain",
        )


def learnt_problems(home: Home, llm_tag: str, release_id: str) -> frozenset[str]:
    """Ids of all problems that the weights of a release may have learnt from: its version's, and its ancestors'.

    Raises:
        NotFoundError: a release or a dataset version of the lineage is gone.
    """
    return frozenset().union(*(problem_ids(home, manifest.dataset) for manifest in lineage(home, llm_tag, release_id)))


def last_clean(home: Home, llm_tag: str, withdrawn: Collection[str], release_id: str | None = None) -> str | None:
    """The newest release of a lineage that has learnt from none of the withdrawn problems; None where all have.

    Args:
        withdrawn: ids of problems.
        release_id: where the lineage begins; None for what is served.

    Raises:
        NotFoundError: nothing is served, or a release of the lineage is gone.
    """
    chain = lineage(home, llm_tag, release_id or require_current(home, llm_tag))
    seen: set[str] = set()
    clean: str | None = None
    # From the oldest on: what an ancestor has learnt, its descendants have.
    for manifest in reversed(chain):
        seen |= problem_ids(home, manifest.dataset)
        if not seen.isdisjoint(withdrawn):
            break
        clean = manifest.release_id
    return clean
