"""What was captured while a chain was sampled, against reading the same tokens again."""

import numpy as np
import torch

from rjepa.students.loading import Student
from rjepa.students.pooling import pool_segments
from rjepa.students.sampled import SampledChain
from rjepa.students.segmentation import segment_ids


def prompt_ids(student: Student, statement: str) -> list[int]:
    return student.tokenizer(f"{statement}\n")["input_ids"]


def assert_encoded_alike(student: Student, statement: str, chain: SampledChain) -> None:
    prompt = prompt_ids(student, statement)
    whole = prompt + chain.token_ids
    ids = torch.tensor([whole], device=student.device)
    with torch.inference_mode():
        states = student.model(input_ids=ids, output_hidden_states=True).hidden_states[-2][0]
    boundaries = np.concatenate([[0], segment_ids(student.pieces, chain.token_ids) + len(prompt)])
    marks = student.pieces.marks[whole[: boundaries[-1]]]
    expected = pool_segments(states[: boundaries[-1]], boundaries, marks, student.record.poolings)
    np.testing.assert_allclose(chain.latents, expected.cpu().numpy(), atol=2e-2, rtol=2e-3)
