"""How `rjepa llm` lays out what it knows of students and models: text and plain JSON values.

What is shown is worked out in `rjepa.students`.
"""

from collections.abc import Sequence
from typing import Any, Final

from rjepa.students.catalog import Quantisation
from rjepa.students.fitting import MemoryRow
from rjepa.students.known import KnownModel
from rjepa.students.memory import Workload, gigabytes, memory_need
from rjepa.text_tables import add_row, new_table, render

_KINDS: Final[tuple[Quantisation, ...]] = ("none", "bnb8", "awq")
_HEADINGS = ("bfloat16", "8 bits", "4 bits")


def catalogue_text(models: Sequence[KnownModel]) -> str:
    """A line a model: its shape, licence, and what it needs in memory."""
    workload = Workload()
    numbers = ("parameters", "layers", "hidden", "context", *_HEADINGS)
    table = new_table("name", *numbers, "licence", "", numbers=numbers)
    for model in models:
        add_row(table, *_line(model))
    note = (
        f"Memory in GB for {workload.chains} chains of {workload.context} tokens. "
        "Any other model will do as well: give its hub id, folder or .gguf file."
    )
    return f"{render(table)}\n{note}"


def catalogue_values(models: Sequence[KnownModel]) -> list[dict[str, Any]]:
    """The catalogue as JSON values; memory in bytes."""
    return [
        model.model_dump(mode="json")
        | {"memory_bytes": {kind: need for kind, need in zip(_KINDS, _needs(model), strict=True) if need is not None}}
        for model in models
    ]


def memory_text(rows: Sequence[MemoryRow], what_is_here: str) -> str:
    """What a model needs in each precision, and whether it is here."""
    numbers = ("weights", "cache", "working", "together")
    table = new_table("quantisation", "dtype", *numbers, "fits here", numbers=numbers)
    for row in rows:
        need = row.need
        sizes = (gigabytes(size) for size in (need.weights, need.cache, need.working, need.total))
        add_row(table, row.quantisation, row.dtype, *sizes, row.fits_on or "no")
    workload = Workload()
    return f"{render(table)}\nfor {workload.chains} chains of {workload.context} tokens; {what_is_here}"


def memory_values(rows: Sequence[MemoryRow]) -> list[dict[str, Any]]:
    """The same as JSON values, in bytes."""
    return [
        {
            "quantisation": row.quantisation,
            "dtype": row.dtype,
            "weights": row.need.weights,
            "cache": row.need.cache,
            "working": row.need.working,
            "total": row.need.total,
            "fits_on": row.fits_on,
        }
        for row in rows
    ]


def _line(model: KnownModel) -> tuple[str, ...]:
    needs = ["-" if need is None else f"{need / 1e9:.1f}" for need in _needs(model)]
    marks = ((model.quantisation, model.quantisation != "none"), ("gated", model.gated))
    notes = ", ".join(mark for mark, holds in marks if holds)
    return (
        model.name,
        f"{model.parameters / 1e9:.2f}B",
        str(model.num_layers),
        str(model.hidden_size),
        str(model.context_length),
        *needs,
        model.licence,
        notes,
    )


def _needs(model: KnownModel) -> list[int | None]:
    """Bytes in each of `_KINDS`; None where the model cannot be loaded so."""
    needs: list[int | None] = []
    for kind in _KINDS:
        stored = model.quantisation
        possible = kind == "awq" if stored in ("awq", "gptq") else not (kind == "bnb8" and model.experts)
        needs.append(memory_need(model.shape, kind, "bfloat16").total if possible else None)
    return needs
