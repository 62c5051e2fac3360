"""One tiny release for all modes, and one that speaks and guides, too."""

from dataclasses import replace

import pytest
import torch

from rjepa.engine import Engine
from rjepa.home import Home
from rjepa.parts import guidance_part, reranking_parts, verbalizer_part
from rjepa.releases.bundle import Diagnosis, Facts
from rjepa.verbalizer.familiar import Familiarity
from rjepa.verbalizer.guiding import GuidanceSettings
from tests.tiny_release import TAG, publish, register_student, release_parts, taught_folder
from tests.verbalizer.small import config, small


@pytest.fixture(scope="session")
def bare_engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    root = tmp_path_factory.mktemp("reasoning")
    home = Home(root / "home")
    student = register_student(home, taught_folder(tmp_path_factory))
    publish(home, student, root / "sources")
    return Engine.load(home, TAG, "cpu")


@pytest.fixture
def engine(bare_engine: Engine) -> Engine:
    """Of a release without decoders."""
    return bare_engine


@pytest.fixture(scope="session")
def speaking_engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Of a release with a decoder that learnt from a few chains, as verbaliser and as guidance."""
    root = tmp_path_factory.mktemp("speaking")
    home, sources, folder = Home(root / "home"), root / "sources", root / "decoder"
    student = register_student(home, taught_folder(tmp_path_factory))
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
    release_parts(home, TAG, "v1.0.0", parts, Facts("d" * 64, student.fingerprint, Diagnosis(passed=True), "test"))
    return Engine.load(home, TAG, "cpu")
