"""What a run that goes on from a release forgets, and what it learns: replay, EWC, both, and neither.

`python -m benchmarks.forgetting --home FOLDER [--seeds 2] [--chains 120] [--updates N]`. The home is that of the
simulated nights (`rjepa demo --living` makes it): its first release knows maths and code. Each run goes on from it with
right chains of logic, and is judged on problems that nothing was trained or tuned on: within-problem AUROC of the
energy and accuracy, in the old domains and in the new one. Differences are paired over problems, with 95 % intervals by
the bootstrap.
"""

import argparse
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.subject import report, temporary_folder
from rjepa.chains import render_chain
from rjepa.datasets.sources import source_pairs
from rjepa.evaluation.evaluating import calibrate
from rjepa.evaluation.frozen import energies_of
from rjepa.evaluation.pool import CandidatePool
from rjepa.evaluation.stage import open_split
from rjepa.files import sha256_file
from rjepa.home import Home
from rjepa.jepa.checkpoint import MODEL_FILE, load_model
from rjepa.jepa.config import JepaConfig, ReplayConfig, load_jepa_config
from rjepa.jepa.reader import Reader
from rjepa.jepa.starting import Start
from rjepa.jepa.trainer import train
from rjepa.latents.normalizer import Normalizer, load_normalizer
from rjepa.latents.rollouts import Rollouts
from rjepa.latents.sets import LatentSet
from rjepa.latents.shards import open_latents
from rjepa.living.simulation.measuring import Measured, mean_of, measure, measure_release
from rjepa.living.simulation.script import BASE, FAMILY, FULL, MEASURED, asked_recipe
from rjepa.living.simulation.unfiltered import Approved, with_chains
from rjepa.parts import MODEL_FOLDER, NORMALIZER
from rjepa.releases.bundle import release_folder
from rjepa.releases.lineage import lineage
from rjepa.releases.pointer import require_current
from rjepa.students.catalog import load_record
from rjepa.students.loading import load_student, resolve_student

LLM: Final = "tiny-a"
WAYS: Final = {
    "neither": ReplayConfig(share=0.0),
    "replay": ReplayConfig(share=0.5, by_energy=0.0),
    "replay_by_energy": ReplayConfig(share=0.5, by_energy=0.5),
    "ewc_10": ReplayConfig(share=0.0, ewc=10.0),
    "ewc_1000": ReplayConfig(share=0.0, ewc=1000.0),
    "replay_and_ewc_10": ReplayConfig(share=0.5, by_energy=0.5, ewc=10.0),
}
TARGETS: Final = {"old_auroc_replay_by_energy_against_start": -0.02}
"""Replay is to keep what was known: two points of AUROC are within the noise of 240 problems."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forgetting")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--chains", type=int, default=120)
    parser.add_argument("--updates", type=int, help="of every run, instead of the nightly run's twelve passes")
    options = parser.parse_args()
    home = Home(options.home.resolve())
    first = lineage(home, LLM, require_current(home, LLM))[-1].release_id
    bundle = release_folder(home, LLM, first)
    student = load_student(resolve_student(home, load_record(home, LLM)), device="cpu")
    latents = open_latents(home, LLM, BASE)
    old = latents.split("train")
    data = with_chains(old, student, _chains(home, options.chains))
    validation, normalizer = latents.split("validation"), load_normalizer(bundle / NORMALIZER)
    start = Start(
        first,
        load_model(bundle / MODEL_FOLDER),
        sha256_file(bundle / MODEL_FOLDER / MODEL_FILE),
        frozenset(old.problem_ids),
    )
    measured, tuned_on = open_split(home, LLM, MEASURED, "test"), open_split(home, LLM, BASE, "validation")
    before = measure_release(home, LLM, first, measured)
    figures: dict[str, Any] = _figures("start", before, before.right.astype(float), before)
    for name, replay in WAYS.items():
        runs = []
        started = time.monotonic()
        for seed in range(options.seeds):
            config = load_jepa_config("nightly").model_copy(update={"replay": replay, "seed": seed})
            if options.updates is not None:
                optim = config.optim.model_copy(update={"updates": options.updates, "passes": None})
                config = config.model_copy(update={"optim": optim})
            runs.append(_run(config, data, validation, normalizer, start, tuned_on, measured))
        figures |= _figures(name, *_averaged(runs), before)
        figures[f"seconds_{name}"] = round((time.monotonic() - started) / options.seeds, 1)
        print(name, {key: value for key, value in figures.items() if key.endswith(name)}, flush=True)
    report("forgetting", figures, TARGETS)


def _run(
    config: JepaConfig,
    data: LatentSet,
    validation: LatentSet,
    normalizer: Normalizer,
    start: Start,
    tuned_on: Rollouts,
    measured: Rollouts,
) -> Measured:
    with temporary_folder() as folder:
        train(config, data, validation, normalizer, Path(folder), start=start)
        model = load_model(Path(folder))
    world_model = model, Reader.of(model.config, normalizer)
    pool = CandidatePool.from_rollouts(tuned_on, energies_of(world_model, tuned_on.latents))
    return measure(world_model, calibrate(pool), measured)


def _averaged(runs: list[Measured]) -> tuple[Measured, np.ndarray]:
    """The first run with AUROCs averaged over seeds, and accuracies averaged over seeds, problem by problem."""
    auroc = np.mean([run.auroc for run in runs], axis=0)
    right = np.mean([run.right for run in runs], axis=0)
    return Measured(runs[0].domains, runs[0].right, auroc), right


def _figures(name: str, found: Measured, right: np.ndarray, before: Measured) -> dict[str, Any]:
    """AUROC and accuracy in the old domains and in the new one, and how far they are from what was before.

    Args:
        right: whether each problem is answered right, averaged over seeds.
    """
    figures: dict[str, Any] = {}
    is_new = found.mask(FAMILY)
    for place, mask in (("old", ~is_new), ("new", is_new)):
        for kind, ours, theirs in (
            ("auroc", found.auroc[mask], before.auroc[mask]),
            ("accuracy", right[mask], before.right[mask].astype(float)),
        ):
            value, against = mean_of(ours), mean_of(ours - theirs)
            figures[f"{place}_{kind}_{name}"] = round(value.value, 4)
            figures[f"{place}_{kind}_{name}_against_start"] = round(against.value, 4)
            figures[f"{place}_{kind}_{name}_low"] = round(against.low, 4)
            figures[f"{place}_{kind}_{name}_high"] = round(against.high, 4)
    return figures


def _chains(home: Home, count: int) -> list[Approved]:
    """Right chains of the new family: worked solutions of problems that are nowhere else."""
    recipe = asked_recipe(FULL, 2, "users", 77)
    wanted = recipe.model_copy(update={"counts": {FAMILY: {"train": count}}})
    return [
        Approved(problem.problem_id, problem.statement, render_chain(chain.steps, chain.final_answer))
        for problem, chain in source_pairs(home, wanted, lambda *_: None)
        if chain is not None
    ]


if __name__ == "__main__":
    main()
