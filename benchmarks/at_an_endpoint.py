"""Mode nudge where another server writes, against the same release with the weights in this process.

`python -m benchmarks.at_an_endpoint --llm tiny-a --dataset v1.0.0 [--problems 40]`, in `$RJEPA_HOME`, after `rjepa
backfill --llm tiny-a --decoders`. The server is llama.cpp's, with the student's own float32 weights in a GGUF file, on
one thread; or the one at `--url`, which must have them, too (`vllm serve MODEL --dtype float32`).
Validation problems are answered together, first by the guided greedy chain, then by two candidates at the student's
temperature, here and there with equal noise.

`same_texts`: share of answers that are equal to the last character. `passes_a_token`: forward passes for each token
that was kept; the server makes one for each token that it proposes, the student here one when it reads steps.
`seconds_over_here`: wall time there over wall time here. `seconds_over_best_of_8`: wall time of guided chains there
over that of the choice among eight chains of the same server.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from benchmarks.servers import start_llama_cpp
from benchmarks.subject import report
from rjepa.adapters.opening import open_world_model
from rjepa.datasets.reading import load_problems
from rjepa.evaluation.guided import candidate_parts
from rjepa.evaluation.stage import calibration_file
from rjepa.home import Home
from rjepa.inference.calibration import ScoreCalibration
from rjepa.reasoning.answer import Answer
from rjepa.reasoning.answering import answer_statements
from rjepa.reasoning.question import ask
from rjepa.reasoning.tools import Parts
from rjepa.sampling.endpoint import EndpointSource
from rjepa.sampling.local import LocalSource
from rjepa.sampling.protocol import ChainSource
from rjepa.schemas import Problem
from rjepa.settings import load_settings
from rjepa.students.catalog import load_record
from rjepa.students.gguf_writing import write_gguf
from rjepa.students.loading import Student, load_student
from rjepa.students.resolving import resolve_student
from rjepa.validation.judge import judge
from rjepa.verbalizer.guiding import Guidance
from rjepa.verbalizer.made import guidance_folder

TARGETS: Final = {"same_texts": 0.95}
_ROWS: Final = 8


def main() -> None:
    """Ask here and there, and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.at_an_endpoint")
    parser.add_argument("--llm", default="tiny-a")
    parser.add_argument("--dataset", default="v1.0.0")
    parser.add_argument("--problems", type=int, default=40)
    parser.add_argument(
        "--url", help="of a server that runs, http://127.0.0.1:8000/v1; without, llama.cpp's is started"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    home = Home(load_settings().home)
    student = load_student(resolve_student(home, load_record(home, options.llm)), device="cpu")
    here = LocalSource(student)
    parts = guiding_parts(home, here, options.dataset)
    problems = load_problems(home, options.dataset, "validation", options.problems)
    with nullcontext(options.url) if options.url else _llama_cpp(student) as url:
        record = student.record.model_copy(update={"endpoint": url})
        figures = _compare(here, EndpointSource(replace(student, record=record)), parts, problems)
    report("at_an_endpoint", figures, TARGETS)


@contextmanager
def _llama_cpp(student: Student) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "student.gguf"
        write_gguf(student.path, file, student.record.llm_tag)
        with start_llama_cpp(file, rows=_ROWS, row_tokens=student.context_length) as (_, url):
            yield f"{url}/v1"


def guiding_parts(home: Home, source: ChainSource, dataset: str) -> Parts:
    """What guides a student in this home, on problems of every kind."""
    llm_tag = source.record.llm_tag
    guidance = replace(Guidance.load(guidance_folder(home, llm_tag, dataset)), familiarity=None)
    calibration = ScoreCalibration.load(calibration_file(home, llm_tag, dataset))
    return candidate_parts(source, open_world_model(home, llm_tag, dataset), calibration, guidance)


def _compare(here: ChainSource, there: ChainSource, parts: Parts, problems: Sequence[Problem]) -> dict[str, float]:
    seconds, answers = dict[str, float](), dict[str, list[Answer]]()
    rows: dict[str, tuple[ChainSource, str, Mapping[str, Any], float | None]] = {
        "greedy here": (here, "nudge", {}, 0.0),
        "greedy there": (there, "nudge", {}, 0.0),
        "two drawn here": (here, "nudge", {"num_candidates": 2}, parts.sampling_temperature),
        "two drawn there": (there, "nudge", {"num_candidates": 2}, parts.sampling_temperature),
        "best of 8 there": (there, "rerank", {"num_candidates": 8}, None),
    }
    for name, (source, mode, options, temperature) in rows.items():
        questions = [ask(one.statement, mode, options, temperature=temperature) for one in problems]
        started = time.perf_counter()
        answers[name] = answer_statements(source, parts, questions)
        seconds[name] = time.perf_counter() - started
        right = np.mean([_is_right(*both) for both in zip(problems, answers[name], strict=True)])
        tokens = np.mean([answer.cost.tokens_generated for answer in answers[name]])
        print(f"{name}: {right:.3f} right, {tokens:.0f} tokens, {seconds[name]:.1f} s", file=sys.stderr)
    same = [
        one.text == other.text
        for way in ("greedy", "two drawn")
        for one, other in zip(answers[f"{way} here"], answers[f"{way} there"], strict=True)
    ]
    passes = max(answer.cost.forward_passes for answer in answers["greedy there"])
    kept = sum(answer.cost.tokens_generated for answer in answers["greedy there"])
    return {
        "same_texts": float(np.mean(same)),
        "passes_a_token": passes / kept,
        "seconds_over_here": seconds["greedy there"] / seconds["greedy here"],
        "seconds_over_best_of_8": seconds["greedy there"] / seconds["best of 8 there"],
    }


def _is_right(problem: Problem, answer: Answer) -> bool:
    return bool(judge(problem, answer.steps, answer.final_answer).is_correct)


if __name__ == "__main__":
    main()
