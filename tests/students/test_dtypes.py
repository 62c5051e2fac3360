"""The precision of a student of whose precision nobody decided: what this machine is fastest in, with the reason."""

from pathlib import Path

import pytest

import rjepa.precision
import rjepa.students.dtypes as dtypes
from rjepa.students.catalog import StudentRecord
from rjepa.students.devices import DeviceMemory
from rjepa.students.dtypes import choose_dtype
from rjepa.students.fitting import with_dtype_for_here
from rjepa.students.memory import ModelShape
from rjepa.students.registering import leaves_dtype_open, new_record
from tests.students.tiny import write_student

GB = 10**9
CPU = DeviceMemory("cpu", 64 * GB, 60 * GB)
CARD = DeviceMemory("cuda:0", 24 * GB, 22 * GB)


def natively(monkeypatch: pytest.MonkeyPatch, *kinds: str) -> None:
    monkeypatch.setattr(rjepa.precision, "multiplies_bf16", lambda kind: kind in kinds)


def measured(monkeypatch: pytest.MonkeyPatch, float32: float, bfloat16: float) -> None:
    monkeypatch.setattr(dtypes, "_measure", lambda shape: (float32, bfloat16))


def qwen(**changes: object) -> StudentRecord:
    return StudentRecord.model_validate({"llm_tag": "q", "model": "Qwen/Qwen3-8B"} | changes)


def test_a_device_without_bfloat16_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    natively(monkeypatch, "cuda")
    assert choose_dtype("cpu").dtype == "float32" and "no instructions" in choose_dtype("cpu").reason
    assert choose_dtype("cuda:1").dtype == "bfloat16"


@pytest.mark.parametrize(("seconds", "chosen"), [((0.010, 0.005), "bfloat16"), ((0.010, 0.009), "float32")])
def test_a_cpu_that_can_do_both_takes_what_is_measured_faster(
    seconds: tuple[float, float], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    natively(monkeypatch, "cpu")
    measured(monkeypatch, *seconds)
    choice = choose_dtype("cpu")
    assert choice.dtype == chosen and "10.0 ms in float32" in choice.reason


def test_the_measurement_takes_any_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    natively(monkeypatch, "cpu")
    for shape in (None, ModelShape(0, 64, 96, 2, 3, 16, 300, True), ModelShape(0, 32, 0, 1, 1, 8, 100, True)):
        assert choose_dtype("cpu", shape).reason


def test_what_fits_in_half_the_bytes_alone_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    natively(monkeypatch, "cpu")
    measured(monkeypatch, 0.01, 0.02)
    assert with_dtype_for_here(qwen(), [CPU]).dtype == "float32"
    narrow = with_dtype_for_here(qwen(), [DeviceMemory("cpu", 32 * GB, 30 * GB)])
    assert narrow.dtype == "bfloat16" and narrow.dtype_reason is not None
    assert narrow.dtype_reason.startswith("float32 does not fit on cpu")


def test_the_device_it_will_run_on_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    natively(monkeypatch, "cuda")
    assert with_dtype_for_here(qwen(), [CARD, CPU]).dtype == "bfloat16"
    assert with_dtype_for_here(qwen(device="cpu"), [CARD, CPU]).dtype == "float32"


def test_adding_a_tag_again_keeps_what_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    natively(monkeypatch, "cpu")
    measured(monkeypatch, 0.01, 0.02)
    existing = qwen(dtype="bfloat16", dtype_reason="as it was")
    assert with_dtype_for_here(qwen(), [CPU], existing) == existing


def test_a_folder_and_students_of_ours_keep_the_precision_of_their_files(tmp_path: Path) -> None:
    assert not leaves_dtype_open(new_record("x", str(write_student(tmp_path / "model"))))
    assert not leaves_dtype_open(new_record("tiny-a", "bundled"))
    assert leaves_dtype_open(new_record("x", "qwen3-0.6b")) and leaves_dtype_open(new_record("x", "owner/name"))
