"""Whether a problem is of a kind that R-JEPA knows, told before a word of its chain is written.

A choice among candidates can look at their energies (`rjepa.inference.familiarity`). Guidance cannot: what it guides
looks as expected, whatever the problem. So it looks at the problem alone: how far its latent lies from those of
training problems. On a family never seen every problem is far (docs/lab-book/38-guard-against-unknown-kinds.md).

Dimensions: problems, columns of latents, directions that are kept.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from rjepa.errors import CorruptError
from rjepa.safetensors_files import load_tensors, on_cpu, save_tensors

FAMILIAR_FILE: Final = "familiar.safetensors"

_DIRECTIONS: Final = 64
"""Principal directions whose spread is measured each; what lies outside of them counts as one more."""

_SHARE: Final = 0.99
"""Share of validation problems that count as familiar, as in `rjepa.inference.familiarity`, a room below this one."""

_FLOOR: Final = 1e-6
"""Added to spreads: a direction without any must not make every problem strange."""


@dataclass(frozen=True)
class Familiarity:
    """Where the latents of training problems lie, float32; `limit` is the distance that most problems stay below."""

    location: Float[Tensor, " columns"]
    directions: Float[Tensor, "directions columns"]
    spreads: Float[Tensor, " directions"]
    rest: float
    limit: float

    @classmethod
    def fit(
        cls, prompts: Float[Tensor, "problems columns"], held_out: Float[Tensor, "validation columns"]
    ) -> "Familiarity":
        """From the standardised latents of training problems; the limit from those of validation problems."""
        location = prompts.mean(dim=0)
        centred = prompts - location
        kept = min(_DIRECTIONS, *centred.shape)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # the decomposition begins with random directions
            _, values, directions = torch.svd_lowrank(centred, q=kept, niter=4)
        spreads = values.square() / max(len(prompts) - 1, 1)
        outside = centred - centred @ directions @ directions.T
        made = cls(location, directions.T.contiguous(), spreads, float(outside.square().mean()), 0.0)
        distances = made.distances(held_out)
        limit = float(torch.quantile(distances, _SHARE)) if len(distances) else float("inf")
        return replace(made, limit=limit)

    def distances(self, prompts: Float[Tensor, "problems columns"]) -> Float[Tensor, " problems"]:
        """Mean squared deviation over the kept directions and the rest, each in units of its own spread."""
        centred = prompts - self.location
        within = centred @ self.directions.T
        outside = (centred - within @ self.directions).square().mean(dim=-1) / (self.rest + _FLOOR)
        return (within.square() / (self.spreads + _FLOOR)).mean(dim=-1) + outside

    def knows(self, prompt: Float[Tensor, " columns"]) -> bool:
        """Whether a problem is of a known kind."""
        return float(self.distances(prompt[None])[0]) <= self.limit

    def save(self, folder: Path) -> None:
        """Atomically write as safetensors."""
        tensors = {"location": self.location, "directions": self.directions, "spreads": self.spreads}
        save_tensors(folder / FAMILIAR_FILE, on_cpu(tensors), {"rest": self.rest, "limit": self.limit})

    @classmethod
    def load(cls, folder: Path) -> "Familiarity":
        """Read what `save` wrote.

        Raises:
            CorruptError: it is not there, or is something else.
        """
        path, cure = folder / FAMILIAR_FILE, "materialise logit_guidance again"
        tensors, about = load_tensors(path, cure)
        try:
            parts = (tensors["location"], tensors["directions"], tensors["spreads"])
            return cls(*parts, float(about["rest"]), float(about["limit"]))
        except (KeyError, TypeError) as error:
            raise CorruptError(f"{path} does not say which problems are familiar ({error})", cure=cure) from error
