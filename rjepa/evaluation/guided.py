"""How strongly to guide a student: tried on validation problems, chain by chain, and never on test problems.

Training of the decoder that guides is `rjepa.verbalizer`'s, the mode `rjepa.reasoning.modes.nudge`'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from rjepa.datasets.reading import load_problems
from rjepa.evaluation.guided_fit import FITTED_ON, SEVERAL, fit_guided, guided_pool
from rjepa.evaluation.stage import calibration_file
from rjepa.files import sha256_json
from rjepa.home import Home
from rjepa.inference.calibration import ScoreCalibration
from rjepa.jepa.model import RJepa
from rjepa.jepa.reader import Reader
from rjepa.parts import CALIBRATION, GUIDANCE_FILES
from rjepa.progress import Progress, silent
from rjepa.reasoning.answering import answer_statements
from rjepa.reasoning.question import ask
from rjepa.reasoning.tools import Parts
from rjepa.sampling.opening import open_source
from rjepa.sampling.protocol import ChainSource, require, source_for
from rjepa.schemas import Problem
from rjepa.stages import Made, StageReport, file_version
from rjepa.students.catalog import load_record
from rjepa.students.resolving import resolve_student
from rjepa.validation.judge import judge
from rjepa.verbalizer.checkpoint import load_decoder
from rjepa.verbalizer.config import GUIDANCE_RECIPE, load_decoder_config
from rjepa.verbalizer.guiding import Guidance, GuidanceSettings
from rjepa.verbalizer.made import guidance_folder
from rjepa.verbalizer.speaking import Verbalizer
from rjepa.verbalizer.stage import Material

WEIGHTS: Final = (0.0, 0.3, 0.6, 1.0)
"""Of the decoder's log-probabilities. Beyond 1 the decoder drowns the student, who alone has read the names."""

ANNEALED: Final = 0.5
"""How much a surprising step takes off the weight, where that is tried."""

TRIED_ON: Final = 160
"""Validation problems: a standard error of 4 points, and minutes of a core; the weights tried are far apart."""

_TOGETHER: Final = 80
"""Problems in one decoding session."""


@dataclass(frozen=True)
class Tried:
    """How one way to answer did: right or wrong by problem, and the tokens that it generated."""

    right: list[bool]
    tokens: list[int]
    seconds: float

    @property
    def accuracy(self) -> float:
        return float(np.mean(self.right)) if self.right else 0.0

    @property
    def tokens_a_problem(self) -> float:
        return float(np.mean(self.tokens)) if self.tokens else 0.0


def try_mode(
    source: ChainSource,
    parts: Parts,
    problems: Sequence[Problem],
    mode: str,
    options: Mapping[str, Any],
    *,
    temperature: float | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Tried:
    """Answer problems by a mode and judge the answers. Equal seeds give equal noise to every mode and option."""
    right, tokens, seconds = [], [], 0.0
    for first in range(0, len(problems), _TOGETHER):
        part = problems[first : first + _TOGETHER]
        questions = [ask(one.statement, mode, options, temperature=temperature, seed=seed) for one in part]
        answers = answer_statements(source, parts, questions)
        for problem, answer in zip(part, answers, strict=True):
            right.append(bool(judge(problem, answer.steps, answer.final_answer).is_correct))
            tokens.append(answer.cost.tokens_generated)
        seconds += max((answer.cost.seconds for answer in answers), default=0.0)
        progress(len(right), len(problems), mode)
    return Tried(right, tokens, seconds)


def choose_settings(
    source: ChainSource, parts: Parts, problems: Sequence[Problem], progress: Progress = silent
) -> GuidanceSettings:
    """The weight, and then whether it is annealed, with which most validation problems are answered right by the greedy
    chain. Weight 0 is the answer of mode `off`.

    Args:
        parts: with the guidance whose settings are chosen; its guard is not asked.
        problems: of the validation split.
    """
    tried: dict[str, float] = {}
    total = (len(WEIGHTS) + 1) * len(problems)

    def accuracy(name: str, **options: object) -> float:
        progress(len(tried) * len(problems), total, name)
        found = try_mode(source, parts, problems, "nudge", {"unfamiliar": "guide", **options}).accuracy
        tried[name] = found
        return found

    best = max(WEIGHTS, key=lambda alpha: (accuracy(_named(alpha), alpha=alpha, anneal=0.0), -alpha))
    name = _named(best, ANNEALED)
    gains = best > 0 and accuracy(name, alpha=best, anneal=ANNEALED) > tried[_named(best)]
    anneal = ANNEALED if gains else 0.0
    return GuidanceSettings(alpha=best, anneal=anneal, tried=tried, problems=len(problems))


def _named(alpha: float, anneal: float = 0.0) -> str:
    return f"alpha {alpha}, anneal {anneal}"


def candidate_parts(
    source: ChainSource,
    world_model: tuple[RJepa, Reader],
    calibration: ScoreCalibration,
    guidance: Guidance | None,
    verbalizer: Verbalizer | None = None,
) -> Parts:
    """Parts that are not released yet, to try."""
    model, reader = world_model
    return Parts(
        llm_tag=source.record.llm_tag,
        release_id="",
        segmentation=source.record.segmentation,
        sampling_temperature=source.record.sampling.temperature,
        model=model,
        reader=reader,
        calibration=calibration,
        verbalizer=verbalizer,
        guidance=guidance,
    )


def build_guidance(
    home: Home, llm_tag: str, dataset: str, recipe: str = GUIDANCE_RECIPE, progress: Progress = silent
) -> Made:
    """Train the decoder `recipe` of configs/verbalizer/, or go on with it; choose how strongly it guides, and fit how
    sure a guided answer is.

    Raises:
        NotFoundError: latents, R-JEPA or calibration are not made yet.
        InvalidInputError: the student's source cannot be guided.
    """
    from rjepa.reasoning.modes import find_mode

    config = load_decoder_config(recipe)
    calibration = ScoreCalibration.load(calibration_file(home, llm_tag, dataset))
    material = Material.open(home, llm_tag, dataset, config.max_tokens)
    source = open_source(home, resolve_student(home, load_record(home, llm_tag)), "auto")
    try:
        needs = find_mode("nudge").needs
        for capability in sorted(needs):
            require(source_for(source, needs), capability, "nudge")
        folder = guidance_folder(home, llm_tag, dataset)
        report = material.train_into(folder, config, progress)
        material.familiarity().save(folder)
        guidance = Guidance(load_decoder(folder), GuidanceSettings(alpha=1.0))
        problems = load_problems(home, dataset, "validation", TRIED_ON)
        parts = candidate_parts(source, material.world_model, calibration, guidance)
        settings = choose_settings(source, parts, problems, progress)
        parts = candidate_parts(source, material.world_model, calibration, replace(guidance, settings=settings))
        problems = load_problems(home, dataset, "validation", FITTED_ON)
        fit = fit_guided(settings, guided_pool(source, parts, problems, SEVERAL, progress=progress), calibration)
    finally:
        source.close()
    settings, guided_calibration = fit.settings, fit.calibration
    if guided_calibration is None:
        (folder / CALIBRATION).unlink(missing_ok=True)
    else:
        guided_calibration.save(folder / CALIBRATION)
    settings.save(folder)
    figures: dict[str, int | float | str] = {
        "recipe": recipe,
        "parameters": report.parameters,
        "updates": report.updates,
        "seconds": report.seconds,
        "chains": report.chains,
        "loss": report.curve[-1]["total"] if report.curve else 0.0,
        "alpha": settings.alpha,
        "anneal": settings.anneal,
        "accuracy_alone": settings.tried[_named(WEIGHTS[0])],
        "accuracy_guided": settings.tried[_named(settings.alpha, settings.anneal)],
        "choice": settings.choice,
        "problems": settings.problems,
    }
    if guided_calibration is not None:
        figures |= {
            "guided_problems": guided_calibration.problems,
            "guided_auroc": guided_calibration.auroc["combined"],
            "guided_least_error": guided_calibration.risk.least(),
        }
    version = sha256_json([file_version(folder / name) for name in (*GUIDANCE_FILES, CALIBRATION)])
    return Made(StageReport(version, figures), {"tried": _table(settings)})


def _table(settings: GuidanceSettings) -> str:
    lines = ["| setting | accuracy on validation |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {value:.3f} |" for name, value in settings.tried.items())])
