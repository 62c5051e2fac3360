"""Memory: the formula against hand-worked cases, published sizes and real tiny models; the device that is chosen."""

from pathlib import Path

import pytest

from rjepa.errors import InvalidInputError
from rjepa.home import Home
from rjepa.students.catalog import Sampling, StudentRecord
from rjepa.students.devices import DeviceMemory, choose_device, present_devices
from rjepa.students.fitting import fit_here, known_shape, memory_rows
from rjepa.students.known import get_known
from rjepa.students.loading import Student, load_student, place_student, resolve_student
from rjepa.students.memory import Workload, memory_need, shape_from_config, weight_bytes, workload_of
from rjepa.students.weights import count_parameters, weight_files
from tests.students.tiny import record

GB = 10**9
CPU = DeviceMemory("cpu", 32 * GB, 24 * GB)
CARD = DeviceMemory("cuda:0", 80 * GB, 70 * GB)
SMALL_CARD = DeviceMemory("cuda:1", 8 * GB, 7 * GB)


def qwen(**changes: object) -> StudentRecord:
    values = {"llm_tag": "q", "model": "Qwen/Qwen3-8B", "dtype": "bfloat16"}
    return StudentRecord.model_validate(values | {"sampling": Sampling(max_new_tokens=512, batch_size=64)} | changes)


def test_a_real_students_weights_are_what_the_formula_says(student: Student) -> None:
    files = weight_files(student.path)
    shape = shape_from_config(student.model.config.to_dict(), count_parameters(files, {}))
    assert shape.parameters == sum(parameter.numel() for parameter in student.model.parameters())
    assert weight_bytes(shape, "none", "float32") == student.model.get_memory_footprint(return_buffers=False)
    on_disk = sum(file.stat().st_size for file in files)
    assert 0 <= on_disk - weight_bytes(shape, "none", "float32") < 8192  # the header


def test_the_cache_is_worked_out_by_hand() -> None:
    need = memory_need(get_known("qwen3-8b").shape, "none", "bfloat16", Workload(chains=4, context=1000))
    assert need.cache == 2 * 36 * 8 * 128 * 2 * 4 * 1000  # 147,456 bytes a token
    assert need.weights == 2 * 8_190_735_360
    assert need.total == need.weights + need.cache + need.working


def test_four_bits_are_what_published_files_have() -> None:
    """Qwen/Qwen3-8B-AWQ is 6.1 GB on the hub: 6.95 billion weights at 4.16 bits, the tables of 1.24 billion at 16."""
    assert weight_bytes(get_known("qwen3-8b-awq").shape, "awq", "float16") == pytest.approx(6.1e9, rel=0.01)


def test_bitsandbytes_leaves_experts_as_they_are() -> None:
    shape = get_known("qwen3-30b-a3b").shape
    assert shape.expert_parameters / shape.parameters == pytest.approx(0.95, abs=0.01)
    assert weight_bytes(shape, "bnb4", "bfloat16") > 0.9 * weight_bytes(shape, "none", "bfloat16")
    assert weight_bytes(shape, "awq", "bfloat16") < 0.3 * weight_bytes(shape, "none", "bfloat16")
    assert {row.quantisation for row in memory_rows(shape, "none", "bfloat16", [CPU])} == {"none", "awq"}


def test_packed_weights_count_as_what_they_were(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    packed = {
        "a.qweight": torch.zeros(256, 64, dtype=torch.int32),
        "a.qzeros": torch.zeros(2, 64, dtype=torch.int32),
        "a.scales": torch.zeros(2, 512, dtype=torch.float16),
        "norm.weight": torch.zeros(256),
    }
    save_file(packed, tmp_path / "model.safetensors")
    assert count_parameters(weight_files(tmp_path), {"quantization_config": {"bits": 4}}) == 256 * 512 + 256


def test_the_accelerator_with_room_is_chosen_and_the_reason_names_what_was_compared() -> None:
    choice = choose_device("auto", 20 * GB, [SMALL_CARD, CARD, CPU])
    assert choice.device == "cuda:0" and choice.fits
    assert choice.reason == "cuda:0: 20.0 GB needed, 70.0 GB of 80.0 GB free on cuda:0"


def test_the_cpu_takes_what_fits_on_no_accelerator_and_says_why() -> None:
    choice = choose_device("auto", 20 * GB, [SMALL_CARD, CPU])
    assert choice.device == "cpu" and choice.fits
    assert "does not fit on cuda:1: 20.0 GB needed, 7.0 GB of 8.0 GB free" in choice.reason
    assert "there is no accelerator" in choose_device("auto", GB, [CPU]).reason
    assert not choose_device("auto", 30 * GB, [CPU]).fits


def test_a_device_that_is_not_here_is_refused() -> None:
    assert choose_device("cuda", GB, [CARD, CPU]).device == "cuda"
    with pytest.raises(InvalidInputError, match="cuda is not here .there is cpu.*\n.*auto"):
        choose_device("cuda", GB, [CPU])


def test_this_machine_has_a_cpu_and_says_how_much_memory() -> None:
    cpu = present_devices()[-1]
    assert cpu.name == "cpu" and 0 < cpu.free <= cpu.total


def test_a_loaded_student_says_where_it_is_and_why(qwen_folder: Path, tmp_path: Path) -> None:
    resolved = resolve_student(Home(tmp_path), record(qwen_folder, device="cpu"))
    student = load_student(resolved)
    assert str(student.device) == "cpu" and student.device_reason.startswith("cpu was asked for; ")
    choice, need = place_student(resolved)
    assert choice.fits and need.weights == student.model.get_memory_footprint(return_buffers=False)


def test_a_student_that_fits_is_registered_with_the_largest_batch_that_does() -> None:
    assert fit_here(qwen(), [CARD, CPU]).sampling.batch_size == 64
    chosen = fit_here(qwen(), [CPU]).sampling
    assert chosen.batch_size in (8, 16, 32)
    need = memory_need(get_known("qwen3-8b").shape, "none", "bfloat16", workload_of(chosen))
    assert CPU.holds(need.total)


def test_a_student_that_does_not_fit_is_refused_with_what_would() -> None:
    with pytest.raises(InvalidInputError) as refused:
        fit_here(qwen(), [DeviceMemory("cpu", 16 * GB, 14 * GB)])
    assert "q needs 18.0 GB" in refused.value.problem and "cpu has 14.0 GB free" in refused.value.problem
    for advice in ("--quantization bnb4", "--model qwen3-4b", "--even-if-too-large"):
        assert advice in refused.value.cure


def test_advice_for_a_mixture_never_names_what_would_not_help() -> None:
    with pytest.raises(InvalidInputError) as refused:
        fit_here(qwen(model="Qwen/Qwen3-30B-A3B"), [CPU])
    assert "--quantization" not in refused.value.cure


def test_the_device_of_a_record_is_the_only_one_that_counts() -> None:
    with pytest.raises(InvalidInputError, match="cuda:1 has 7.0 GB free"):
        fit_here(qwen(device="cuda:1"), [SMALL_CARD, CARD, CPU])


def test_the_size_of_a_local_folder_is_read_from_its_headers_and_of_an_unknown_model_not_at_all(
    qwen_folder: Path,
) -> None:
    shape = known_shape(record(qwen_folder))
    assert shape is not None and (shape.hidden_size, shape.kv_heads, shape.head_dim, shape.tied) == (32, 2, 8, True)
    unknown = record(qwen_folder).model_copy(update={"model": "somebody/else"})
    assert known_shape(unknown) is None and fit_here(unknown, [CPU]) == unknown
