"""The simulated nights, their sizes, and their users. Pure: everything follows from the size and the seed."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal

import numpy as np

from rjepa.datasets.recipe import DatasetRecipe
from rjepa.evaluation.domains import ALL
from rjepa.living.settings import LearningSettings
from rjepa.schemas import Split

BASE: Final = "v0.1.0"
"""What the first release is trained on: the curriculum without the family that arrives later. The bundled student can
answer three kinds of problems well enough for a choice to matter; all are in v1.0.0, so that one is left out."""
OLD: Final = ("math", "code")
FAMILY: Final = "logic"
LABELLED: Final = "living-labelled"
"""The operator's labelled problems of the new family: without test problems no gate can see that it got better."""
MEASURED: Final = "living-measured"
"""Problems of all domains that nothing is trained, tuned or judged on but the figures of the simulation."""

_CREATED: Final = datetime(2026, 11, 1, tzinfo=UTC)
_DIFFICULTY: Final[dict[str, tuple[float, float, float]]] = {
    "math": (0.90, 0.08, 0.02),
    "code": (0.25, 0.65, 0.10),
    "logic": (0.50, 0.45, 0.05),
}
"""Shares of easy, middle and hard problems, as in v1.0.0: the student is right about half the time."""

_APART: Final = 1000
"""Between the seeds of the data of two simulations: another `--seed` has other problems everywhere."""

Vote = Literal["up", "down"]


@dataclass(frozen=True)
class User:
    """Somebody with a key of their own. `honesty` is the chance that a vote says what its giver knows."""

    name: str
    honesty: float

    def vote(self, is_right: bool, random: np.random.Generator) -> Vote:
        """What the user says of an answer."""
        says_right = is_right if random.random() < self.honesty else not is_right
        return "up" if says_right else "down"


USERS: Final = (
    *(User(f"honest-{number}", 1.0) for number in range(1, 7)),
    *(User(f"careless-{number}", 0.75) for number in range(1, 4)),
    *(User(f"liar-{number}", 0.45) for number in range(1, 4)),
)
"""One vote in five is a lie: 0.8 is the mean honesty."""
POISONER: Final = User("mallory", 0.0)
WITHDRAWS: Final = "honest-1"
"""Who takes everything back."""


@dataclass(frozen=True)
class Scene:
    """What happens on one day, and in the night after it."""

    family: bool = True
    """whether users ask problems of the new family"""
    labelled: bool = False
    """whether the operator adds labelled problems of it"""
    poison: bool = False
    broken: bool = False
    """whether training runs at the largest rate that can be set: what comes of it is broken"""
    withdraws: bool = False
    learning_rate: float = LearningSettings().learning_rate
    """that the operator sets for the night"""
    claim: str = ALL
    """where the operator says, before the night, that it has to be better"""

    @property
    def events(self) -> str:
        """In words."""
        words = {
            "labelled": "a new family arrives",
            "poison": "a poisoner floods",
            "broken": "a broken checkpoint",
            "withdraws": "a user withdraws everything",
        }
        return ", ".join(text for name, text in words.items() if getattr(self, name)) or "nothing special"


@dataclass(frozen=True)
class Size:
    """How much of everything there is."""

    name: str
    train: int
    """training problems of each old domain in the base"""
    validation: int
    test: int
    labelled: dict[Split, int]
    """problems of the new family that the operator labels"""
    measured: int
    """problems of each domain that arms are measured on"""
    questions: int
    """of each domain, a day"""
    poison: int
    """answers that the poisoner votes on"""
    reviews: int
    """answers that the operator looks at, a day"""
    sealed: int
    """problems of each domain in a sealed set"""
    candidates: int
    """that an answer is chosen from"""
    recipe: str
    """training run of the first release"""
    scenes: tuple[Scene, ...]


FULL: Final = Size(
    name="full",
    train=600,
    validation=80,
    test=100,
    labelled={"validation": 60, "test": 100},
    measured=120,
    questions=16,
    poison=126,
    reviews=12,
    sealed=250,
    candidates=4,
    recipe="living",
    scenes=(
        Scene(family=False),
        Scene(labelled=True),
        Scene(),
        Scene(poison=True),
        Scene(broken=True),
        Scene(withdraws=True),
        Scene(),
    ),
)

TAUGHT: Final = replace(
    FULL,
    name="taught",
    train=2500,
    validation=400,
    test=400,
    labelled={"train": 3000, "validation": 400, "test": 400},
    measured=300,
    sealed=800,
    recipe="demo",
    scenes=(
        Scene(labelled=True, learning_rate=1e-3, claim=FAMILY),
        Scene(withdraws=True, learning_rate=1e-3),
    ),
)
"""A night that has much to learn from: the operator labels a training set of the new family, too, doubles the
rate, and claims that it gets better there (lab book 60). P(correct) takes 400 validation problems of each domain to
tell three kinds apart (lab book 68). Then a user withdraws everything: a release that has learnt it has to be
replaced."""

SMALL: Final = Size(
    name="small",
    train=60,
    validation=24,
    test=8,
    labelled={"validation": 12, "test": 8},
    measured=6,
    questions=4,
    poison=4,
    reviews=4,
    sealed=6,
    candidates=2,
    recipe="smoke",
    scenes=(Scene(labelled=True, poison=True), Scene(withdraws=True)),
)

SIZES: Final = {size.name: size for size in (FULL, TAUGHT, SMALL)}


def base_recipe(size: Size, seed: int) -> DatasetRecipe:
    """The version that the first release learns."""
    counts: dict[str, dict[Split, int]] = {
        domain: {"train": size.train, "validation": size.validation, "test": size.test} for domain in OLD
    }
    return _curriculum(BASE, counts, seed=20261120 + _APART * seed, version="0.1.0")


def labelled_recipe(size: Size, seed: int) -> DatasetRecipe:
    """The operator's labelled problems of the new family."""
    return _curriculum(LABELLED, {FAMILY: dict(size.labelled)}, seed=20261121 + _APART * seed)


def measured_recipe(size: Size, seed: int) -> DatasetRecipe:
    """The problems that arms are measured on."""
    counts: dict[str, dict[Split, int]] = {domain: {"test": size.measured} for domain in (*OLD, FAMILY)}
    return _curriculum(MEASURED, counts, seed=20261122 + _APART * seed)


def asked_recipe(size: Size, day: int, who: str, seed: int) -> DatasetRecipe:
    """What is asked on a day (counted from 1): it is drawn, and never becomes a dataset.

    Args:
        who: "users" or "poisoner".
    """
    scene = size.scenes[day - 1]
    domains = (*OLD, FAMILY) if scene.family else OLD
    each = size.questions if who == "users" else -(-size.poison // len(domains))
    counts: dict[str, dict[Split, int]] = {domain: {"train": each} for domain in domains}
    return _curriculum("asked", counts, seed=seed * 1000 + day * 10 + (who == "users"))


def _curriculum(name: str, counts: dict[str, dict[Split, int]], seed: int, version: str = "1.0.0") -> DatasetRecipe:
    values = {
        "name": name,
        "version": version,
        "source": "curriculum",
        "description": "Problems of the simulated nights (rjepa demo --living).",
        "created": _CREATED,
        "seed": seed,
        "licence": "Apache-2.0",
        "difficulty_weights": {domain: _DIFFICULTY[domain] for domain in counts},
        "counts": counts,
    }
    return DatasetRecipe.model_validate(values)
