"""What tiny-a learns of a family that it has never seen, and what it forgets: LoRA with replay against full
fine-tuning, LoRA without replay, and LoRA with EWC.

`python -m benchmarks.lora --home FOLDER [--seeds 3] [--updates 300]`; `--split validation` asks the problems that a way
may be chosen by. The family is chain_sum of reasoning-gym, with steps that a program wrote. Elsewhere: the curriculum's
three domains and gsm_symbolic. Greedy answers; differences are paired over problems, with 95 % intervals by the
bootstrap over problems, seeds averaged. Every arm and seed is kept in the folder: the same command goes on where it was
stopped.
"""

import argparse
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from benchmarks.subject import report
from rjepa.chains import parse_chain
from rjepa.datasets.building import build_dataset
from rjepa.datasets.reading import load_manifest, load_problems
from rjepa.datasets.recipe import load_recipe
from rjepa.datasets.registering import register_problems
from rjepa.datasets.versions import create_version
from rjepa.errors import NotFoundError
from rjepa.files import read_json, write_json
from rjepa.home import Home
from rjepa.problems.lines import WorkedProblem
from rjepa.schedules import warm_cosine
from rjepa.schemas import ChainOfThought, Problem, Split
from rjepa.students.catalog import load_record
from rjepa.students.corpus import IGNORED
from rjepa.students.generation import sample_chains
from rjepa.students.loading import Student, load_student, resolve_student
from rjepa.students.lora.corpus import LoraCorpus, read_corpus
from rjepa.students.lora.files import seal_lora
from rjepa.students.lora.loading import load_lora
from rjepa.students.lora.recipe import EwcConfig, LoraRecipe, ReplayConfig, load_lora_recipe
from rjepa.students.lora.registering import describe_lora, resolve_base
from rjepa.students.lora.training import train_lora
from rjepa.validation.judge import judge

LLM: Final = "tiny-a"
FAMILY: Final = "chain_sum"
SIZES: Final[dict[Split, int]] = {"train": 2400, "validation": 250, "test": 700}
CREATED: Final = datetime(2026, 11, 29, tzinfo=UTC)
RANK: Final = 16
RATE: Final = 4e-3
"""Chosen on validation problems."""
FULL_RATE: Final = 5e-4
"""Of AdamW on all weights: a usual one. No other was tried: full fine-tuning may do better than it does here."""
OURS: Final = "lora_replay"
"""The way of the recipe `night`, which the others are compared with."""
TARGETS: Final = {f"new_{OURS}_against_base": 0.15, f"old_{OURS}_against_base": -0.01}
"""The issue's: at least 15 points where it learns, at most one lost elsewhere."""


@dataclass(frozen=True)
class Arm:
    """One way to learn."""

    replay: float
    ewc: float = 0.0
    is_full: bool = False
    updates_a_batch: int = 1
    """A batch of 16 chains is shown in so many updates."""
    scale: float = 1.0
    """Of what was learnt so much is kept."""


ARMS: Final = {
    OURS: Arm(0.5, scale=0.7),
    "lora_replay_whole": Arm(0.5),
    "lora_more_replay": Arm(0.75, updates_a_batch=2),
    "lora_ewc": Arm(0.0, ewc=0.03),
    "lora": Arm(0.0),
    "full": Arm(0.0, is_full=True),
    "full_replay": Arm(0.5, is_full=True),
    "lora_replay_ewc": Arm(0.5, ewc=0.03),
    "lora_replay_soft_ewc": Arm(0.5, ewc=0.005),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lora")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--elsewhere", type=int, default=300, help="problems of each domain")
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    options = parser.parse_args()
    home = Home(options.home.resolve())
    make_versions(home)
    problems = list(measured(home, options.split, options.elsewhere))
    domains = np.array([problem.domain for problem in problems])
    kept = home.root / "lora-benchmark" / str(options.updates)
    base = answered(kept / "base", partial(open_base, home), problems)
    runs: dict[str, list[np.ndarray]] = {name: [] for name in options.arms}
    for seed in range(options.seeds):
        for name in options.arms:
            arm = ARMS[name]
            started, folder = time.process_time(), kept / f"{name}-{seed}"
            right = answered(folder, partial(tuned, home, arm, seed, options.updates, folder), problems)
            runs[name].append(right)
            seconds = round(time.process_time() - started)
            print(name, seed, accuracies(name, right, domains), f"{seconds} CPU seconds", flush=True)
    figures: dict[str, Any] = {"seeds": options.seeds, "updates": options.updates}
    figures |= accuracies("base", base, domains)
    for name, found in runs.items():
        mean = np.mean(found, axis=0)
        figures |= accuracies(name, mean, domains) | against("base", name, mean, base, domains)
        if name != OURS and OURS in runs:
            figures |= against(name, OURS, np.mean(runs[OURS], axis=0), mean, domains)
    report("lora", figures, TARGETS if OURS in runs else {})


def family(split: Split) -> Iterator[WorkedProblem]:
    """Problems of the family, no two alike over all splits, with steps."""
    from reasoning_gym import create_dataset

    total = sum(SIZES.values())
    drawn = create_dataset(FAMILY, size=3 * total, seed=20261129, min_terms=3, max_terms=5, min_digits=1, max_digits=2)
    entries = {entry["question"].strip(): entry["answer"] for entry in (drawn[index] for index in range(3 * total))}
    first = sum(size for name, size in SIZES.items() if list(SIZES).index(name) < list(SIZES).index(split))
    for number, (statement, answer) in enumerate(list(entries.items())[first : first + SIZES[split]], first):
        problem = Problem(
            problem_id=f"{FAMILY}-{number:05d}",
            domain=FAMILY,
            subdomain=FAMILY,
            source="reasoning_gym",
            difficulty="medium",
            statement=statement,
            answer_gold=answer,
            licence="Apache-2.0",
            split=split,
        )
        yield (
            problem,
            ChainOfThought(
                cot_id=f"{problem.problem_id}-gold",
                problem_id=problem.problem_id,
                steps=steps_of(statement, answer),
                final_answer=answer,
                created_at=CREATED,
            ),
        )


def steps_of(statement: str, answer: str) -> list[str]:
    """A sum from left to right, a step an operation."""
    found = re.search(r"problem: (.*) =$", statement)
    assert found is not None
    total, *rest = found.group(1).split()
    steps = []
    for sign, number in zip(rest[::2], rest[1::2], strict=True):
        result = str(int(total) + int(number) if sign == "+" else int(total) - int(number))
        steps.append(f"{total} {sign} {number} = {result}")
        total = result
    assert total == answer
    return steps


def make_versions(home: Home) -> None:
    """v1.0.0, v1.1.0 with gsm_symbolic (all that tiny-a has read), and v1.2.0 with the new family."""
    if not _is_released(home, FAMILY):
        pairs = [pair for split in SIZES for pair in family(split)]
        build_dataset(home, register_problems(home, FAMILY, pairs, created=CREATED, description="sums in a row"))
    for name in ("v1.0.0", "gsm_symbolic"):
        if not _is_released(home, name):
            build_dataset(home, load_recipe(home, name))
    for name, parent, added in (("v1.1.0", "v1.0.0", "gsm_symbolic"), ("v1.2.0", "v1.1.0", FAMILY)):
        if not _is_released(home, name):
            # Sums of a family differ in their numbers alone: near-duplicates are what it consists of.
            build_dataset(home, create_version(home, name, parent=parent, adds=[added], near=None))


def measured(home: Home, split: Split, count: int) -> Iterator[Problem]:
    """So many problems of each domain, the family last."""
    for dataset in ("v1.0.0", "gsm_symbolic", FAMILY):
        problems = load_problems(home, dataset, split)
        for domain in sorted({problem.domain for problem in problems}):
            yield from [one for one in problems if one.domain == domain][:count]


def open_base(home: Home) -> Student:
    """tiny-a as it is shipped."""
    return load_student(resolve_student(home, load_record(home, LLM)), device="cpu")


def tuned(home: Home, arm: Arm, seed: int, updates: int, folder: Path) -> Student:
    """tiny-a after learning in one of the ways; what was trained is kept in a folder."""
    night, updates = load_lora_recipe("night"), updates * arm.updates_a_batch
    recipe = night.model_copy(
        update={
            "seed": seed,
            "ranks": (RANK,),
            "scale": arm.scale,
            "replay": ReplayConfig(share=arm.replay),
            "ewc": EwcConfig(weight=arm.ewc, chains=128),
            "optim": night.optim.model_copy(
                update={
                    "updates": updates,
                    "checkpoint_every": updates,
                    "batch_size": 16 // arm.updates_a_batch,
                    "learning_rate": RATE,
                }
            ),
            "validation_chains": 48,
        }
    )
    student = open_base(home)
    whole = folder / "model.safetensors"
    if arm.is_full and whole.is_file():
        student.model.load_state_dict(load_file(whole), strict=False)
        return student
    if not (folder / "lora").is_dir():
        corpus = _corpus(home)
        if arm.is_full:
            train_all(student, corpus, recipe)
            folder.mkdir(parents=True, exist_ok=True)
            save_file({name: tensor.clone() for name, tensor in student.model.named_parameters()}, whole)
            return student
        trained = train_lora(student, corpus, recipe, RANK, folder / "work")
        seal_lora(trained.folder, folder / "lora", describe_lora(resolve_base(home, LLM), "x", origin="trained"))
        student = open_base(home)
    load_lora(student.model, folder / "lora")
    return student


@cache
def _corpus(home: Home) -> LoraCorpus:
    """The same for every arm: what differs is how much of it is shown."""
    return read_corpus(home, open_base(home), "v1.2.0", load_lora_recipe("night"))


def train_all(student: Student, corpus: LoraCorpus, recipe: LoraRecipe) -> None:
    """Full fine-tuning: the same chains in the same order, all weights, another rate."""
    model = cast(Any, student.model)
    model.requires_grad_(True).train()
    optim = recipe.optim
    optimizer = torch.optim.AdamW(model.parameters(), lr=FULL_RATE, weight_decay=optim.weight_decay)
    for update in range(optim.updates):
        batches = corpus.batches(recipe, update)
        tokens = sum(int((batch["labels"][:, 1:] != IGNORED).sum()) for batch in batches)
        for batch in batches:
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(input_ids=batch["input_ids"], use_cache=False).logits[:, :-1]
            labels = batch["labels"][:, 1:]
            loss = torch.nn.functional.cross_entropy(
                logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
            )
            (loss / tokens).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = FULL_RATE * warm_cosine(update, optim.updates, round(optim.warmup * optim.updates), 0.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    model.eval().requires_grad_(False)


def answered(folder: Path, open_student: Callable[[], Student], problems: list[Problem]) -> np.ndarray:
    """Whether a student's greedy chain answers each problem right, as 0 or 1; what was answered before is kept."""
    path = folder / "right.json"
    known: dict[str, bool] = read_json(path) if path.is_file() else {}
    asked = [problem for problem in problems if problem.problem_id not in known]
    if asked:
        statements = [problem.statement for problem in asked]
        chains = sample_chains(open_student(), statements, num_candidates=1, seed=0, greedy=True, capture=False)
        for problem, (chain,) in zip(asked, chains, strict=True):
            parsed = parse_chain(chain.text)
            known[problem.problem_id] = bool(judge(problem, parsed.steps, parsed.final_answer).is_correct)
        write_json(path, known)
    return np.array([known[problem.problem_id] for problem in problems], dtype=float)


def accuracies(name: str, right: np.ndarray, domains: np.ndarray) -> dict[str, float]:
    """By domain, and over all but the family ("old")."""
    masks = {str(domain): domains == domain for domain in np.unique(domains)} | {"old": domains != FAMILY}
    return {f"accuracy_{place}_{name}": round(float(right[mask].mean()), 4) for place, mask in masks.items()}


def against(before: str, name: str, ours: np.ndarray, theirs: np.ndarray, domains: np.ndarray) -> dict[str, float]:
    """How far one is ahead of another in the family ("new") and elsewhere ("old": every domain weighs the same)."""
    figures = {}
    names = sorted({str(domain) for domain in domains} - {FAMILY})
    for place, held in (("new", [FAMILY]), ("old", names)):
        draws = np.mean([_resampled(ours[domains == one] - theirs[domains == one]) for one in held], axis=0)
        key = f"{place}_{name}_against_{before}"
        figures[key] = round(float(np.mean([(ours - theirs)[domains == one].mean() for one in held])), 4)
        figures[f"{key}_low"], figures[f"{key}_high"] = (
            round(float(end), 4) for end in np.quantile(draws, [0.025, 0.975])
        )
    return figures


def _resampled(values: np.ndarray) -> np.ndarray:
    """Means of 10 000 bootstrap samples of problems."""
    random = np.random.default_rng(0)
    return np.array([values[random.integers(0, len(values), len(values))].mean() for _ in range(10_000)])


def _is_released(home: Home, dataset: str) -> bool:
    try:
        load_manifest(home, dataset)
    except NotFoundError:
        return False
    return True


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
