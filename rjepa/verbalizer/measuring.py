"""How well a decoder puts latents into words, judged step by step on held-out right chains, and against controls.

A spoken step stands in the place of the right one, after the right steps before it, and the chain is judged: it is
valid if no error is found up to it. Intervals are over steps, by the normal approximation.

Dimensions: latents of a batch, columns of latents.
"""

import functools
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from rjepa.latents.sets import LatentSet
from rjepa.schemas import ChainOfThought, Problem
from rjepa.validation.judge import judge
from rjepa.values import FrozenValue
from rjepa.verbalizer.model import Decoder
from rjepa.verbalizer.speaking import Line, label_length, speak, step_text
from rjepa.verbalizer.texts import Texts

Source = Literal["observed", "expected", "zeroed", "shuffled", "other_problem", "none", "student"]
"""Where a step's words come from. observed, expected: its latent, as the student made it or as R-JEPA expected it.
zeroed: the mean latent. shuffled: the expected latent of another step. other_problem: that of the same step of another
problem. none: a decoder that is given none. student: the student itself, greedily."""

SOURCES: Final[tuple[Source, ...]] = ("observed", "expected", "zeroed", "shuffled", "other_problem")

MEASURED_CHAINS: Final = 120
"""Validation chains whose steps are spoken: about 500 steps, a standard error of 2 points."""

_SPOKEN_TOGETHER: Final = 64
_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?")


class SpokenReport(FrozenValue):
    """How the steps of one domain, or of all, were spoken from one source. Shares of steps."""

    source: Source
    domain: str
    steps: int = Field(ge=0)
    exact: float = Field(description="the very words")
    last_number: float = Field(description="the number that the step ends with, or its last word where it has none")
    valid: float = Field(description="the checker finds no error up to it")
    valid_low: float = Field(description="95 % interval")
    valid_high: float


@dataclass(frozen=True)
class HeldOutStep:
    """One step to be spoken: its problem and chain, its number among the steps (from 0), its text, and its line."""

    problem: Problem
    chain: ChainOfThought
    number: int
    text: str
    line: Line


def measure_spoken(
    decoder: Decoder,
    held_out: Texts,
    problems: Sequence[Problem],
    chains: Sequence[ChainOfThought],
    latents: LatentSet,
    sources: Sequence[Source] = SOURCES,
) -> list[SpokenReport]:
    """What a decoder says of the steps of held-out chains, from each source, by domain and over all."""
    if decoder.config.form == "plain":
        sources = ("none",)
    observed = held_out_steps(decoder, held_out, problems, chains, latents)
    found: list[SpokenReport] = []
    for source in sources:
        lines = [step.line for step in _lines_of(observed, source)]
        spoken = [
            text
            for first in range(0, len(lines), _SPOKEN_TOGETHER)
            for text in speak(decoder, lines[first : first + _SPOKEN_TOGETHER])
        ]
        found += report_spoken(observed["expected"], spoken, source)
    return found


def held_out_steps(
    decoder: Decoder,
    held_out: Texts,
    problems: Sequence[Problem],
    chains: Sequence[ChainOfThought],
    latents: LatentSet,
    count: int = MEASURED_CHAINS,
) -> dict[str, list[HeldOutStep]]:
    """Steps of held-out chains, spread over the set, with lines from observed and from expected latents. Earlier steps
    come with what the student made of them.
    """
    by_id = {problem.problem_id: problem for problem in problems}
    chain_by_id = {chain.cot_id: chain for chain in chains}
    tokens = held_out.tokens
    chosen = np.unique(np.linspace(0, len(tokens) - 1, min(count, len(tokens))).astype(np.int64))
    seen, expected = held_out.latents_of(chosen)
    steps: dict[str, list[HeldOutStep]] = {"observed": [], "expected": []}
    first = 0
    for index in chosen.tolist():
        at = int(tokens.chains[index])
        chain = chain_by_id[latents.chain_ids[at]]
        ids, bounds = tokens.tokens[index], tokens.bounds[index]
        for number, text in enumerate(chain.steps[: len(bounds) - 2]):
            start, end = int(bounds[number + 1]), int(bounds[number + 2])
            label = label_length(decoder.vocabulary, ids[start:end].tolist()) or 0
            for kind, own in (("observed", seen), ("expected", expected)):
                line = Line(
                    begin=ids[start : start + label].tolist(),
                    latents=torch.cat([seen[first : first + number], own[first + number][None]]),
                    is_expected=[False] * number + [kind == "expected"],
                    before=ids[:start].tolist(),
                    starts=[int(bound) for bound in bounds[1 : number + 1]],
                )
                steps[kind].append(HeldOutStep(by_id[chain.problem_id], chain, number, text, line))
        first += len(bounds) - 2
    return steps


def report_spoken(steps: Sequence[HeldOutStep], spoken: Sequence[str], source: Source) -> list[SpokenReport]:
    """Judge spoken steps, each with its label, one report a domain and one over "all"."""
    rows = []
    for step, text in zip(steps, spoken, strict=True):
        said = step_text(text)
        wanted = " ".join(step.text.split())
        rows.append(
            (
                step.problem.domain,
                said == wanted,
                _ending(said) == _ending(wanted),
                is_valid_step(step.problem, step.chain, step.number, said),
            )
        )
    domains = ["all", *sorted({domain for domain, *_ in rows})]
    return [_report(source, domain, [row[1:] for row in rows if domain in ("all", row[0])]) for domain in domains]


def is_valid_step(problem: Problem, chain: ChainOfThought, number: int, said: str) -> bool:
    """Whether the checker finds no error up to a step (from 0) of a right chain, said in the place of the right one."""
    steps = [*chain.steps[:number], said]
    wrong = judge(problem, steps, chain.final_answer).first_error_step
    return bool(said) and (wrong is None or wrong > number)


def report_table(found: Iterable[SpokenReport]) -> str:
    """The reports as a Markdown table."""
    lines = ["| latent | domain | steps | exact | last number | valid [95 %] |", "|---|---|---|---|---|---|"]
    for one in found:
        lines.append(
            f"| {one.source} | {one.domain} | {one.steps} | {one.exact:.3f} | {one.last_number:.3f} | "
            f"{one.valid:.3f} [{one.valid_low:.3f}, {one.valid_high:.3f}] |"
        )
    return "\n".join(lines)


def _lines_of(steps: dict[str, list[HeldOutStep]], source: Source) -> list[HeldOutStep]:
    """The steps with the lines of a source."""
    if source == "observed":
        return steps["observed"]
    expected = steps["expected"]
    if source in ("zeroed", "none"):
        return [_with_own(step, torch.zeros_like) for step in expected]
    random = np.random.default_rng(0)
    if source == "shuffled":
        givers = [expected[index] for index in random.permutation(len(expected))]
    else:
        givers = [_of_other_problem(step, expected, random) for step in expected]
    return [
        _with_own(step, functools.partial(_given, giver.line.latents[-1]))
        for step, giver in zip(expected, givers, strict=True)
    ]


def _given(latent: Tensor, _: Tensor) -> Tensor:
    return latent


def _of_other_problem(step: HeldOutStep, steps: Sequence[HeldOutStep], random: np.random.Generator) -> HeldOutStep:
    """The same step of another problem, of the same domain if there is one."""
    others = [one for one in steps if one.number == step.number and one.problem.problem_id != step.problem.problem_id]
    same = [one for one in others if one.problem.domain == step.problem.domain] or others or [step]
    return same[int(random.integers(len(same)))]


def _with_own(step: HeldOutStep, change: Callable[[Tensor], Float[Tensor, " columns"]]) -> HeldOutStep:
    latents = step.line.latents.clone()
    latents[-1] = change(latents[-1])
    line = Line(step.line.begin, latents, step.line.is_expected, step.line.before, step.line.starts)
    return HeldOutStep(step.problem, step.chain, step.number, step.text, line)


def _ending(text: str) -> str:
    numbers = _NUMBER.findall(text)
    return str(numbers[-1]) if numbers else (text.split() or [""])[-1]


def _report(source: Source, domain: str, rows: Sequence[tuple[bool, bool, bool]]) -> SpokenReport:
    count = len(rows)
    exact, last, valid = (float(np.mean([row[at] for row in rows])) if rows else 0.0 for at in range(3))
    reach = 1.96 * math.sqrt(valid * (1 - valid) / count) if count else 0.0
    return SpokenReport(
        source=source,
        domain=domain,
        steps=count,
        exact=exact,
        last_number=last,
        valid=valid,
        valid_low=max(0.0, valid - reach),
        valid_high=min(1.0, valid + reach),
    )
