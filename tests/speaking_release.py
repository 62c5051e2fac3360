"""The tiny release with a decoder that learnt from a few chains, as verbaliser and guidance: all modes are offered."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from rjepa.adapters.adapter import Adapter
from rjepa.adapters.opening import WorldModelFiles
from rjepa.home import Home
from rjepa.latents.sets import LatentSet
from rjepa.parts import CALIBRATION, adapter_part, guidance_part, reranking_parts, verbalizer_part
from rjepa.releases.bundle import Diagnosis, Facts, load_manifest, release_folder
from rjepa.students.loading import Student
from rjepa.verbalizer.familiar import Familiarity
from rjepa.verbalizer.guiding import GuidanceSettings
from tests.tiny_release import TAG, publish, release_parts
from tests.verbalizer.small import config, small


def publish_speaking(
    home: Home,
    student: Student,
    root: Path,
    carry: Callable[[LatentSet], Adapter] | None = None,
    updates: int = 120,
    guided: bool = False,
) -> str:
    """Release R-JEPA with both decoders; `root` is a folder for what is made on the way. Returns the release's id.

    Args:
        carry: as of `publish`: the decoders then speak what another student's R-JEPA expects.
        updates: of the decoder's training.
        guided: whether the release says how sure a guided answer is; by the figures of chains that nothing guided.
    """
    sources, folder = root / "sources", root / "decoder"
    manifest = load_manifest(home, TAG, publish(home, student, sources, carry=carry))
    world_model = WorldModelFiles.laid_out(release_folder(home, TAG, manifest.release_id)).open("cpu")
    material = small(student, None if carry is None else world_model)
    material.train(config(learns="observed", updates=updates), folder)
    GuidanceSettings(alpha=0.7).save(folder)
    if guided:
        shutil.copyfile(sources / CALIBRATION, folder / CALIBRATION)
    first = material.latents.offsets[:-1]
    prompts = torch.from_numpy(material.world_model[1].read(material.latents.latents[first]))
    replace(Familiarity.fit(prompts, prompts), limit=1e9).save(folder)
    parts = (
        *reranking_parts(sources, sources / "normalizer.safetensors", sources / "calibration.json"),
        *(() if carry is None else (adapter_part(sources / "adapter"),)),
        verbalizer_part(folder),
        guidance_part(folder),
    )
    facts = Facts("d" * 64, student.fingerprint, Diagnosis(passed=True), "test", carried=manifest.carried)
    return release_parts(home, TAG, "v1.0.0", parts, facts)
