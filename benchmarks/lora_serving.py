"""LoRAs beside a served student: what one costs in memory and time, and what answering with several at once costs.

`python -m benchmarks.lora_serving`. Subjects: the bundled tiny-a, and a random Qwen3 of 12 layers and about 30 M
parameters. LoRAs of rank 8 on all seven products of each layer, as peft writes them before a training: they add
nothing, at the price of any, so that all write the same chains. CPU seconds on one thread, so that only ratios matter.

`lora_over_base`: tokens a second with a LoRA, of those without one, both by the decoding step of
`rjepa.students.native`. `lora_over_peft_forward`: the same against peft's modules in transformers' forward, which is
what a LoRA would cost without it. `two_over_one`: rows of two LoRAs, fed pass by pass as the service feeds them, of as
many rows of one. `bytes_of_one`: what one LoRA adds, as a share of what the base holds.
"""

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from peft import LoraConfig, get_peft_model

from benchmarks.subject import (
    cpu_seconds,
    open_deep,
    open_subject,
    report,
    stock_model,
    subject_problems,
    temporary_folder,
)
from rjepa.students.loading import Student
from rjepa.students.lora.beside import put_beside
from rjepa.students.lora.files import Lora, seal_lora
from rjepa.students.lora.registering import describe_lora
from rjepa.students.native import NativeDecoder
from rjepa.students.sampled import RowRequest, Until
from rjepa.students.session import Session

RANK: Final = 8
ROWS: Final = {"one_row": 1, "sixteen_rows": 16}
"""A person alone, and a service that is asked by many."""
SIZES: Final = {"tiny_a": (120, 9), "deep": (40, 3)}
"""Tokens a chain, and repeats of each work."""
TARGETS: Final = {
    f"{subject}_{figure}": least
    for subject in SIZES
    for figure, least in (
        ("one_row_lora_over_base", 0.6),
        ("sixteen_rows_lora_over_base", 0.6),
        ("sixteen_rows_lora_over_peft_forward", 1.0),
        ("base_bytes_over_bytes_of_one", 4.0),
    )
}


def main() -> None:
    """Measure and report."""
    torch.set_num_threads(1)
    figures: dict[str, float | str] = {"rank": RANK}
    with temporary_folder() as name:
        folder = Path(name)
        tiny, figures["weights"] = open_subject(folder)
        for subject, student in (("tiny_a", tiny), ("deep", open_deep(folder, tiny))):
            loras = [_beside(student, folder / subject / str(seed), seed) for seed in (0, 1)]
            found = _measured(student, loras, *SIZES[subject])
            figures |= {f"{subject}_{figure}": value for figure, value in found.items()}
    report("lora_serving", figures, TARGETS)


def _beside(base: Student, folder: Path, seed: int) -> Student:
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft asks transformers for a property that is deprecated
        config = LoraConfig(r=RANK, target_modules="all-linear", task_type="CAUSAL_LM")
        get_peft_model(stock_model(base), config).save_pretrained(str(folder / "peft"), save_embedding_layers=False)
    return put_beside(base, _sealed(base, folder), base.record.model_copy(update={"llm_tag": f"l{seed}"}), "0" * 64)


def _sealed(base: Student, folder: Path) -> Lora:
    return seal_lora(folder / "peft", folder / "sealed", describe_lora(base, "l", origin="imported"))


def _measured(base: Student, loras: list[Student], tokens: int, repeats: int) -> dict[str, float]:
    statements = [problem.statement for problem, _ in subject_problems(16)][: max(ROWS.values())]
    slow = replace(loras[0], fuses=False)
    figures: dict[str, float] = {}
    for rows, count in ROWS.items():
        asked = statements[:count]
        works: dict[str, Callable[[], object]] = {
            "base": lambda asked=asked: _write([(base, asked)], tokens),
            "lora": lambda asked=asked: _write([(loras[0], asked)], tokens),
            "peft": lambda asked=asked: _write([(slow, asked)], tokens),
        }
        if count > 1:
            half = count // 2
            works["two"] = lambda asked=asked, half=half: _write(
                [(loras[0], asked[:half]), (loras[1], asked[half:])], tokens
            )
        for work in works.values():
            work()  # what is compiled once
        seconds = cpu_seconds(works, repeats)
        figures[f"{rows}_lora_over_base"] = seconds["base"] / seconds["lora"]
        figures[f"{rows}_lora_over_peft_forward"] = seconds["peft"] / seconds["lora"]
        figures[f"{rows}_base_cpu_seconds"] = seconds["base"]
        if "two" in seconds:
            figures[f"{rows}_two_over_one"] = seconds["lora"] / seconds["two"]
    held, more = _bytes(base), _bytes(base, loras[0])
    figures["base_megabytes"] = held / 1e6
    figures["base_bytes_over_bytes_of_one"] = held / (more - held)
    return figures


def _write(parts: list[tuple[Student, list[str]]], tokens: int) -> None:
    """Chains of so many tokens of each student's statements, pass by pass in turn, as the service's thread does."""
    sessions = [Session(student) for student, _ in parts]
    runs = []
    for session, (_, statements) in zip(sessions, parts, strict=True):
        session.add([RowRequest(one, 1, 0, 0.8, tokens) for one in statements])
        runs.append(session.run(Until.CHAIN, tokens=False, steps=False))
    while runs:
        runs = [run for run in runs if next(run, None) is not None]
    for session in sessions:
        session.close()


def _bytes(*students: Student) -> int:
    """Of all tensors of these students and of their decoders, each storage once."""
    found: dict[int, int] = {}
    for student in students:
        for tensor in (*student.model.parameters(), *student.model.buffers()):
            found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        decoder = None if student.fused is None else student.fused[0]
        if isinstance(decoder, NativeDecoder):
            arrays = [array for layer in (*decoder.layers, *(decoder.added or ()), decoder.top) for array in layer]
            found |= {array.ctypes.data: array.nbytes for array in arrays if array.size}
    return sum(found.values())


if __name__ == "__main__":
    main()
