"""Scoring candidates: chains a second, and what scoring K = 8 costs beside generating them with the bundled student.

`python -m benchmarks.scoring`. R-JEPA has the shape of configs/rjepa/demo.yaml and its first weights: what it says does
not matter for what it costs. Both ways of answering are measured, scoring against generating in the same way: one
question at a time, as the service does, and all together, as a benchmark does. CPU seconds on one thread, so that only
ratios matter.
"""

from pathlib import Path
from typing import Final

import numpy as np
import torch

from benchmarks.subject import cpu_seconds, open_subject, report, subject_problems, temporary_folder
from rjepa.inference.scoring import segment_energies
from rjepa.jepa.checkpoint import load_model, save_model
from rjepa.jepa.config import load_jepa_config
from rjepa.jepa.model import build_model
from rjepa.jepa.reader import Reader
from rjepa.latents.normalizer import fit_normalizer
from rjepa.latents.sets import LatentSet, Prompts
from rjepa.latents.texts import Texts
from rjepa.reasoning.candidates import join_latents
from rjepa.students.generation import sample_chains
from rjepa.students.sampled import SampledChain

PROBLEMS_A_DOMAIN: Final = 12
SAMPLES: Final = 8
REPEATS: Final = 5
METHODS: Final = ("together", "one_by_one")
ALONE_STRIDE: Final = 3
"""One question in so many is generated alone too: it takes three times as long a question."""

TARGETS: Final = {"generating_over_scoring_together": 50.0, "generating_over_scoring_one_by_one": 50.0}
"""Scoring may cost 2 % of generating at most."""


def main() -> None:
    """Measure and report."""
    torch.set_num_threads(1)
    with temporary_folder() as folder:
        student, weights = open_subject(Path(folder))
        limit = 200 if weights == "bundled" else 80
        statements = [problem.statement for problem, _ in subject_problems(PROBLEMS_A_DOMAIN)]

        def generate(statements: list[str]) -> list[list[SampledChain]]:
            return sample_chains(student, statements, num_candidates=SAMPLES, seed=0, max_new_tokens=limit)

        rows = generate(statements)
        alone = [join_latents(row) for row in rows]
        together = _joined(alone)
        config = load_jepa_config("demo")
        save_model(Path(folder), build_model(config, student.width, ("code", "logic", "math")))
        model = load_model(Path(folder))
        reader = Reader.of(config, fit_normalizer(together))
        seconds = cpu_seconds(
            {
                "generating_together": lambda: generate(statements),
                "generating_one_by_one": lambda: [generate([statement]) for statement in statements[::ALONE_STRIDE]],
            },
            2,
        )
        seconds["generating_one_by_one"] *= len(statements) / len(statements[::ALONE_STRIDE])
        seconds |= cpu_seconds(
            {
                "together": lambda: segment_energies(model, reader, together),
                "one_by_one": lambda: [segment_energies(model, reader, latents) for latents in alone],
            },
            REPEATS,
        )
        report(
            "scoring",
            {
                "weights": weights,
                "questions": float(len(statements)),
                "chains": float(len(together)),
                "segments": float(len(together.latents)),
                "chains_per_cpu_second_together": len(together) / seconds["together"],
                "chains_per_cpu_second_one_by_one": len(together) / seconds["one_by_one"],
                **{f"share_of_generating_{way}": seconds[way] / seconds[f"generating_{way}"] for way in METHODS},
                **{f"generating_over_scoring_{way}": seconds[f"generating_{way}"] / seconds[way] for way in METHODS},
                "one_by_one_over_generating_together": seconds["one_by_one"] / seconds["generating_together"],
            },
            TARGETS,
        )


def _joined(sets: list[LatentSet]) -> LatentSet:
    """The candidates of many questions as one set, each question with its own sentences, as rollouts have them."""
    prompts = [found.prompts for found in sets if found.prompts is not None]
    count = sum(len(found) for found in sets)
    return LatentSet(
        latents=np.concatenate([found.latents for found in sets]),
        offsets=np.concatenate([[0], np.cumsum(np.concatenate([found.lengths for found in sets]))]).astype(np.int64),
        domains=np.zeros(count, dtype=np.int64),
        domain_names=sets[0].domain_names,
        first_error=np.full(count, -1, dtype=np.int64),
        problem_ids=Texts.of([str(number) for number, found in enumerate(sets) for _ in range(len(found))]),
        chain_ids=Texts.of([str(number) for number in range(count)]),
        splits=Texts.of(["test"] * count),
        prompts=Prompts.of(
            np.concatenate([prompt.sentences for prompt in prompts]), [len(prompt.sentences) for prompt in prompts]
        ),
        prompt_of=np.repeat(np.arange(len(sets)), [len(found) for found in sets]),
    )


if __name__ == "__main__":
    main()
