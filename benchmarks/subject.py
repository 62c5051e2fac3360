"""What the benchmarks of the student side run on: the bundled tiny-a (or its untrained twin), curriculum problems, and
a clock that other processes do not disturb.
"""

import copy
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from rjepa.configs import CONFIGS, load_config
from rjepa.home import Home
from rjepa.problems.curriculum.generate import CURRICULUM_DOMAINS, generate_problems
from rjepa.schemas import ChainOfThought, Problem
from rjepa.students.catalog import load_record
from rjepa.students.loading import Student, load_student
from rjepa.students.recipe import StudentRecipe
from rjepa.students.resolving import BUNDLED, resolve_student

Clock = Callable[[dict[str, Callable[[], object]], int], dict[str, float]]
"""Works by name, and how often each is repeated; the least seconds that each took."""


def open_subject(folder: Path) -> tuple[Student, str]:
    """tiny-a and the words "bundled"; where its weights are not there, the same shape and "untrained"."""
    home = Home(folder / "home")
    record = load_record(home, "tiny-a")
    if (BUNDLED / "tiny-a").is_dir():
        return load_student(resolve_student(home, record), device="cpu"), "bundled"
    from rjepa.students.tokenizer import train_tokenizer
    from rjepa.students.training import build_model

    torch.manual_seed(0)
    recipe = load_config(CONFIGS / "students" / "recipes" / "tiny-a.yaml", StudentRecipe)
    texts = [problem.statement for problem, _ in subject_problems(100)]
    tokenizer = train_tokenizer(texts, recipe.vocab_size)
    model = build_model(recipe, tokenizer)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    record = record.model_copy(update={"model": str(folder / "model")})
    return load_student(resolve_student(home, record), device="cpu"), "untrained"


def open_deep(folder: Path, shallow: Student) -> Student:
    """A random Qwen3 of 12 layers and about 30 M parameters with another student's tokenizer: what it says is noise,
    what it costs is what a model of its shape costs."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(shallow.tokenizer),
        hidden_size=384,
        num_hidden_layers=12,
        intermediate_size=1728,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=shallow.tokenizer.eos_token_id,
        pad_token_id=shallow.pad_id,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder / "deep")
    shallow.tokenizer.save_pretrained(folder / "deep")
    record = shallow.record.model_copy(update={"llm_tag": "deep", "model": str(folder / "deep"), "recipe": None})
    return load_student(resolve_student(Home(folder / "home"), record), device="cpu")


def stock_model(student: Student) -> PreTrainedModel:
    """The student's model as transformers alone loads it, where the student is: what the obvious way runs on."""
    model = AutoModelForCausalLM.from_pretrained(
        student.path, dtype=student.model.dtype, local_files_only=True, use_safetensors=True
    )
    return model.eval().requires_grad_(False).to(student.device)


def in_bfloat16(student: Student) -> Student:
    """The same student as `dtype: bfloat16` in its record would load it."""
    return replace(student, model=copy.deepcopy(student.model).bfloat16(), _encoder=[])


def on_gpu(student: Student) -> Student:
    """The same student on the first CUDA device."""
    device = torch.device("cuda")
    return replace(student, model=copy.deepcopy(student.model).to(device), device=device, _encoder=[])


def subject_problems(count: int) -> list[tuple[Problem, ChainOfThought]]:
    """`count` problems of each curriculum domain with their gold chains."""
    return [pair for domain in CURRICULUM_DOMAINS for pair in generate_problems("validation", count, 0, domain)]


def cpu_seconds(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Least CPU seconds of this process for each work, taken in turn so that a busy minute disturbs all alike.

    On one thread that is about the time of an idle machine.
    """
    least = dict.fromkeys(works, float("inf"))
    for _ in range(repeats):
        for name, work in works.items():
            started = time.process_time()
            work()
            least[name] = min(least[name], time.process_time() - started)
    return least


def wall_seconds(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Least seconds of the clock on the wall for each work, taken in turn, after one turn to warm up."""
    least = dict.fromkeys(works, float("inf"))
    for turn in range(repeats + 1):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            if turn:
                least[name] = min(least[name], time.perf_counter() - started)
    return least


def in_fresh_process(module: str, argument: str) -> dict[str, float]:
    """What `python -m MODULE ARGUMENT` prints as its last line: one JSON object of figures."""
    done = subprocess.run([sys.executable, "-m", module, argument], check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def peak_megabytes() -> float:
    """The largest resident set of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def peaks_by_size(found: dict[int, dict[str, float]]) -> dict[str, float | str]:
    """The figures of a small and a large run, in that order, under names with their size, and how their
    `peak_megabytes` compare."""
    small, large = found.values()
    figures: dict[str, float | str] = {
        f"{name}_at_{size}": value for size, figure in found.items() for name, value in figure.items()
    }
    return figures | {
        "peak_ratio": large["peak_megabytes"] / small["peak_megabytes"],
        "peak_of_small_over_large": small["peak_megabytes"] / large["peak_megabytes"],
    }


def report(name: str, figures: dict[str, float | str], targets: dict[str, float]) -> None:
    """Print the figures, and as the last line the JSON object. A target is the least a figure may be."""
    for key, value in figures.items():
        print(f"{key:40s} {value}")
    holds = all(float(figures[key]) >= least for key, least in targets.items())
    print(json.dumps({"name": name, "figures": figures, "targets": targets, "holds": holds}))


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for a benchmark's files, removed after it."""
    return tempfile.TemporaryDirectory(prefix="rjepa-benchmark-")
