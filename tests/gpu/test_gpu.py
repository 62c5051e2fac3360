"""What runs on a CUDA device agrees with what runs on the CPU. Skipped where there is no such device.

`python -m pytest tests/gpu`
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from rjepa.errors import InvalidInputError
from rjepa.files import read_json
from rjepa.home import Home
from rjepa.jepa.batches import Assembler
from rjepa.jepa.checkpoint import load_model
from rjepa.jepa.reader import Reader
from rjepa.jepa.trainer import train
from rjepa.latents.normalizer import fit_normalizer
from rjepa.students.extraction import extract_latents
from rjepa.students.generation import sample_chains
from rjepa.students.loading import Student, load_student
from rjepa.students.recipe import StudentRecipe
from rjepa.students.resolving import resolve_student
from rjepa.students.training import train_student
from tests.jepa.synthetic import synthetic_set, tiny_config
from tests.students.encoding import assert_encoded_alike
from tests.students.tiny import record, write_student

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

STATEMENTS = ["Tom has 3 apples. He buys 4.", "a = 2\nb = a * 5\nWhat is b?", "Rex is a wug."]
CHAINS = ["Step 1: 3 + 4 = 7\nAnswer: 7", "Step 1: b = 2 * 5\nStep 2: b = 10\nAnswer: 10", "Answer: yes"]


def _open(folder: Path, home: Path, device: str, **changes: object) -> Student:
    return load_student(resolve_student(Home(home), record(folder, device=device, **changes)))


@pytest.fixture(params=["qwen3", "llama", "gpt2"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Student, Student]:
    folder = write_student(tmp_path / "model", request.param)
    return _open(folder, tmp_path / "home", "cpu"), _open(folder, tmp_path / "home", "auto")


def test_a_student_goes_to_the_gpu_by_itself_and_says_why(both: tuple[Student, Student]) -> None:
    cpu, gpu = both
    assert gpu.device.type == "cuda" and "free on cuda:0" in gpu.device_reason
    assert gpu.fingerprint == cpu.fingerprint


def test_latents_are_those_of_the_cpu(both: tuple[Student, Student]) -> None:
    here, there = (extract_latents(student, STATEMENTS, CHAINS) for student in both)
    for left, right in zip(here, there, strict=True):
        assert left is not None and right is not None
        np.testing.assert_allclose(left.latents, right.latents, atol=5e-3)
        np.testing.assert_array_equal(left.boundaries, right.boundaries)


def test_chains_are_those_of_the_cpu(both: tuple[Student, Student]) -> None:
    here, there = (sample_chains(student, STATEMENTS, num_candidates=3, seed=2) for student in both)
    for row, other in zip(here, there, strict=True):
        # The noise is drawn on the CPU for both: only a draw within rounding of a boundary may differ.
        assert sum(a.text == b.text for a, b in zip(row, other, strict=True)) >= 2


def test_captured_latents_are_those_of_reading_the_same_tokens_again(both: tuple[Student, Student]) -> None:
    _, gpu = both
    for statement, row in zip(STATEMENTS, sample_chains(gpu, STATEMENTS, num_candidates=3, seed=2), strict=True):
        for chain in row:
            assert_encoded_alike(gpu, statement, chain)


def test_bfloat16_latents_point_where_full_precision_does(tmp_path: Path) -> None:
    folder = write_student(tmp_path / "model")
    full = _open(folder, tmp_path / "home", "cuda")
    coarse = _open(folder, tmp_path / "home", "cuda", dtype="bfloat16")
    for left, right in zip(*(extract_latents(one, STATEMENTS, CHAINS) for one in (full, coarse)), strict=True):
        assert left is not None and right is not None
        one, two = left.latents.astype(np.float64), right.latents.astype(np.float64)
        cosine = (one * two).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)
        assert cosine.min() > 0.99


@pytest.mark.parametrize("bf16", [False, True])
def test_r_jepa_trains_on_the_gpu_and_judges_alike_on_both(tmp_path: Path, bf16: bool) -> None:
    chains, held_out = synthetic_set(256, 1), synthetic_set(64, 2, split="validation")
    normalizer = fit_normalizer(chains)
    config = tiny_config(optim={"updates": 60, "bf16": bf16})
    report = train(config, chains, held_out, normalizer, tmp_path / "model", device="cuda")
    assert report.validation[-1]["energy"] < report.validation[0]["energy"]
    assert report.unmoved == []
    here, there = (load_model(tmp_path / "model", torch.device(kind)) for kind in ("cpu", "cuda"))
    batch = Assembler(held_out, Reader.of(config, normalizer), config, here.domain_names).gather(np.arange(32))
    torch.testing.assert_close(here.energies(batch), there.energies(batch.to(there.device)).cpu(), atol=2e-3, rtol=1e-2)


def test_a_training_stopped_on_the_gpu_goes_on_there(tmp_path: Path) -> None:
    chains, held_out = synthetic_set(128, 1), synthetic_set(32, 2, split="validation")
    normalizer, config = fit_normalizer(chains), tiny_config()

    def stop(done: int, total: int, note: str = "") -> None:
        if done == 7:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(config, chains, held_out, normalizer, tmp_path / "stopped", stop, device="cuda")
    resumed = train(config, chains, held_out, normalizer, tmp_path / "stopped", device="cuda")
    whole = train(config, chains, held_out, normalizer, tmp_path / "whole", device="cuda")
    assert resumed.updates == whole.updates
    assert resumed.validation[-1]["energy"] == pytest.approx(whole.validation[-1]["energy"], rel=1e-3)


def test_a_small_student_trains_on_the_gpu_with_texts_written_by_other_processes(tmp_path: Path) -> None:
    recipe = StudentRecipe(
        name="tiny-test",
        architecture="llama",
        model={"hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 32, "num_attention_heads": 2},
        vocab_size=400,
        mixture={"math": 1.0},
        updates=30,
        batch_size=16,
        warmup_updates=2,
    )
    losses: list[float] = []

    def follow(done: int, total: int, note: str = "") -> None:
        losses.append(float(note.split()[1].rstrip(",")))

    folder = train_student(recipe, tmp_path / "student", follow, workers=2)
    assert losses[-1] < losses[0]
    assert read_json(folder / "recipe.json")["name"] == "tiny-test"


def test_a_named_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    student = record(write_student(tmp_path / "model"), device="cuda:63")
    with pytest.raises(InvalidInputError, match="cuda:63 is not here"):
        load_student(resolve_student(Home(tmp_path / "home"), student))
