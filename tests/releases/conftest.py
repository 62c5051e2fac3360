"""Small real source files for releases."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from rjepa.files import write_json
from rjepa.home import Home
from rjepa.releases.bundle import Facts, Sources
from rjepa.releases.gate import Figures
from rjepa.releases.publish import ReleaseReport, release


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


class Publisher:
    """Publishes releases whose content follows from one number."""

    def __init__(self, home: Home, folder: Path) -> None:
        self.home = home
        self.folder = folder

    def sources(self, seed: int) -> Sources:
        folder = self.folder / f"sources-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"weight": np.full((4, 4), seed, dtype=np.float32)}, folder / "model.safetensors")
        save_file({"location": np.zeros(4, dtype=np.float32)}, folder / "normalizer.safetensors")
        write_json(folder / "config.json", {"seed": seed})
        write_json(folder / "calibration.json", {"alpha": 1.0})
        return Sources(folder, folder / "normalizer.safetensors", folder / "calibration.json")

    def facts(self, accuracy: float = 0.5, *, passed: bool = True, dataset: str = "v1.0.0") -> Facts:
        figures = Figures(dataset=dataset, num_problems=1000, accuracy=accuracy, diagnostics_passed=passed)
        return Facts("d" * 64, "s" * 64, figures, {"alpha": 1.0}, "test", "run-1")

    def publish(
        self, seed: int, accuracy: float = 0.5, *, passed: bool = True, dataset: str = "v1.0.0"
    ) -> ReleaseReport:
        facts = self.facts(accuracy, passed=passed, dataset=dataset)
        return release(self.home, "tiny-a", dataset, self.sources(seed), facts)


@pytest.fixture
def publisher(home: Home, tmp_path: Path) -> Publisher:
    return Publisher(home, tmp_path)
