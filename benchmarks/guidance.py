"""Mode nudge on test problems, against everything that it might be instead of a world model's.

`python -m benchmarks.guidance --llm tiny-a --dataset v1.0.0 [--on v1.0.0-hard] [--problems 240] [--fresh 0]
[--seeds 1]`, in `$RJEPA_HOME`, after `rjepa backfill --llm tiny-a --decoders`. It trains the control that decides (a
plain language model of the decoder's size, for as many updates on the same chains), chooses that one's weight on
validation problems as guidance's was, and judges every row once on the same test problems and noise. `--on` judges on
another dataset's test problems, `--fresh 240` on none that a run of 240 was judged on. Rows are kept as they are done:
a killed run goes on.

Tokens are those generated; seconds are a ratio to one chain of the student alone, by the time of this process. One
guided chain is the greedy one unless a row says otherwise.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from benchmarks.subject import report
from rjepa.datasets.building import build_problems
from rjepa.datasets.reading import load_problems
from rjepa.datasets.recipe import load_recipe
from rjepa.evaluation.controls import controls
from rjepa.evaluation.guided import TRIED_ON, candidate_parts, choose_settings, try_mode
from rjepa.evaluation.stage import calibration_file
from rjepa.files import read_json, write_json
from rjepa.home import Home
from rjepa.inference.calibration import ScoreCalibration
from rjepa.jepa.config import OptimConfig
from rjepa.parts import CALIBRATION
from rjepa.reasoning.tools import Parts
from rjepa.sampling.opening import open_source
from rjepa.sampling.protocol import ChainSource
from rjepa.schemas import Problem
from rjepa.settings import load_settings
from rjepa.students.catalog import load_record
from rjepa.students.resolving import resolve_student
from rjepa.verbalizer.checkpoint import load_decoder
from rjepa.verbalizer.config import load_decoder_config
from rjepa.verbalizer.guiding import Guidance, GuidanceSettings
from rjepa.verbalizer.made import decoder_variant_folder, guidance_folder
from rjepa.verbalizer.stage import Material

TARGETS: Final = {"above_plain_language_model": 0.0}
"""The least that the lower end of the interval may be: what is above that language model only a world model gives."""

RESAMPLES: Final = 4000


@dataclass(frozen=True)
class Row:
    """One way to answer: its mode, the options of it, the temperature (None: the mode's own), and the parts."""

    mode: str
    options: Mapping[str, Any]
    parts: Parts
    temperature: float | None = None


def main() -> None:
    """Train the control, judge every row, print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guidance")
    parser.add_argument("--llm", default="tiny-a")
    parser.add_argument("--dataset", default="v1.0.0")
    parser.add_argument("--on", help="dataset whose test problems are judged on; the same if left out")
    parser.add_argument("--problems", type=int, default=240)
    parser.add_argument("--fresh", type=int, default=0, help="leave out those that a run of so many problems judged")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    home = Home(load_settings().home)
    source = open_source(home, resolve_student(home, load_record(home, options.llm)), "auto")
    on = options.on or options.dataset
    problems = _problems(home, on, options.problems, options.fresh)
    rows = _rows(home, source, options.llm, options.dataset)
    recipe = load_decoder(guidance_folder(home, options.llm, options.dataset)).config.name
    kept = home.reports(options.llm, on) / f"{recipe}-{options.fresh}-{len(problems)}.json"
    found: dict[str, Any] = read_json(kept) if kept.exists() else {}
    for seed in range(options.seeds):
        for name, row in rows.items():
            key = f"{name}/{seed}"
            if key not in found:
                found[key] = _judge(source, row, problems, seed)
                write_json(kept, found)
            print(f"{key}: {np.mean(found[key]['right']):.3f}, {found[key]['tokens']:.0f} tokens", flush=True)
    _print_table(rows, found, options.seeds)
    figures = _figures(found, options.seeds)
    report("guidance", figures, TARGETS)


def _problems(home: Home, dataset: str, count: int, judged: int) -> list[Problem]:
    """So many test problems, spread over the set, which is made if it is not there; none of those that a run of
    `judged` problems was judged on.
    """
    build_problems(home, load_recipe(home, dataset))
    every = load_problems(home, dataset, "test")
    seen = {one.problem_id for one in _spread(every, judged)} if judged else set[str]()
    return _spread([one for one in every if one.problem_id not in seen], count)


def _rows(home: Home, source: ChainSource, llm_tag: str, dataset: str) -> dict[str, Row]:
    """Every row of the table, in order; settings come from validation problems."""
    folder = guidance_folder(home, llm_tag, dataset)
    guidance = Guidance.load(folder)
    config = guidance.decoder.config
    material = Material.open(home, llm_tag, dataset, config.max_tokens)
    calibration = ScoreCalibration.load(calibration_file(home, llm_tag, dataset))

    def parts(made: Guidance) -> Parts:
        return candidate_parts(source, material.world_model, calibration, dataclasses.replace(made, familiarity=None))

    plain = _plain(home, source, material, parts, llm_tag, dataset, config.optim)
    fitted = folder / CALIBRATION
    guided_calibration = ScoreCalibration.load(fitted) if fitted.exists() else None
    own, alone = dataclasses.replace(parts(guidance), guided_calibration=guided_calibration), {"alpha": 0.0}
    rows = {
        "student alone, greedy": Row("nudge", alone, own),
        "student alone, temperature 0.8": Row("nudge", alone, own, 0.8),
        "student alone, temperature 0.4": Row("nudge", alone, own, 0.4),
        "guided": Row("nudge", {}, own),
        "guided, temperature 0.8": Row("nudge", {}, own, 0.8),
        "plain language model of that size": Row("nudge", {}, parts(plain)),
    }
    for name, control in controls(material, config).items():
        rows[f"guided, {name}"] = Row("nudge", {}, parts(dataclasses.replace(guidance, alter=control)))
    if own.guided_calibration is not None:
        rows["guided, one at a time, at most 8"] = Row("nudge", {"num_candidates": "auto"}, own)
    rows |= {
        "guided, 4 candidates": Row("nudge", {"num_candidates": 4}, own),
        "guided, 8 candidates": Row("nudge", {"num_candidates": 8}, own),
        "hidden states blended, 0.1": Row("nudge", {**alone, "blend": 0.1}, own, 0.8),
        "hidden states blended, 0.3": Row("nudge", {**alone, "blend": 0.3}, own, 0.8),
        "best of 2 by R-JEPA": Row("rerank", {"num_candidates": 2}, own),
        "best of 4 by R-JEPA": Row("rerank", {"num_candidates": 4}, own),
        "best of 8 by R-JEPA": Row("rerank", {"num_candidates": 8}, own),
        "repair, one chain": Row("repair", {}, own),
        "repair, cut at random": Row("repair", {"cut": "random"}, own),
        "tree, depth first": Row("tree", {}, own),
        "one at a time, at most 8": Row("rerank", {"num_candidates": "auto", "max_candidates": 8}, own),
    }
    return rows


def _plain(
    home: Home,
    source: ChainSource,
    material: Material,
    parts: Callable[[Guidance], Parts],
    llm_tag: str,
    dataset: str,
    optim: OptimConfig,
) -> Guidance:
    """The language model of the decoder's size, trained for as long (`optim`), and its weight."""
    folder = decoder_variant_folder(home, llm_tag, dataset, f"plain-{optim.updates}", 0)
    material.train_into(folder, load_decoder_config("plain").model_copy(update={"optim": optim}), _show)
    decoder = load_decoder(folder)
    if not (folder / "guidance.json").exists():
        tried = parts(Guidance(decoder, GuidanceSettings(alpha=1.0)))
        choose_settings(source, tried, load_problems(home, dataset, "validation", TRIED_ON), _show).save(folder)
    return Guidance(decoder, GuidanceSettings.load(folder))


def _judge(source: ChainSource, row: Row, problems: list[Problem], seed: int) -> dict[str, Any]:
    started = time.process_time()
    found = try_mode(source, row.parts, problems, row.mode, row.options, temperature=row.temperature, seed=seed)
    seconds = time.process_time() - started
    return {"right": found.right, "tokens": found.tokens_a_problem, "seconds": seconds}


def _print_table(rows: Mapping[str, Row], found: Mapping[str, Any], seeds: int) -> None:
    first = next(iter(rows))
    base = float(np.mean([found[f"{first}/{seed}"]["seconds"] for seed in range(seeds)]))
    print("\n| how | tokens | seconds | accuracy [95 %] | guided minus it [95 %] |\n|---|---|---|---|---|")
    guided = _right(found, "guided", seeds)
    for name in rows:
        right = _right(found, name, seeds)
        low, high = interval(right.mean(axis=0))
        below, above = interval((guided - right).mean(axis=0))
        tokens = np.mean([found[f"{name}/{seed}"]["tokens"] for seed in range(seeds)])
        ratio = np.mean([found[f"{name}/{seed}"]["seconds"] for seed in range(seeds)]) / base
        difference = "" if name == "guided" else f"{(guided - right).mean():+.3f} [{below:+.3f}, {above:+.3f}]"
        print(f"| {name} | {tokens:.0f} | {ratio:.1f} | {right.mean():.3f} [{low:.3f}, {high:.3f}] | {difference} |")


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean of one value a problem, by bootstrap over problems."""
    drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def _figures(found: Mapping[str, Any], seeds: int) -> dict[str, float | str]:
    guided, plain = _right(found, "guided", seeds), _right(found, "plain language model of that size", seeds)
    best, alone = _right(found, "best of 8 by R-JEPA", seeds), _right(found, "student alone, temperature 0.8", seeds)
    return {
        "guided": float(guided.mean()),
        "alone": float(alone.mean()),
        "best_of_8": float(best.mean()),
        "above_plain_language_model": interval((guided - plain).mean(axis=0))[0],
    }


def _right(found: Mapping[str, Any], name: str, seeds: int) -> np.ndarray:
    return np.array([found[f"{name}/{seed}"]["right"] for seed in range(seeds)], dtype=float)


def _spread(problems: list[Problem], count: int) -> list[Problem]:
    places = np.unique(np.linspace(0, len(problems) - 1, min(count, len(problems))).astype(np.int64))
    return [problems[place] for place in places.tolist()]


def _show(done: int, total: int, note: str = "") -> None:
    if done == total or done % 50 == 0:
        print(f"{done}/{total} {note}", flush=True)


if __name__ == "__main__":
    main()
