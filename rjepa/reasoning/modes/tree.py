"""Search for a chain step by step, by R-JEPA's energies alone, and choose among the chains that became whole."""

from collections.abc import Generator
from typing import Final, Literal

import numpy as np
from pydantic import Field

from rjepa.reasoning.changes import Pruned
from rjepa.reasoning.choosing import best_scored, finish, is_familiar, judge
from rjepa.reasoning.events import Event, Wait
from rjepa.reasoning.mode import CHOOSING, STEPWISE, Mode
from rjepa.reasoning.question import ModeOptions, Question
from rjepa.reasoning.searching import Bounds, Search, beam, best_first, depth_first, particles
from rjepa.reasoning.tools import Tools
from rjepa.reasoning.writing import Candidates, answer_as_off, energy_limit, refuse_greedy, require_steps
from rjepa.sampling.protocol import Capability

_MOST_WIDTH: Final = 16
_MOST_BRANCHING: Final = 8
_MOST_DEPTH: Final = 256
"""Steps that no chain of a thousand tokens has."""
_MOST_NODES: Final = 256
"""What one question may cost at most where no budget is given: some 256 steps of 10 to 20 tokens."""


class TreeOptions(ModeOptions):
    """How the search goes, and its bounds."""

    search: Literal["depth_first", "beam", "best_first", "particles"] = Field(
        "depth_first", description="depth_first turns back at a surprising step; beam, best_first, particles"
    )
    width: int = Field(1, ge=1, le=_MOST_WIDTH, description=f"chains side by side, 1 to {_MOST_WIDTH}")
    branching: int = Field(4, ge=1, le=_MOST_BRANCHING, description=f"ways on from a place, 1 to {_MOST_BRANCHING}")
    depth: int = Field(
        32, ge=1, le=_MOST_DEPTH, description=f"steps behind which a chain only goes on, 1 to {_MOST_DEPTH}"
    )
    nodes: int = Field(
        32, ge=1, le=_MOST_NODES, description=f"steps written before chains only go on, 1 to {_MOST_NODES}"
    )
    surprise: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="depth_first turns back at more energy than this share of right steps; none: the release's own",
    )

    @property
    def rows(self) -> int:
        """As `ModeOptions.rows`."""
        return self.width * self.branching


def run(question: Question, tools: Tools) -> Generator[Event | Wait, None, None]:
    """One chain is written first, which tells whether R-JEPA knows such problems; then the search."""
    options = question.options
    assert isinstance(options, TreeOptions)
    temperature = tools.temperature
    bounds = Bounds(
        width=options.width,
        branching=options.branching,
        depth=options.depth,
        nodes=options.nodes,
        limit=energy_limit(tools.parts, options.surprise),
    )
    candidates = Candidates(tools, 1)
    (first,) = yield from candidates.start([0], temperature)
    yield from candidates.write([first])
    if not is_familiar(tools, candidates.rows):
        yield from answer_as_off(candidates)
        return
    pruned: list[Pruned] = []
    if not tools.is_spent:
        pruned = yield from _search(options.search, candidates, bounds, temperature, first, question.seed)
    judged = judge(tools, candidates.rows, best_scored(tools))
    note = f"{len(candidates.rows)} beginnings were written, {len(pruned)} of them given up."
    yield from finish(tools, judged, pruned=pruned, note=note)


def _search(kind: str, candidates: Candidates, bounds: Bounds, temperature: float, first: int, seed: int) -> Search:
    if kind == "beam":
        return beam(candidates, bounds, temperature)
    if kind == "best_first":
        return best_first(candidates, bounds, temperature)
    if kind == "particles":
        return particles(candidates, bounds, temperature, np.random.default_rng(seed))
    return depth_first(candidates, bounds, temperature, first)


MODE: Final = Mode(
    name="tree",
    summary="a search over steps, by R-JEPA",
    options=TreeOptions,
    needs=STEPWISE | {Capability.FORK},
    parts=CHOOSING,
    run=run,
    check=refuse_greedy,
    fit=require_steps,
)
