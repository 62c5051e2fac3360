"""The tiny release with a decoder that learnt from a few chains, as verbaliser and guidance: all modes are offered."""

from dataclasses import replace
from pathlib import Path

import torch

from rjepa.home import Home
from rjepa.parts import guidance_part, reranking_parts, verbalizer_part
from rjepa.releases.bundle import Diagnosis, Facts
from rjepa.students.loading import Student
from rjepa.verbalizer.familiar import Familiarity
from rjepa.verbalizer.guiding import GuidanceSettings
from tests.tiny_release import TAG, publish, release_parts
from tests.verbalizer.small import config, small


def publish_speaking(home: Home, student: Student, root: Path) -> str:
    """Release R-JEPA with both decoders; `root` is a folder for what is made on the way. Returns the release's id."""
    sources, folder = root / "sources", root / "decoder"
    publish(home, student, sources)
    material = small(student)
    material.train(config(learns="observed", updates=120), folder)
    GuidanceSettings(alpha=0.7).save(folder)
    prompts = torch.from_numpy(material.latents.latents[material.latents.offsets[:-1]].astype("float32"))
    replace(Familiarity.fit(prompts, prompts), limit=1e9).save(folder)
    parts = (
        *reranking_parts(sources, sources / "normalizer.safetensors", sources / "calibration.json"),
        verbalizer_part(folder),
        guidance_part(folder),
    )
    facts = Facts("d" * 64, student.fingerprint, Diagnosis(passed=True), "test")
    return release_parts(home, TAG, "v1.0.0", parts, facts)
