"""One R-JEPA, carried to another student: seconds, and how much of native training's AUROC is kept.

`python -m benchmarks.adapters --source tiny-a --target tiny-b --dataset v1.0.0 [--shares 0.01 0.05 0.1]`, in
`$RJEPA_HOME`, after `rjepa backfill` for both students up to `rjepa_checkpoint` and `rollouts`. For each share of the
training problems an adapter is fitted from the source, and an R-JEPA is trained on the target's own latents of the same
problems; controls use the second share. All are calibrated on the target's validation candidates and judged on its test
candidates, in pairs. What was judged is kept as it is done: a killed run goes on. `--only` does some of the ways,
`--methods` tries some of the fits. The target may have read the share alone (`rjepa.latents.shards.Extent`).

Where the target is the source with a LoRA, or any other student of its width, one more control takes the source's
R-JEPA as it is, through no map.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from benchmarks.subject import report
from rjepa.adapters.adapter import Adapter
from rjepa.adapters.choosing import METHODS, Front, Method
from rjepa.adapters.fitting import fit_procrustes, fit_random, fit_ridge
from rjepa.adapters.maps import LatentMap
from rjepa.adapters.pairs import Matched, match_chains, pairs_of
from rjepa.adapters.stage import fit_adapter
from rjepa.arrays import Float32, Int64
from rjepa.evaluation.carried import Judged, OriginEnergies, WayWorth, compare_ways, judge_way, worth_markdown
from rjepa.evaluation.stage import open_split
from rjepa.files import read_json, sha256_file, write_json, write_text
from rjepa.home import Home
from rjepa.inference.scoring import segment_energies
from rjepa.jepa.checkpoint import MODEL_FILE, load_model
from rjepa.jepa.config import load_jepa_config
from rjepa.jepa.model import RJepa
from rjepa.jepa.reader import Reader
from rjepa.jepa.stage import model_folder, normalizer_file
from rjepa.jepa.trainer import train
from rjepa.latents.normalizer import Normalizer, fit_normalizer, load_normalizer, normalizer_of
from rjepa.latents.rollouts import Rollouts
from rjepa.latents.shards import extent_made, latent_version, latents_share, open_latents
from rjepa.latents.shares import draw_problems
from rjepa.schemas import Split
from rjepa.settings import load_settings

TARGETS: Final = {"kept_of_native": 0.95, "above_native_on_the_share_low": 0.0}
"""With the second share: the ratio of AUROCs, and the lower end of the interval of the difference."""

PASSES: Final = (25, 100)
"""Passes over a share that native training is tried with; the better one on validation problems is taken."""

STRENGTH: Final = 1e-2
"""Of ridge regression in the controls."""

_JUDGED_SPLITS: Final[tuple[Split, ...]] = ("validation", "test")

Energies = list[Float32]


@dataclass(frozen=True)
class Subject:
    """Both students' latents and the target's candidates."""

    home: Home
    source: str
    target: str
    dataset: str
    recipe: str
    methods: tuple[Method, ...]
    validation: Rollouts
    test: Rollouts
    matched: Matched

    @classmethod
    def open(
        cls, home: Home, source: str, target: str, dataset: str, recipe: str, methods: tuple[Method, ...] = METHODS
    ) -> "Subject":
        """Read what the stages left."""
        own = open_latents(home, target, dataset, extent=extent_made(home, target, dataset)).split("train")
        theirs = open_latents(home, source, dataset).split("train")
        validation, test = (open_split(home, target, dataset, name) for name in _JUDGED_SPLITS)
        matched = match_chains(own, theirs)
        return cls(home, source, target, dataset, recipe, methods, validation, test, matched)

    @property
    def folder(self) -> Path:
        """Where this benchmark keeps what it has done."""
        return self.home.reports(self.target, self.dataset) / f"adapters-from-{self.source}"

    def share(self, share: float) -> Matched:
        """The chains of a share's problems."""
        read = latents_share(self.home, self.target, self.dataset)
        return self.matched.of_problems(draw_problems(self.matched.problems, share / read))

    def carried(self) -> tuple[RJepa, Normalizer]:
        """The source's R-JEPA and its normaliser."""
        normalizer = load_normalizer(normalizer_file(self.home, self.source, self.dataset))
        return load_model(model_folder(self.home, self.source, self.dataset)), normalizer

    def way(self, name: str, model: RJepa, reader: Reader) -> OriginEnergies:
        """The energies of all candidates."""
        return OriginEnergies(
            name, *(segment_energies(model, reader, each.latents) for each in (self.validation, self.test))
        )

    def mapped(self, name: str, fit: Callable[[Normalizer], LatentMap]) -> OriginEnergies:
        """Those of the source's R-JEPA through a map."""
        model, normalizer = self.carried()
        return self.way(name, model, Reader.of(model.config, normalizer, Front(fit(normalizer), ("target",))))


def main() -> None:
    """Judge every way, print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adapters")
    parser.add_argument("--source", default="tiny-a")
    parser.add_argument("--target", default="tiny-b")
    parser.add_argument("--dataset", default="v1.0.0")
    parser.add_argument("--recipe", default="demo", help="of native training on a share")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.01, 0.05, 0.1])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="fits that are tried")
    parser.add_argument("--only", nargs="+", help="beginnings of the names of ways")
    options = parser.parse_args()
    torch.set_num_threads(1)
    home = Home(load_settings().home)
    subject = Subject.open(
        home, options.source, options.target, options.dataset, options.recipe, tuple(options.methods)
    )
    judged: dict[str, Judged] = {}
    seconds: dict[str, float] = {}
    for name, make in _ways(subject, options.shares).items():
        if options.only and not name.startswith(tuple(options.only)):
            continue
        judged[name], seconds[name] = _kept(subject, name, make)
        print(f"{name}: {judged[name].worth.auroc}, {seconds[name]:.0f} s", flush=True)
    main_share = options.shares[min(1, len(options.shares) - 1)]
    pairs = [(f"adapter {share:g}", other) for share in options.shares for other in ("native", f"native {share:g}")]
    pairs += [(f"adapter {main_share:g}", name) for name in judged if name.startswith("control")]
    kept = [compare_ways(judged[one], judged[two]) for one, two in pairs if one in judged and two in judged]
    print(worth_markdown(list(judged.values()), kept))
    figures: dict[str, float | str] = {f"auroc {name}": each.worth.auroc.value for name, each in judged.items()}
    figures |= {f"seconds {name}": value for name, value in seconds.items()}
    targets = {}
    for each in kept:
        if each.way == f"adapter {main_share:g}" and each.against == "native":
            figures |= {"kept_of_native": each.ratio.value, "kept_of_native_low": each.ratio.low}
            figures["first_error_kept_of_native"] = each.first_error_ratio.value
            targets["kept_of_native"] = TARGETS["kept_of_native"]
        if each.way == f"adapter {main_share:g}" and each.against == f"native {main_share:g}":
            figures["above_native_on_the_share_low"] = each.difference.low
            figures["first_error_above_native_on_the_share_low"] = each.first_error_difference.low
            targets["above_native_on_the_share_low"] = TARGETS["above_native_on_the_share_low"]
    report("adapters", figures, targets)


def _ways(subject: Subject, shares: list[float]) -> dict[str, Callable[[], OriginEnergies]]:
    """Every way by name, in the order of the table."""
    home, target, dataset = subject.home, subject.target, subject.dataset
    share = subject.share(shares[min(1, len(shares) - 1)])
    pairs = pairs_of(share)
    inputs = normalizer_of(pairs.target)

    def native() -> OriginEnergies:
        model = load_model(model_folder(home, target, dataset))
        normalizer = load_normalizer(normalizer_file(home, target, dataset))
        return subject.way("native", model, Reader.of(model.config, normalizer))

    def shuffled(outputs: Normalizer) -> LatentMap:
        order = other_problems(pairs.problem)
        return fit_ridge(inputs, outputs, pairs.target, pairs.source[order], STRENGTH)

    ways: dict[str, Callable[[], OriginEnergies]] = {}
    if (model_folder(home, target, dataset) / MODEL_FILE).exists():
        ways["native"] = native
    for each in shares:
        ways[f"adapter {each:g}"] = lambda each=each: _adapter(subject, each)
        ways[f"native {each:g}"] = lambda each=each: _native(subject, each)
    if subject.matched.target.width == subject.matched.source.width:
        ways["control no map"] = lambda: _as_it_is(subject)
    ways["control random"] = lambda: subject.mapped("control random", lambda outputs: fit_random(inputs, outputs, 0))
    ways["control rotation"] = lambda: subject.mapped(
        "control rotation", lambda outputs: fit_procrustes(inputs, outputs, pairs.target, pairs.source)
    )
    ways["control affine"] = lambda: subject.mapped(
        "control affine", lambda outputs: fit_ridge(inputs, outputs, pairs.target, pairs.source, STRENGTH)
    )
    ways["control shuffled"] = lambda: subject.mapped("control shuffled", shuffled)
    return ways


def _as_it_is(subject: Subject) -> OriginEnergies:
    """The source's R-JEPA, as if the target's latents were the source's."""
    model, normalizer = subject.carried()
    return subject.way("control no map", model, Reader.of(model.config, normalizer))


def _adapter(subject: Subject, share: float) -> OriginEnergies:
    """Fitted now, unless a killed run has done so."""
    name = f"adapter {share:g}"
    folder, (model, normalizer) = subject.folder / name.replace(" ", "-"), subject.carried()
    adapter = _fitted(folder, sha256_file(model_folder(subject.home, subject.source, subject.dataset) / MODEL_FILE))
    if adapter is None:
        fitted = fit_adapter(
            subject.home, subject.target, subject.dataset, subject.source, share, methods=subject.methods
        )
        adapter = fitted.adapter
        adapter.save(folder)
        write_text(folder / "fits.md", fitted.texts["fits"])
    print((folder / "fits.md").read_text(), adapter.facts.model_dump_json(indent=1), flush=True)
    return subject.way(name, model, Reader.of(model.config, normalizer, adapter))


def _fitted(folder: Path, model_sha256: str) -> Adapter | None:
    """The adapter of a folder, if it is whole and for this R-JEPA."""
    if not (folder / "fits.md").exists():
        return None
    adapter = Adapter.load(folder)
    return adapter if adapter.facts.model_sha256 == model_sha256 else None


def _native(subject: Subject, share: float) -> OriginEnergies:
    """Trained on the target's own latents of the share, for the passes that are best on validation problems."""
    own = subject.share(share).target
    read = extent_made(subject.home, subject.target, subject.dataset)
    held_out = open_latents(subject.home, subject.target, subject.dataset, extent=read).split("validation")
    normalizer = fit_normalizer(own.select(own.first_error < 0))
    name, found = f"native {share:g}", []
    for passes in PASSES:
        poolings = latent_version(subject.home, subject.target, subject.dataset, read).manifest().poolings
        config = load_jepa_config(subject.recipe).reading(poolings)
        config = config.model_copy(update={"optim": config.optim.model_copy(update={"passes": passes})})
        folder = subject.folder / f"native-{share:g}-{passes}"
        train(config, own, held_out, normalizer, folder)
        model = load_model(folder)
        found.append(subject.way(name, model, Reader.of(model.config, normalizer)))
    worths = [judge_way(replace(way, test=way.validation), *_as_test(subject.validation)) for way in found]
    return found[int(np.argmax([each.worth.auroc.value for each in worths]))]


def _as_test(validation: Rollouts) -> tuple[Rollouts, Rollouts]:
    """Validation problems to calibrate on, and the same ones to judge on."""
    problems = [problem.model_copy(update={"split": "test"}) for problem in validation.problems]
    return validation, replace(validation, problems=problems)


def other_problems(problem: Int64) -> Int64:
    """For each pair one of the next problem: whose latents it gets where identities are shuffled."""
    numbers = np.unique(problem)
    rows = {number: np.flatnonzero(problem == number) for number in numbers}
    following = dict(zip(numbers, np.roll(numbers, 1), strict=True))
    order = np.empty(len(problem), dtype=np.int64)
    for number, own in rows.items():
        order[own] = np.resize(rows[following[number]], len(own))
    return order


def _kept(subject: Subject, name: str, make: Callable[[], OriginEnergies]) -> tuple[Judged, float]:
    """A way's figures: those that were kept, if nothing has changed since."""
    path = subject.folder / f"{name.replace(' ', '-')}.json"
    model = model_folder(subject.home, subject.target if name == "native" else subject.source, subject.dataset)
    inputs = [sha256_file(model / MODEL_FILE), subject.recipe, subject.test.fingerprint, len(subject.test.problems)]
    if path.exists() and (kept := read_json(path))["inputs"] == inputs:  # else another R-JEPA, or other candidates
        auroc = np.array([np.nan if each is None else each for each in kept["auroc"]])
        return Judged(WayWorth.model_validate(kept["worth"]), auroc, np.array(kept["first_error"])), kept["seconds"]
    started = time.process_time()
    way = make()
    seconds = time.process_time() - started  # of an adapter that a killed run had fitted: of judging it alone
    judged = judge_way(way, subject.validation, subject.test)
    values: dict[str, Any] = {
        "inputs": inputs,
        "worth": judged.worth.model_dump(),
        "auroc": [None if np.isnan(each) else float(each) for each in judged.auroc],
        "first_error": judged.first_error.tolist(),
        "seconds": seconds,
    }
    write_json(path, values)
    return judged, seconds


if __name__ == "__main__":
    main()
