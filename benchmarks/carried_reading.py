"""What a carried R-JEPA sees in chains that others wrote, read by the target: for an LLM whose own candidates are out
of the regime where choosing matters.

`python -m benchmarks.carried_reading --source tiny-a --target tiny-b --dataset v1.0.0 [--share 0.05] [--problems 120]`,
in `$RJEPA_HOME`, where the source has an R-JEPA and the target has read the share (`rjepa llm migrate`) or all. Of the
validation problems that have a right and a wrong chain, so many are judged; the maps are fitted on training problems
and nothing is chosen on these. AUROC of right above wrong chains within problems by mean energy, and of first wrong
steps above right ones, with 95 % intervals over problems, in pairs with the best affine map.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from benchmarks.adapters import STRENGTH, other_problems
from benchmarks.subject import report
from rjepa.adapters.choosing import Front
from rjepa.adapters.fitting import RIDGE_STRENGTHS, fit_procrustes, fit_random, fit_ridge, r_squared
from rjepa.adapters.maps import LatentMap
from rjepa.adapters.pairs import Matched, match_chains, pairs_of
from rjepa.arrays import Float64, Int64
from rjepa.evaluation.statistics import interval
from rjepa.home import Home
from rjepa.inference.scoring import segment_energies
from rjepa.jepa.checkpoint import load_model
from rjepa.jepa.model import RJepa
from rjepa.jepa.reader import Reader
from rjepa.jepa.stage import model_folder, normalizer_file
from rjepa.latents.normalizer import load_normalizer, normalizer_of
from rjepa.latents.sets import LatentSet
from rjepa.latents.shards import extent_made, latents_share, open_latents
from rjepa.latents.shares import draw_problems, in_drawing_order
from rjepa.settings import load_settings

RESAMPLES: Final = 300
HELD_OUT: Final = 5
"""One problem in so many of the share, on which a ridge's strength is chosen by R2."""


@dataclass(frozen=True)
class Seen:
    """What a way makes of the chains: of each problem the AUROC of its chains, and energies of first wrong steps and of
    right ones.
    """

    chains: Float64
    wrong: list[Float64]
    right: list[Float64]

    def of(self, rows: Int64) -> tuple[float, float]:
        """Both AUROCs over some problems."""
        wrong, right = (np.concatenate([part[row] for row in rows]) for part in (self.wrong, self.right))
        return float(self.chains[rows].mean()), _auroc(wrong, right)


def main() -> None:
    """Read, fit, print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.carried_reading")
    parser.add_argument("--source", default="tiny-a")
    parser.add_argument("--target", default="tiny-b")
    parser.add_argument("--dataset", default="v1.0.0")
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--problems", type=int, default=120)
    options = parser.parse_args()
    torch.set_num_threads(1)
    home, dataset = Home(load_settings().home), options.dataset
    extent = extent_made(home, options.target, dataset)
    own, theirs = (
        open_latents(home, options.target, dataset, extent=extent),
        open_latents(home, options.source, dataset),
    )
    share = match_chains(own.split("train"), theirs.split("train"))
    share = share.of_problems(
        draw_problems(share.problems, options.share / latents_share(home, options.target, dataset))
    )
    judged = match_chains(own.split("validation"), theirs.split("validation"))
    judged = judged.of_problems(_with_both(judged.target)[: options.problems])
    model = load_model(model_folder(home, options.source, dataset))
    normalizer = load_normalizer(normalizer_file(home, options.source, dataset))
    seen = {"the source itself reads": _look(model, Reader.of(model.config, normalizer), judged.source)}
    for name, fit in _maps(share).items():
        reader = Reader.of(model.config, normalizer, Front(fit(), ("target",)))
        seen[name] = _look(model, reader, judged.target)
    _print(seen, len(judged.problems))


def _maps(share: Matched) -> dict[str, Callable[[], LatentMap]]:
    """By name, the affine map first."""
    pairs = pairs_of(share)
    inputs, outputs = normalizer_of(pairs.target), normalizer_of(pairs.source)
    held_out = pairs.problem % HELD_OUT == 0

    def worth(strength: float) -> float:
        fitted = fit_ridge(inputs, outputs, pairs.target[~held_out], pairs.source[~held_out], strength)
        return r_squared(fitted, pairs.target[held_out], pairs.source[held_out])

    best = max(RIDGE_STRENGTHS, key=worth)
    others = pairs.source[other_problems(pairs.problem)]
    return {
        "affine": lambda: fit_ridge(inputs, outputs, pairs.target, pairs.source, best),
        "rotation": lambda: fit_procrustes(inputs, outputs, pairs.target, pairs.source),
        "affine, pairs of other problems": lambda: fit_ridge(inputs, outputs, pairs.target, others, STRENGTH),
        "random": lambda: fit_random(inputs, outputs, 0),
    }


def _with_both(latents: LatentSet) -> list[str]:
    """Ids of the problems that have a right and a wrong chain, in the order in which problems are drawn."""
    right: set[str] = set()
    wrong: set[str] = set()
    for name, error in zip(latents.problem_ids, latents.first_error.tolist(), strict=True):
        (right if error < 0 else wrong).add(name)
    return in_drawing_order(right & wrong)


def _look(model: RJepa, reader: Reader, latents: LatentSet) -> Seen:
    """Energies of all chains, gathered by problem."""
    energies = [np.asarray(each, dtype=np.float64) for each in segment_energies(model, reader, latents)]
    ids, errors = np.array(list(latents.problem_ids)), np.asarray(latents.first_error)
    chains, wrong, right = [], [], []
    for name in _with_both(latents):
        rows = np.flatnonzero(ids == name)
        good, bad = ([energies[row] for row in rows if (errors[row] < 0) == is_right] for is_right in (True, False))
        chains.append(_auroc(np.array([one.mean() for one in bad]), np.array([one.mean() for one in good])))
        located = [(energies[row], errors[row]) for row in rows if errors[row] >= 1]
        wrong.append(np.array([energy[error - 1] for energy, error in located]))
        right.append(np.concatenate([*good, *(energy[: error - 1] for energy, error in located)]))
    return Seen(np.array(chains), wrong, right)


def _auroc(above: Float64, below: Float64) -> float:
    """How often one of the first is larger than one of the second; ties count half."""
    ordered = np.sort(below)
    smaller, not_larger = np.searchsorted(ordered, above, "left"), np.searchsorted(ordered, above, "right")
    return float((smaller + not_larger).sum() / (2 * len(above) * len(below)))


def _print(seen: dict[str, Seen], problems: int) -> None:
    draws = np.random.default_rng(0).integers(problems, size=(RESAMPLES, problems))
    whole = {name: np.array(each.of(np.arange(problems))) for name, each in seen.items()}
    drawn = {name: np.array([each.of(rows) for rows in draws]) for name, each in seen.items()}
    print("| way | chains | first wrong step | affine minus it: chains | first wrong step |\n|---|---|---|---|---|")
    for name, value in whole.items():
        cells = [_cell(value[i], drawn[name][:, i]) for i in (0, 1)]
        cells += [_cell(whole["affine"][i] - value[i], drawn["affine"][:, i] - drawn[name][:, i]) for i in (0, 1)]
        print(f"| {name} | {' | '.join(cells)} |")
    figures: dict[str, float | str] = {"problems": float(problems)}
    figures |= {f"chains {name}": float(value[0]) for name, value in whole.items()}
    figures |= {f"first wrong step {name}": float(value[1]) for name, value in whole.items()}
    report("carried_reading", figures, {})


def _cell(value: float, drawn: Float64) -> str:
    low, high = interval(drawn[:, None])
    return f"{value:.3f} ({low[0]:.3f} to {high[0]:.3f})"


if __name__ == "__main__":
    main()
