"""How well a decoder puts latents into words, judged step by step on held-out right chains, and against controls.

A spoken step stands in the place of the right one, after the right steps before it, and the chain is judged: it is
valid if no error is found up to it. The student reads it again, and what it makes of it is compared with the latent
that was spoken and with that of the right step. Intervals are over steps, by the normal approximation.

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
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from rjepa.jepa.reader import Reader
from rjepa.latents.sets import LatentSet
from rjepa.sampling.protocol import ChainSource
from rjepa.schemas import ChainOfThought, Problem
from rjepa.validation.judge import judge
from rjepa.values import FrozenValue
from rjepa.verbalizer.model import Decoder
from rjepa.verbalizer.rereading import next_steps, read_again, variance_explained
from rjepa.verbalizer.speaking import Line, label_length, speak, step_text
from rjepa.verbalizer.texts import Texts

Source = Literal["observed", "expected", "zeroed", "shuffled", "other_problem", "none", "student"]
"""Where a step's words come from. observed, expected: its latent, as the student made it or as R-JEPA expected it.
zeroed: the mean latent. shuffled: the expected latent of another step. other_problem: that of the same step of another
problem. none: a decoder that is given none. student: the student itself, greedily."""

SOURCES: Final[tuple[Source, ...]] = ("observed", "expected", "zeroed", "shuffled", "other_problem", "student")

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
    round_trip: float | None = Field(
        description="share of the variance of the latents spoken that is explained when their words are read again"
    )
    recovered: float | None = Field(description="the same of what the student made of the right steps")


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
    student: tuple[ChainSource, Reader],
    sources: Sequence[Source] = SOURCES,
) -> list[SpokenReport]:
    """What a decoder says of the steps of held-out chains, from each source, by domain and over all.

    Args:
        student: who made the latents, and how R-JEPA reads them.
    """
    if decoder.config.form == "plain":
        sources = ("none", "student")
    steps = held_out_steps(decoder, held_out, problems, chains, latents)
    found: list[SpokenReport] = []
    for source in sources:
        lines = [step.line for step in spoken_from(steps, source)]
        if source == "student":
            words = next_steps(student[0], [step.problem.statement for step in steps["observed"]], lines)
        else:
            words = [step_text(text) for text in _speak_all(decoder, lines)]
        found += _report_all(steps["observed"], lines, words, source, student)
    return found


def _speak_all(decoder: Decoder, lines: Sequence[Line]) -> list[str]:
    parts = [lines[first : first + _SPOKEN_TOGETHER] for first in range(0, len(lines), _SPOKEN_TOGETHER)]
    return [text for part in parts for text in speak(decoder, part)]


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


def _report_all(
    observed: Sequence[HeldOutStep],
    lines: Sequence[Line],
    words: Sequence[str],
    source: Source,
    student: tuple[ChainSource, Reader],
) -> list[SpokenReport]:
    """Judge the words of steps and read them again: one report a domain and one over "all".

    Args:
        observed: the right steps, with the student's own latents.
        lines: what was spoken of each.
    """
    statements = [step.problem.statement for step in observed]
    whole = [[*step.chain.steps[: step.number], said] for step, said in zip(observed, words, strict=True)]
    again = read_again(*student, statements, whole)
    own = torch.stack([step.line.latents[-1] for step in observed])
    spoken = torch.stack([line.latents[-1] for line in lines])
    judged = np.array([_judged(step, said) for step, said in zip(observed, words, strict=True)])
    domains = np.array([step.problem.domain for step in observed])
    found = []
    for domain in ("all", *sorted(set(domains.tolist()))):
        of = np.flatnonzero((domains == domain) | (domain == "all"))
        round_trip = None if source in ("student", "none") else variance_explained(again[of], spoken[of])
        found.append(_report(source, domain, judged[of], round_trip, variance_explained(again[of], own[of])))
    return found


def _judged(step: HeldOutStep, said: str) -> tuple[bool, bool, bool]:
    """Whether the words of a step are the very ones, end as it ends, and are valid."""
    wanted = " ".join(step.text.split())
    same_end = _ending(said) == _ending(wanted)
    return said == wanted, same_end, is_valid_step(step.problem, step.chain, step.number, said)


def is_valid_step(problem: Problem, chain: ChainOfThought, number: int, said: str) -> bool:
    """Whether the checker finds no error up to a step (from 0) of a right chain, said in the place of the right one."""
    steps = [*chain.steps[:number], said]
    wrong = judge(problem, steps, chain.final_answer).first_error_step
    return bool(said) and (wrong is None or wrong > number)


def report_table(found: Iterable[SpokenReport]) -> str:
    """The reports as a Markdown table."""
    lines = [
        "| latent | domain | steps | exact | last number | valid [95 %] | round trip | right step recovered |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        lines.append(
            f"| {one.source} | {one.domain} | {one.steps} | {one.exact:.3f} | {one.last_number:.3f} | "
            f"{one.valid:.3f} [{one.valid_low:.3f}, {one.valid_high:.3f}] | {_share(one.round_trip)} | "
            f"{_share(one.recovered)} |"
        )
    return "\n".join(lines)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def spoken_from(steps: dict[str, list[HeldOutStep]], source: Source) -> list[HeldOutStep]:
    """The steps with the lines of a source."""
    if source in ("observed", "student"):
        return steps["observed"]
    expected = steps["expected"]
    if source == "expected":
        return expected
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


def _report(
    source: Source,
    domain: str,
    rows: Bool[np.ndarray, "steps 3"],
    round_trip: float | None,
    recovered: float | None,
) -> SpokenReport:
    count = len(rows)
    exact, last, valid = rows.mean(axis=0).tolist() if count else (0.0, 0.0, 0.0)
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
        round_trip=round_trip,
        recovered=recovered,
    )
