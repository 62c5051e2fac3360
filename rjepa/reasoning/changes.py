"""What a mode does to chains while it answers: facts that are streamed as events and kept in the answer's explanation.

Values only. Candidates are numbered as they began, from 0, steps from 1; the answer line is the step after the last.
Energies are R-JEPA's, of any unit; `share_below` of a step's energy is the share of right steps on validation problems
that have less, so that 0.99 is a step of which one right step in a hundred is as surprising.
"""

from typing import Literal

from pydantic import Field

from rjepa.values import FrozenValue

StopReason = Literal["sure_enough", "out_of_budget", "all_drawn", "nothing_to_repair"]
"""Why no more was written: P(correct) reached its target, the budget of tokens is spent, or the most candidates or
rounds that were allowed are done, or no step is left above the threshold."""


class Branch(FrozenValue):
    """A candidate begins: from the problem, or from the first `step` steps of the candidate `parent`."""

    candidate: int
    parent: int | None = None
    step: int = Field(0, ge=0, description="steps it shares with its parent")


class Pruned(FrozenValue):
    """A candidate is given up before its end, or left out of the choice; its tokens are spent."""

    candidate: int
    step: int = Field(description="the step that decided it")
    energy: float | None
    share_below: float | None = None
    why: str = Field(description="one English clause, such as 'more energy than 98 % of right steps'")


class Repaired(FrozenValue):
    """A candidate was cut before `step` and written again from there."""

    candidate: int = Field(description="the one that was cut")
    rewritten: int = Field(description="the one that was written from its kept steps")
    step: int
    old: str = Field(description="the step that was cut, without label and end")
    new: str = Field(description="what stands there now")
    energy_old: float
    energy_new: float | None = Field(description="None where nothing was written in its place")
    accepted: bool = Field(description="whether the rewritten candidate takes the place of the old one")
    why: str = Field(description="why it was cut, and why the new one was or was not accepted: one English clause")


class Planned(FrozenValue):
    """What R-JEPA expected of a step, in words, and what became of it."""

    step: int
    expected: str = Field(description="the expected step in words")
    written: str | None = Field(description="the step that the student wrote; None where the expected one stands")
    energy: float | None = Field(description="of the step that stands")
    why: str


class Surprise(FrozenValue):
    """A step of the chosen chain that R-JEPA did not expect, and what it expected instead, in words."""

    step: int
    expected: str = Field(description="the expected step, given the steps before it")
    written: str
    energy: float
    text: str = Field(description='both as one English clause: \'expected "11 * 3 = 33", wrote "11 * 3 = 31"\'')


Change = Branch | Pruned | Repaired | Planned
