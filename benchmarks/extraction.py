"""Latents of chains: truncated and batched, against the obvious loop and against the limit of the model's forward.

`python -m benchmarks.extraction`. CPU seconds on one thread, so that only ratios matter.
"""

from pathlib import Path

import torch

from benchmarks.subject import cpu_seconds, open_subject, report, subject_problems, temporary_folder
from rjepa.chains import render_chain
from rjepa.latents.extraction import extract_latents
from rjepa.students.loading import Student
from rjepa.students.pooling import pool_segments, to_float16
from rjepa.students.segmentation import segment_tokens

CHAINS_A_DOMAIN = 200
LOOP_CHAINS = 60
REPEATS = 3
PACKED_ROW = 128
TARGETS = {"speedup_over_the_obvious_loop": 10.0, "share_of_packed_forward": 0.8}
"""What was asked for. The first is out of reach of one thread and float32 on a model this small, where arithmetic is
most of either way: leaving out one layer of six and the head is worth 1.2, bfloat16 another 1.7."""


def main() -> None:
    """Measure and report."""
    torch.set_num_threads(1)
    with temporary_folder() as folder:
        student, weights = open_subject(Path(folder))
        pairs = subject_problems(CHAINS_A_DOMAIN)
        statements = [problem.statement for problem, _ in pairs]
        texts = [render_chain(chain.steps, chain.final_answer) for _, chain in pairs]
        encoded = extract_latents(student, statements, texts)
        tokens = sum(found.tokens for found in encoded if found is not None)
        stride = len(texts) // LOOP_CHAINS
        seconds = cpu_seconds(
            {
                "own": lambda: extract_latents(student, statements, texts),
                "loop": lambda: _obvious_loop(student, statements[::stride], texts[::stride]),
                "packed": lambda: _packed_forward(student, tokens),
            },
            REPEATS,
        )
        looped_tokens = sum(found.tokens for found in encoded[::stride] if found is not None)
        loop = seconds["loop"] * tokens / looped_tokens
        report(
            "extraction",
            {
                "weights": weights,
                "chains": float(len(texts)),
                "tokens": float(tokens),
                "tokens_per_cpu_second": tokens / seconds["own"],
                "speedup_over_the_obvious_loop": loop / seconds["own"],
                "share_of_packed_forward": seconds["packed"] / seconds["own"],
            },
            TARGETS,
        )


@torch.inference_mode()
def _obvious_loop(student: Student, statements: list[str], texts: list[str]) -> None:
    """One chain at a time through the whole model with its head, keeping every layer's states."""
    for statement, text in zip(statements, texts, strict=True):
        prompt = student.tokenizer(f"{statement}\n")["input_ids"]
        ids, boundaries = segment_tokens(student.tokenizer, prompt, text)
        output = student.model(input_ids=torch.tensor([ids]), output_hidden_states=True)
        states = output.hidden_states[student.record.layer_idx][0]
        to_float16(pool_segments(states, boundaries, student.pieces.has_content[ids], student.record.poolings))


@torch.inference_mode()
def _packed_forward(student: Student, tokens: int) -> None:
    """The forward alone, over as many tokens without any padding, in rows of about a chain's length."""
    rows = -(-tokens // PACKED_ROW)
    batch = 2048 // PACKED_ROW
    for first in range(0, rows, batch):
        ids = torch.randint(5, 200, (min(batch, rows - first), PACKED_ROW))
        student.encoder(input_ids=ids, use_cache=False)


if __name__ == "__main__":
    main()
