"""A session's pass where tokens are drawn ahead, against a token a call, and against transformers' own forward.

`python -m benchmarks.passes`. The subject is tiny-a on one thread, its decoding step compiled; chains of curriculum
problems are written whole, and nobody sees single tokens. CPU seconds, the least of some rounds in turn, so that only
ratios matter. All three write the same tokens; else nothing is reported. `unused_of_100`: tokens that were drawn for
rows after their ends, of a hundred that are theirs.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import torch

from benchmarks.subject import cpu_seconds, open_subject, report, subject_problems, temporary_folder
from rjepa.students.loading import Student
from rjepa.students.native import NativeDecoder
from rjepa.students.sampled import ChainEnd, RowRequest
from rjepa.students.session import Session

REPEATS: Final = 7
SHAPES: Final = {"1_row": (1, 1), "8_rows": (1, 8), "9_problems": (9, 1), "16_rows": (4, 4)}
"""Problems, and chains of each."""
TARGETS: Final = {"1_row_ahead": 2.0, "8_rows_ahead": 1.3, "9_problems_ahead": 1.3, "16_rows_ahead": 1.3}
TOKENS: Final = 200


def main() -> None:
    """Measure and report."""
    torch.set_num_threads(1)
    figures: dict[str, float | str] = {}
    statements = [problem.statement for problem, _ in subject_problems(3)]
    with temporary_folder() as folder:
        student, figures["weights"] = open_subject(Path(folder))
        ways = {
            "ahead": student,
            "single": replace(student, _decoders=[(student.model, NativeDecoder(student.model))]),
            "forward": replace(student, fuses=False),
        }
        for name, (problems, samples) in SHAPES.items():
            rows = [
                RowRequest(one, 1, sample, 1.0, TOKENS) for one in statements[:problems] for sample in range(samples)
            ]
            written = {way: _written(one, rows) for way, one in ways.items()}
            if len({str(tokens) for tokens, _, _ in written.values()}) > 1:
                raise SystemExit(f"{name}: the ways write different tokens")
            tokens, passes, unused = written["ahead"]
            seconds = cpu_seconds({way: partial(_written, one, rows) for way, one in ways.items()}, REPEATS)
            figures[f"{name}_milliseconds_a_pass"] = 1000 * seconds["ahead"] / passes
            figures[f"{name}_unused_of_100"] = 100 * unused / sum(map(len, tokens))
            figures[f"{name}_ahead"] = seconds["single"] / seconds["ahead"]
            figures[f"{name}_over_forward"] = seconds["forward"] / seconds["ahead"]
    report("passes", figures, TARGETS)


def _written(student: Student, rows: list[RowRequest]) -> tuple[list[list[int]], int, int]:
    """The tokens of all rows, the passes that they took, and how many tokens were drawn after rows' ends."""
    with Session(student) as session:
        numbers = session.add(rows)
        events = session.run(tokens=False, steps=False)
        unused = sum(event.unused for event in events if isinstance(event, ChainEnd))
        return [session.tokens(number) for number in numbers], session.counts.passes, unused


if __name__ == "__main__":
    main()
