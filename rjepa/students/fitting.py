"""How a student that is to be added fits this machine: its size before anything is loaded, its precision, the largest
batch of chains that fits, and what to do where none does.

Devices come in as values (`rjepa.students.devices.present_devices`); the arithmetic is `rjepa.students.memory`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rjepa.errors import InvalidInputError
from rjepa.files import read_json
from rjepa.students.catalog import DType, Quantisation, StudentRecord
from rjepa.students.dtypes import DTypeChoice, choose_dtype
from rjepa.students.gguf_files import GGUF, read_gguf_header
from rjepa.students.known import find_known, list_known
from rjepa.students.memory import MemoryNeed, ModelShape, gigabytes, memory_need, shape_from_config, workload_of
from rjepa.students.weights import count_parameters, weight_files

if TYPE_CHECKING:
    from rjepa.students.devices import DeviceMemory

FORCE: Final = "--even-if-too-large"

_FEWEST_CHAINS: Final = 8
"""Decoded together at the least: a smaller batch is slower and saves little beside the weights."""

_ON_THE_FLY: Final[tuple[Quantisation, ...]] = ("none", "bnb8", "bnb4")


@dataclass(frozen=True)
class MemoryRow:
    """What a model needs in one precision, and the first device here that has it, if any."""

    quantisation: Quantisation
    dtype: DType
    need: MemoryNeed
    fits_on: str | None


def known_shape(record: StudentRecord) -> ModelShape | None:
    """The shape of a record's model as far as it is known without fetching anything: that of the catalogue, or of a
    local folder or .gguf file. None for all others: those trained here are small, and those on the hub tell when they
    are fetched.

    Raises:
        RjepaError: local weights that cannot be read.
    """
    known = find_known(record.model)
    if known is not None:
        return known.shape
    folder = Path(record.model).expanduser()
    if folder.suffix == GGUF and folder.is_file():
        return read_gguf_header(folder).shape
    if not (folder / "config.json").is_file():
        return None
    config = read_json(folder / "config.json")
    return shape_from_config(config, count_parameters(weight_files(folder), config))


def with_dtype_for_here(
    record: StudentRecord, devices: Sequence["DeviceMemory"], existing: StudentRecord | None = None
) -> StudentRecord:
    """The record in the precision that suits the device it will run on, with the reason: for students whose precision
    no one has chosen (`rjepa.students.registering.leaves_dtype_open`).

    Args:
        existing: the record that already has this tag. Its precision stays, as what was made is bound to it.
    """
    if existing is not None and existing.model == record.model:
        return record.model_copy(update={"dtype": existing.dtype, "dtype_reason": existing.dtype_reason})
    shape = known_shape(record)
    device = next(
        (d for d in _allowed(record, devices) if shape is None or _holds(d, record, shape, "bfloat16")), devices[-1]
    )
    choice = choose_dtype(device.name, shape)
    if shape is not None and choice.dtype == "float32":
        only_half_fits = _holds(device, record, shape, "bfloat16") and not _holds(device, record, shape, "float32")
        if only_half_fits:
            choice = DTypeChoice("bfloat16", f"float32 does not fit on {device.name}; {choice.reason}")
    return record.model_copy(update={"dtype": choice.dtype, "dtype_reason": choice.reason})


def fit_here(record: StudentRecord, devices: Sequence["DeviceMemory"]) -> StudentRecord:
    """The record with as many chains in a batch as fit on its device: fewer chains on an accelerator go before more on
    the CPU. Unchanged where its size is not known.

    Raises:
        InvalidInputError: it does not fit even with few chains in a batch.
    """
    shape = known_shape(record)
    if shape is None:
        return record
    sizes = [record.sampling.batch_size]
    while sizes[-1] > _FEWEST_CHAINS:
        sizes.append(max(sizes[-1] // 2, _FEWEST_CHAINS))
    allowed = _allowed(record, devices)
    for device in allowed:
        for chains in sizes:
            sampling = record.sampling.model_copy(update={"batch_size": chains})
            if device.holds(memory_need(shape, record.quantisation, record.dtype, workload_of(sampling)).total):
                return record.model_copy(update={"sampling": sampling})
    raise _too_large(record, shape, allowed)


def memory_rows(
    shape: ModelShape, stored: Quantisation, dtype: DType, devices: Sequence["DeviceMemory"]
) -> list[MemoryRow]:
    """What a model needs in each precision it can be loaded in, for the workload of `rjepa llm list --catalog`.

    Plain weights can be quantised while loading; AWQ and GPTQ are shown for what they would need as files.
    """
    kinds: tuple[Quantisation, ...] = (*_ON_THE_FLY, "awq") if stored == "none" else (stored,)
    if shape.expert_parameters:
        kinds = tuple(kind for kind in kinds if kind not in ("bnb8", "bnb4"))
    rows = []
    for kind in kinds:
        need = memory_need(shape, kind, dtype)
        rows.append(MemoryRow(kind, dtype, need, next((d.name for d in devices if d.holds(need.total)), None)))
    return rows


def _allowed(record: StudentRecord, devices: Sequence["DeviceMemory"]) -> list["DeviceMemory"]:
    return [d for d in devices if record.device in ("auto", d.name) or d.name == f"{record.device}:0"]


def _holds(device: "DeviceMemory", record: StudentRecord, shape: ModelShape, dtype: DType) -> bool:
    """Whether few chains at a time fit on a device in this precision."""
    workload = workload_of(record.sampling.model_copy(update={"batch_size": _FEWEST_CHAINS}))
    return device.holds(memory_need(shape, record.quantisation, dtype, workload).total)


def _too_large(record: StudentRecord, shape: ModelShape, devices: Sequence["DeviceMemory"]) -> InvalidInputError:
    workload = workload_of(record.sampling.model_copy(update={"batch_size": _FEWEST_CHAINS}))
    need = memory_need(shape, record.quantisation, record.dtype, workload)
    there = ", ".join(f"{device.name} has {gigabytes(device.free)} free" for device in devices) or "it is not here"
    advice = [*_smaller_kinds(record, shape, devices), *_smaller_models(record, shape, devices)]
    return InvalidInputError(
        f"{record.llm_tag} needs {gigabytes(need.total)} as {record.quantisation} in {record.dtype} "
        f"({gigabytes(need.weights)} of weights); {there}",
        cure=f"{', or '.join(advice) or 'use a larger machine'}; or add it all the same with {FORCE}",
    )


def _smaller_kinds(record: StudentRecord, shape: ModelShape, devices: Sequence["DeviceMemory"]) -> list[str]:
    """Other precisions of the same weights that would fit, the least lossy first."""
    if record.quantisation != "none":
        return []
    bf16 = ["--dtype bfloat16"] if record.dtype == "float32" and _fits(shape, "none", devices) else []
    kinds = () if shape.expert_parameters else _ON_THE_FLY[1:]
    return bf16 + [f"--quantization {kind}" for kind in kinds if _fits(shape, kind, devices)]


def _smaller_models(record: StudentRecord, shape: ModelShape, devices: Sequence["DeviceMemory"]) -> list[str]:
    """The largest smaller model of the catalogue that would fit, by the same makers if they have one."""
    smaller = [known for known in list_known() if known.parameters < shape.parameters and known.quantisation == "none"]
    fitting = [known for known in smaller if _fits(known.shape, "none", devices)]
    makers = record.model.split("/")[0]
    fitting.sort(key=lambda known: (known.hub_id.split("/")[0] == makers, known.parameters))
    return [f"--model {known.name}" for known in fitting[-1:]]


def _fits(shape: ModelShape, kind: Quantisation, devices: Sequence["DeviceMemory"]) -> bool:
    need = memory_need(shape, kind, "bfloat16").total
    return any(device.holds(need) for device in devices)
