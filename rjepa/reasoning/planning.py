"""Chains with gaps: say which step R-JEPA expects where one is missing or surprising, in words, and keep what fits.

Texts in, texts out: what the student makes of a chain is read anew after every change. When plans are made and how they
go on belongs to mode `plan`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch

from rjepa.chains import read_segments, render_chain
from rjepa.inference.familiarity import FAMILIAR_FEATURE
from rjepa.jepa.config import ENERGY_FLOOR
from rjepa.reasoning.changes import Planned, Surprise
from rjepa.reasoning.reading import Reading
from rjepa.reasoning.tools import Tools
from rjepa.step_types import segment_types
from rjepa.verbalizer.infilling import expected_segments, standardised
from rjepa.verbalizer.speaking import Line, speak, step_text

GAP: Final = "?"
"""What stands for a missing step."""


def read_steps(text: str) -> list[str | None]:
    """The steps of a text, one a line, with or without labels; None where `GAP` stands for one. Answer lines are left
    out: the student writes its own.
    """
    segments = [read_segments(line)[0] for line in text.splitlines() if line.strip()]
    words = [" ".join(one.text.split()) for one in segments if one.text and not one.is_answer]
    return [None if one == GAP else one for one in words]


def step_line(number: int, words: str) -> str:
    """A step as it stands in a chain, counted from 1."""
    return f"Step {number}: {words}\n"


@dataclass
class Planner:
    """Plans for one question. `planned` is what was put in, in that order."""

    tools: Tools
    planned: list[Planned] = field(default_factory=list)

    def fill(self, steps: Sequence[str | None]) -> list[str]:
        """Say what is missing, first gap first: a later one is spoken with the earlier in view."""
        known = list(steps)
        while None in known:
            place = known.index(None)
            words = self.expected(known, place)
            known[place] = words
            whole = [one for one in known[: place + 1] if one is not None]
            self._note(place, words, None, self.energies(whole)[place], "it was asked for")
        return [one for one in known if one is not None]

    def mend(self, steps: Sequence[str], limit: float, rounds: int) -> list[str]:
        """Look for steps that surprise; before or in place of each, put what is expected, if that leaves the chain less
        surprising at its worst. A step that cannot be mended is left alone.
        """
        known, settled = list(steps), set[str]()
        for _ in range(rounds):
            energies = self.energies(known)
            place = next((at for at, one in enumerate(known) if energies[at] > limit and one not in settled), None)
            if place is None:
                break
            settled.add(known[place])
            before = [*known[:place], self.expected([*known[:place], None, *known[place:]], place), *known[place:]]
            instead = [*known[:place], self.expected([*known[:place], None, *known[place + 1 :]], place)]
            instead += known[place + 1 :]
            tried = [before, instead]
            worst = [float(max(each)) for each in self._energies(tried)]
            best = int(np.argmin(worst))
            if worst[best] >= float(max(energies)):
                continue
            old = None if best == 0 else known[place]
            why = "a step was missing before one that surprised" if best == 0 else "the step that stood there surprised"
            known = tried[best]
            self._note(place, known[place], old, self.energies(known)[place], why)
        return known

    def knows(self, steps: Sequence[str]) -> bool:
        """Whether R-JEPA knows problems such as this one, by how surprising these steps are. Else none is to be
        changed.
        """
        energy = np.log(np.maximum(self.energies(steps), ENERGY_FLOOR)).mean()
        return bool(self.tools.parts.calibration.is_familiar({FAMILIAR_FEATURE: np.array([[energy]])})[0])

    def expected(self, steps: Sequence[str | None], place: int) -> str:
        """The step that R-JEPA expects at a place (from 0), in words, from all steps that are known."""
        tools = self.tools
        voice = tools.parts.verbalizer
        assert voice is not None  # the engine has seen to it
        lines = [step_line(number, one) for number, one in enumerate(steps, start=1) if one is not None]
        gaps = [at + 1 for at, one in enumerate(steps) if one is None]
        text = "".join(lines)
        (read,) = tools.read_texts([text])
        types = segment_types(text, len(read.latents), tools.parts.segmentation)
        reader = tools.parts.reader
        own = expected_segments(tools.parts.model, reader, read, types, gaps)[gaps.index(place + 1)]
        if voice.alter is not None:
            own = voice.alter(own, tools.statement, place + 1)
        earlier = sum(one is not None for one in steps[:place])
        tokens = [tools.tokens_of(line) for line in lines[:earlier]]
        starts = len(tools.prompt_tokens) + np.cumsum([0, *(len(one) for one in tokens)])[:-1]
        line = Line(
            begin=tools.tokens_of(step_line(place + 1, "").rstrip()),
            latents=torch.cat([standardised(reader, read.latents[1 : earlier + 1]), own[None]]),
            is_expected=[False] * earlier + [True],
            before=[*tools.prompt_tokens, *(token for one in tokens for token in one)],
            starts=starts.tolist(),
        )
        return step_text(speak(voice.decoder, [line])[0])

    def energies(self, steps: Sequence[str]) -> list[float]:
        """How surprising each step of a chain is."""
        return self._energies([steps])[0]

    def _energies(self, chains: Sequence[Sequence[str]]) -> list[list[float]]:
        found = self.tools.text_energies([render_chain(steps, None) for steps in chains])
        return [energies.tolist()[: len(steps)] for energies, steps in zip(found, chains, strict=True)]

    def _note(self, place: int, words: str, old: str | None, energy: float, why: str) -> None:
        self.planned.append(Planned(step=place + 1, expected=words, written=old, energy=energy, why=why))


def find_surprises(tools: Tools, reading: Reading) -> tuple[Surprise, ...]:
    """The first step of a chain that surprises, with what was expected there, given the steps before it: what surprises
    after that follows a wrong step as a rule, and is expected of a wrong chain. Nothing where the release has no
    verbaliser, or does not know from which energy on a step surprises.
    """
    limit = tools.parts.calibration.step_threshold
    if tools.parts.verbalizer is None or limit is None or not tools.parts.model.config.encoder.causal:
        return ()
    steps = [step for step in reading.steps if not step.is_answer]
    place = next((at for at, step in enumerate(steps) if step.energy > limit), None)
    if place is None:
        return ()
    words, step = Planner(tools).expected([*(one.words for one in steps[:place]), None], place), steps[place]
    if not words or words == step.words:
        return ()
    text = f'expected "{words}", wrote "{step.words}"'
    return (Surprise(step=place + 1, expected=words, written=step.words, energy=step.energy, text=text),)
