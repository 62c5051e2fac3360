"""Training that goes on from a release: its normaliser and its R-JEPA, taken from the verified bundle.

The loop is `rjepa.jepa.trainer`; which release to go on from is decided in `rjepa.living`.
"""

from collections.abc import Mapping

from rjepa.device import best_device
from rjepa.errors import InvalidInputError
from rjepa.feedback.snapshot import feedback_weights
from rjepa.files import sha256_file
from rjepa.home import Home
from rjepa.jepa.checkpoint import MODEL_FILE, load_model
from rjepa.jepa.config import Tuning
from rjepa.jepa.stage import Trained, build_checkpoint, take_normalizer
from rjepa.jepa.starting import Start
from rjepa.latents.shards import latent_version
from rjepa.parts import MODEL_FOLDER, NORMALIZER
from rjepa.progress import Progress, silent
from rjepa.releases.bundle import Manifest, release_folder, verify
from rjepa.releases.lineage import learnt_problems, refuse_carried
from rjepa.stages import StageReport


def open_start(home: Home, llm_tag: str, dataset: str, release_id: str) -> Start:
    """The verified R-JEPA of a release, to train on a dataset version's latents.

    Raises:
        NotFoundError: there is no such release, or its lineage or the latents are gone.
        CorruptError: the bundle is damaged.
        InvalidInputError: the latents were made by another student than the release's, or its R-JEPA was carried over.
    """
    manifest = _verify_own(home, llm_tag, release_id)
    made_by = latent_version(home, llm_tag, dataset).manifest().fingerprint
    if made_by != manifest.student_fingerprint:
        raise InvalidInputError(
            f"release {release_id} is of student {manifest.student_fingerprint[:12]}, the latents of {dataset} are of "
            f"student {made_by[:12]}",
            cure=f"train from scratch for the student as it is now: rjepa backfill --llm {llm_tag} --dataset {dataset}",
        )
    folder = release_folder(home, llm_tag, release_id) / MODEL_FOLDER
    learnt = learnt_problems(home, llm_tag, release_id)
    weights = feedback_weights(home, dataset)
    return Start(release_id, load_model(folder, best_device()), sha256_file(folder / MODEL_FILE), learnt, weights)


def build_checkpoint_from(
    home: Home,
    llm_tag: str,
    dataset: str,
    recipe: str,
    release_id: str,
    tuning: Mapping[str, float | None] | None = None,
    progress: Progress = silent,
    *,
    processes: int = 1,
    environment: Mapping[str, str] | None = None,
) -> Trained:
    """Go on from a release with a run of configs/rjepa/ that says `init_from`, and diagnose what came of it.

    Args:
        tuning: fields of `rjepa.jepa.config.Tuning`, as JSON values.

    Raises:
        Errors as `open_start` and `build_checkpoint`.
    """
    return build_checkpoint(
        home,
        llm_tag,
        dataset,
        recipe,
        progress,
        processes=processes,
        environment=environment,
        start=open_start(home, llm_tag, dataset, release_id),
        tuning=Tuning.model_validate(tuning or {}),
    )


def take_normalizer_from(home: Home, llm_tag: str, dataset: str, release_id: str) -> StageReport:
    """Take a release's normaliser over for a dataset version, frozen: energies before and after stay comparable.

    Raises:
        NotFoundError, CorruptError: the release is not there or damaged.
    """
    _verify_own(home, llm_tag, release_id)
    return take_normalizer(home, llm_tag, dataset, release_folder(home, llm_tag, release_id) / NORMALIZER)


def _verify_own(home: Home, llm_tag: str, release_id: str) -> Manifest:
    manifest = verify(home, llm_tag, release_id)
    refuse_carried(manifest)
    return manifest
