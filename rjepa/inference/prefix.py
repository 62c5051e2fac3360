"""P(a chain ends right), read after each of its steps: what stops, drops and repairs chains while they are written.

A logistic in the energies and log-probabilities so far, with a curve over it (`rjepa.inference.curved`), one for each
number of steps, as a calm first step says less than a calm fifth one. P(correct) of whole answers, which knows their
votes, is `rjepa.inference.probability`'s.

Dimensions: chains; inputs of the logistic.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Bool, Float
from pydantic import Field

from rjepa.arrays import Bools, Float64
from rjepa.inference.curved import CurvedLogistic
from rjepa.jepa.config import ENERGY_FLOOR
from rjepa.schemas import Candidate
from rjepa.values import FrozenValue

MOST_STEPS: Final = 12
"""Longer prefixes are read by the model of this many steps: hardly a chain of a bundled student is longer."""

FEWEST_CHAINS: Final = 200
"""A number of steps that fewer validation chains reach has no model of its own: the one below is used."""


WORST_ECE: Final = 0.05
"""Over all steps: what stops at a P(correct) of 0.8 may then be wrong in one case of four, not of five. Chance alone
gives some 0.01 on the chains of a validation set."""


class PrefixModel(CurvedLogistic):
    """P(a chain of at least so many steps ends right), from its first `steps` steps."""

    steps: int = Field(ge=1)
    chains: int = Field(description="that it was fitted on")


class StepReliability(FrozenValue):
    """How well P(correct) after `steps` steps comes true, on validation problems that it was not fitted on."""

    steps: int
    chains: int
    right: float = Field(description="share of these chains that end right")
    predicted: float = Field(description="mean P(correct)")
    ece: float = Field(description="expected calibration error over ten bins")


class PrefixCalibration(FrozenValue):
    """P(correct) of prefixes of a release; without models it is unknown."""

    models: tuple[PrefixModel, ...] = Field((), description="ascending in steps")
    reliability: tuple[StepReliability, ...] = Field(
        (), description="cross-fitted: half the problems judge the others'"
    )

    @property
    def ece(self) -> float:
        """Expected calibration error over all steps, each by the chains that reach it; 1 where it is unknown."""
        chains = sum(step.chains for step in self.reliability)
        return sum(step.chains * step.ece for step in self.reliability) / chains if chains else 1.0

    def p_correct(self, energies: Sequence[float], logprob: float, tokens: int) -> float | None:
        """P(the chain ends right) after its first steps; None where that is not known.

        Args:
            energies: one a step so far, the answer line left out.
            logprob: of all tokens so far, in nats.
            tokens: how many.
        """
        if not self.models or not energies:
            return None
        model = next((one for one in reversed(self.models) if one.steps <= len(energies)), self.models[0])
        return float(model.probability(prefix_inputs(energies, logprob, tokens)))


def prefix_inputs(energies: Sequence[float], logprob: float, tokens: int) -> Float[Float64, " inputs"]:
    """Logarithms of the largest, mean and last energy, the log-probability's sum and mean, and the number of steps."""
    logs = np.log(np.maximum(np.asarray(energies, dtype=np.float64), 0.0) + ENERGY_FLOOR)
    return np.array([logs.max(), logs.mean(), logs[-1], logprob, logprob / max(tokens, 1), float(len(logs))])


def fit_prefixes(
    prefixes: Sequence[Sequence[Float[Float64, " inputs"]]], right: Bool[Bools, " chains"]
) -> tuple[PrefixModel, ...]:
    """One model for each number of steps that enough chains reach.

    Args:
        prefixes: of each chain, `prefix_inputs` after each of its steps.
        right: whether the chain ends right.
    """
    models = []
    for steps in range(1, MOST_STEPS + 1):
        rows = [index for index, chain in enumerate(prefixes) if len(chain) >= steps]
        if len(rows) < FEWEST_CHAINS:
            break
        inputs = np.stack([prefixes[index][steps - 1] for index in rows])
        models.append(PrefixModel.fit(inputs, right[rows], steps=steps, chains=len(rows)))
    return tuple(models)


def candidate_prefixes(candidate: Candidate, energies: Float64) -> list[Float[Float64, " inputs"]]:
    """`prefix_inputs` after each step of a whole chain.

    Frozen candidates do not say at which token a step ends, so that it is taken from the step's share of the text. The
    tokens on both sides of an end (newline, label) are nearly certain, and move the sum little.

    Args:
        candidate: the chain.
        energies: of its segments 1.., the answer line's the last where it has one.
    """
    ends = np.cumsum([len(step) for step in candidate.steps])
    count = min(len(ends), len(energies))
    if not count or not np.isfinite(energies[:count]).all() or not candidate.token_logprobs:
        return []
    sums = np.cumsum(candidate.token_logprobs)
    written = max(int(ends[-1]) + len(candidate.final_answer or ""), 1)
    tokens = np.clip(np.round(ends[:count] / written * len(sums)).astype(int), 1, len(sums))
    return [
        prefix_inputs(energies[:step].tolist(), float(sums[tokens[step - 1] - 1]), int(tokens[step - 1]))
        for step in range(1, count + 1)
    ]
