"""Sampling K = 8 chains a problem: a decoding session against transformers' `generate` and against the loop that it
replaced, and the price of capture.

`python -m benchmarks.sampling [--gpu] [tiny_a] [deep]`. Subjects: the bundled tiny-a, and a random Qwen3 of 12 layers
and about 30 M parameters on few problems and tokens, some minutes of an idle CPU; both unless named. CPU seconds on one
thread, so that only ratios matter; with `--gpu`, both on a CUDA device, alone, in seconds on the wall.

Session and old loop (`benchmarks.old_sampling`) run in pairs, one after the other, the first of a pair in turn; the
figure is the median of the pairs' ratios, so that what else the machine does matters little. Their chains have to have
the same tokens, and the same figures within rounding; with transformers' own forward in place of the fused step
(`rjepa.students.fused`), the same bits.
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from transformers import PreTrainedModel

from benchmarks.old_sampling import old_sample_indices, with_old_attention
from benchmarks.subject import (
    Clock,
    cpu_seconds,
    on_gpu,
    open_deep,
    open_subject,
    report,
    stock_model,
    subject_problems,
    temporary_folder,
    wall_seconds,
)
from rjepa.students.generation import sample_chains, sample_indices
from rjepa.students.loading import Student
from rjepa.students.sampled import SampledChain

SAMPLES: Final = 8
REPEATS: Final = {"tiny_a": 5, "deep": 3}
SLOW_REPEATS: Final = 2
PAIRS: Final = {"tiny_a": {"batch": 7, "question": 15}, "deep": {"batch": 3, "question": 5}}
"""Pairs of session and old loop: of all problems together, and of one question, where a pass is short."""
SIZES: Final = {"tiny_a": (16, 200), "deep": (1, 48)}
"""Problems a domain, and tokens a chain at most. The random model never ends a chain by itself; tiny-a's chains have 96
on average."""

GPU_SIZE: Final = (4, 64)
"""The same on a GPU, for both: there `generate` waits for launches, whatever the model."""

_ROUNDING: Final = 2e-3
"""The last bit of a float16 is a thousandth of it: latents of two ways to compute may differ by two."""

UNTRAINED_LIMIT: Final = 80
TARGETS: Final = {
    f"{subject}_{figure}": least
    for subject in SIZES
    for figure, least in (
        ("speedup_over_generate_per_problem", 4.0),
        ("speedup_over_batched_generate", 1.3),
        ("without_over_with_capture", 0.97),
        ("old_loop_over_session_batch", 0.97),
        ("old_loop_over_session_question", 0.97),
        ("same_chains_as_old_loop", 1.0),
        ("same_bits_as_old_loop", 1.0),
    )
}


def main() -> None:
    """Measure and report."""
    torch.set_num_threads(1)
    figures: dict[str, float | str] = {}
    gpu = "--gpu" in sys.argv
    prefix, clock = ("gpu_", wall_seconds) if gpu else ("", cpu_seconds)
    named = [name for name in SIZES if name in sys.argv] or list(SIZES)
    with temporary_folder() as folder:
        tiny, figures["weights"] = open_subject(Path(folder))
        for name in named:
            student = tiny if name == "tiny_a" else open_deep(Path(folder), tiny)
            problems, limit = GPU_SIZE if gpu else SIZES[name]
            limit = limit if figures["weights"] == "bundled" else min(limit, UNTRAINED_LIMIT)
            statements = [problem.statement for problem, _ in subject_problems(problems)]
            found = _measured(name, on_gpu(student) if gpu else student, statements, limit, clock)
            figures |= {f"{prefix}{name}_{figure}": value for figure, value in found.items()}
    targets = {name: least for name, least in TARGETS.items() if name.startswith(tuple(named))}
    report("sampling", figures, {f"{prefix}{name}": least for name, least in targets.items()})


def _measured(subject: str, student: Student, statements: list[str], limit: int, clock: Clock) -> dict[str, float]:
    """Figures of one student by name."""

    def own(capture: bool, of: Student = student) -> int:
        rows = sample_chains(of, statements, num_candidates=SAMPLES, seed=0, max_new_tokens=limit, capture=capture)
        return sum(len(chain.token_ids) for row in rows for chain in row)

    stock = stock_model(student)
    tokens = own(capture=True)
    seconds = clock({"captured": lambda: own(capture=True), "plain": lambda: own(capture=False)}, REPEATS[subject])
    seconds |= clock(
        {
            "repeated": lambda: own(False, replace(student, shares_prefix=False)),
            "per_problem": lambda: _generate_each(student, stock, statements, limit),
            "batched": lambda: _generate(student, stock, statements, limit),
        },
        SLOW_REPEATS,
    )
    return {
        "problems": float(len(statements)),
        "tokens": float(tokens),
        "tokens_per_cpu_second": tokens / seconds["captured"],
        "speedup_over_generate_per_problem": seconds["per_problem"] / seconds["captured"],
        "speedup_over_batched_generate": seconds["batched"] / seconds["captured"],
        "speedup_of_sharing_the_prefix": seconds["repeated"] / seconds["plain"],
        "without_over_with_capture": seconds["plain"] / seconds["captured"],
        **_against_the_old_loop(
            student, statements, limit, PAIRS[subject], time.perf_counter if clock is wall_seconds else None
        ),
    }


def _against_the_old_loop(
    student: Student, statements: list[str], limit: int, pairs: dict[str, int], now: Callable[[], float] | None
) -> dict[str, float]:
    """Median ratios of seconds, and 1.0 where the chains are the same: within rounding, and to the bit."""
    old, now = with_old_attention(student), now or time.process_time
    figures: dict[str, float] = {}
    same = same_bits = True
    for name, asked in (("batch", statements), ("question", statements[:1])):
        ratios = []
        for turn in range(pairs[name] + 1):
            works = [(old, old_sample_indices), (student, sample_indices)]
            seconds, found = {}, {}
            for of, sample in works if turn % 2 else works[::-1]:
                started = now()
                found[of is old] = sample(of, asked, range(SAMPLES), seed=0, max_new_tokens=limit)
                seconds[of is old] = now() - started
            same = same and _alike(found[True], found[False])
            if not turn:
                plain = sample_indices(
                    replace(student, fuses=False), asked, range(SAMPLES), seed=0, max_new_tokens=limit
                )
                same_bits = same_bits and _equal(found[True], plain)
            if turn:  # the first warms up
                ratios.append(seconds[True] / seconds[False])
        figures[f"old_loop_over_session_{name}"] = statistics.median(ratios)
    return figures | {"same_chains_as_old_loop": float(same), "same_bits_as_old_loop": float(same_bits)}


def _alike(mine: list[list[SampledChain]], its: list[list[SampledChain]]) -> bool:
    pairs = [pair for rows in zip(mine, its, strict=True) for pair in zip(*rows, strict=True)]
    return all(
        chain.token_ids == twin.token_ids
        and np.allclose(chain.token_logprobs, twin.token_logprobs, atol=_ROUNDING)
        and chain.latents is not None
        and twin.latents is not None
        and np.allclose(chain.latents, twin.latents, rtol=_ROUNDING, atol=8 * _ROUNDING)
        for chain, twin in pairs
    )


def _equal(mine: list[list[SampledChain]], its: list[list[SampledChain]]) -> bool:
    pairs = [pair for rows in zip(mine, its, strict=True) for pair in zip(*rows, strict=True)]
    return all(
        np.array_equal(one, other)
        for chain, twin in pairs
        for one, other in zip(vars(chain).values(), vars(twin).values(), strict=True)
    )


def _generate_each(student: Student, stock: PreTrainedModel, statements: list[str], limit: int) -> None:
    for statement in statements:
        _generate(student, stock, [statement], limit)


def _generate(student: Student, stock: PreTrainedModel, statements: list[str], limit: int) -> None:
    """The obvious way: transformers' own model, padded on the left, K return sequences, default cache."""
    torch.manual_seed(0)
    student.tokenizer.padding_side = "left"
    prompts = student.tokenizer([f"{statement}\n" for statement in statements], return_tensors="pt", padding=True)
    stock.generate(
        input_ids=prompts["input_ids"].to(student.device),
        attention_mask=prompts["attention_mask"].to(student.device),
        do_sample=True,
        temperature=student.record.sampling.temperature,
        top_k=0,
        num_return_sequences=SAMPLES,
        max_new_tokens=limit,
        pad_token_id=student.pad_id,
        eos_token_id=sorted(student.eos_ids),
    )


if __name__ == "__main__":
    main()
