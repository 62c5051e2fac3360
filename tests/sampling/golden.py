"""What sampling gave before there were decoding sessions: small facts of a few chains of each kind of student.

`python -m tests.sampling.golden` writes the file again; it was recorded with the loop that sessions replaced. Tokens
are kept whole, log-probabilities and latents rounded, so that another CPU's last bits do not matter.

One chain was recorded again since: tiny-a's fourth statement, sample 1, goes on where it used to end, since a line that
only begins like an answer ("Answer increases st / 4 ...") ends no chain any more, and begins no segment: for the same
reason the segments of a few others were counted again. Their tokens and log-probabilities are those of before.
"""

import json
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from rjepa.home import Home
from rjepa.students.catalog import load_record
from rjepa.students.generation import sample_indices, stream_chain
from rjepa.students.loading import Student, load_student
from rjepa.students.resolving import resolve_student
from rjepa.students.sampled import GREEDY, SampledChain
from tests.students.architectures import write_model
from tests.students.tiny import open_tiny

FILE: Final = Path(__file__).parent / "golden.json"
BUNDLED: Final = ("tiny-a", "tiny-b", "tiny-gsm")
STATEMENTS: Final = (
    "Ann has 3 apples and buys 4 more. She gives 2 to Bob. How many apples does Ann have?",
    "x = 7\ny = x * 3\nWhat is y?",
    "All cats are animals. Tom is a cat. Is Tom an animal?",
    "Compute 17 * 6 - 5.",
)
SAMPLES: Final = (GREEDY, 0, 1, 2)
LIMIT: Final = 64


def open_student(name: str, folder: Path) -> Student:
    """A bundled student, or a random one whose layers keep transformers' own cache, some of them of a window only."""
    if name in BUNDLED:
        home = Home(folder / "home")
        return load_student(resolve_student(home, load_record(home, name)), "cpu")
    return open_tiny(Home(folder / "home"), write_model(folder / name, name))


def facts(student: Student) -> list[list[dict[str, Any]]]:
    """Of each statement's chains."""
    rows = sample_indices(student, STATEMENTS, SAMPLES, seed=11, max_new_tokens=LIMIT)
    return [[_facts(chain) for chain in row] for row in rows]


def _facts(chain: SampledChain) -> dict[str, Any]:
    assert chain.latents is not None and chain.sentences is not None
    return {
        "token_ids": chain.token_ids,
        "finished": chain.finished,
        "logprobs": [round(value, 3) for value in chain.token_logprobs],
        "self_certainty": round(chain.self_certainty, 3),
        "segments": len(chain.latents),
        "latents": np.abs(chain.latents.astype(np.float64)).mean(axis=1).round(3).tolist(),
        "sentences": np.abs(chain.sentences.astype(np.float64)).mean(axis=1).round(3).tolist(),
    }


def streamed(student: Student) -> str:
    """One chain's text, piece by piece."""
    return "|".join(stream_chain(student, STATEMENTS[0], seed=11, sample_index=1, max_new_tokens=LIMIT))


def main() -> None:
    """Write the file."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in (*BUNDLED, "gemma2", "gpt_neox"):
            student = open_student(name, Path(folder))
            found[name] = {"chains": facts(student), "streamed": streamed(student)}
    FILE.write_text(json.dumps(found, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
