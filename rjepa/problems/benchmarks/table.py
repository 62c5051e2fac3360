"""The table of benchmarks: where each is published, under which licence, and which of its splits is which of ours.

Adding one is an adapter (a row to `Adapted`) and a line here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from rjepa.errors import NotFoundError
from rjepa.problems.benchmarks import bbh, choices, code, maths
from rjepa.problems.benchmarks.rows import Adapted
from rjepa.problems.lines import UNKNOWN_LICENCE

Share = Literal["train", "validation", "test", "shared"]
"""`shared`: published for training, and the benchmark has no validation split: a fifth of it becomes ours, by hash."""


@dataclass(frozen=True)
class Benchmark:
    """One published benchmark.

    `splits` maps its own split names to ours. What the benchmark tests on is `test` and nothing else, whatever it calls
    it. `subsets` are the hub's configuration names; a subset's name reaches the adapter as the field `subset_field`.
    """

    name: str
    title: str
    adapt: Callable[[dict[str, Any]], Adapted]
    hub_id: str
    licence: str
    splits: dict[str, Share]
    shape: str
    subsets: tuple[str, ...] = ("default",)
    subset_field: str | None = None
    revision: str = "main"


_MATH_SUBJECTS = (
    "algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory", "prealgebra",
    "precalculus",
)  # fmt: skip

BENCHMARKS: Final[dict[str, Benchmark]] = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            "gsm8k", "GSM8K", maths.gsm8k, "openai/gsm8k", "MIT",
            {"train": "shared", "test": "test"}, "question, answer", ("main",),
        ),
        Benchmark(
            "math", "MATH", maths.math, "EleutherAI/hendrycks_math", "MIT",
            {"train": "shared", "test": "test"}, "problem, solution, level, type", _MATH_SUBJECTS,
        ),
        Benchmark(
            "svamp", "SVAMP", maths.svamp, "ChilleD/SVAMP", "MIT",
            {"train": "shared", "test": "test"}, "Body, Question, Answer, Equation, Type",
        ),
        Benchmark(
            "humaneval", "HumanEval", code.humaneval, "openai/openai_humaneval", "MIT",
            {"test": "test"}, "task_id, prompt, canonical_solution, test, entry_point", ("openai_humaneval",),
        ),
        Benchmark(
            "mbpp", "MBPP", code.mbpp, "google-research-datasets/mbpp", "CC-BY-4.0",
            {"prompt": "train", "train": "train", "validation": "validation", "test": "test"},
            "text (or prompt), code, test_list, test_setup_code (or test_imports)", ("full",),
        ),
        Benchmark(
            "logiqa", "LogiQA", choices.logiqa, "lucasmccabe/logiqa", UNKNOWN_LICENCE,
            {"train": "train", "validation": "validation", "test": "test"},
            "context, query (or question), options, correct_option (or label)",
            revision="refs/convert/parquet",  # its main branch is a script, and scripts are never run
        ),
        Benchmark(
            "mmlu", "MMLU", choices.mmlu, "cais/mmlu", "MIT",
            {"auxiliary_train": "train", "dev": "train", "validation": "validation", "test": "test"},
            "question, choices, answer, subject", ("all",),
        ),
        Benchmark(
            "bbh", "BIG-Bench Hard", bbh.bbh, "lukaemon/bbh", "MIT",
            {"test": "test"}, "input, target, and task where several are in one file", bbh.TASKS, "task",
        ),
        Benchmark(
            "arc", "ARC", choices.arc, "allenai/ai2_arc", "CC-BY-SA-4.0",
            {"train": "train", "validation": "validation", "test": "test"},
            "question, choices {text, label}, answerKey", ("ARC-Easy", "ARC-Challenge"), "arc_set",
        ),
        Benchmark(
            "hellaswag", "HellaSwag", choices.hellaswag, "Rowan/hellaswag", "MIT",
            # The labels of its test split are held back, and everyone reports its validation split: so that is a test.
            {"train": "shared", "validation": "test"}, "ctx, endings, label, activity_label",
        ),
    )
}  # fmt: skip


def find_benchmark(name: str) -> Benchmark:
    """A benchmark by name.

    Raises:
        NotFoundError: there is no such benchmark.
    """
    if name not in BENCHMARKS:
        raise NotFoundError(f"there is no benchmark {name!r}", cure=f"choose one of these: {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]
