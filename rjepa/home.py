"""The layout of `$RJEPA_HOME`: which file lives where. Paths only; reading and writing live elsewhere."""

import re
from dataclasses import dataclass
from pathlib import Path

from rjepa.errors import InvalidInputError

TAG_PATTERN = re.compile(r"^[a-z0-9][a-z0-9._-]*$")
"""Dagster accepts other keys and then drops `x|y` silently from a product of partitions, so tags are checked first."""


def check_tag(tag: str, what: str = "llm_tag") -> str:
    """Return `tag` if it can name an LLM, a dataset or a folder.

    Raises:
        InvalidInputError: the tag holds anything but a-z, 0-9, '.', '_' and '-', starts badly, or is too long.
    """
    if not TAG_PATTERN.fullmatch(tag) or len(tag) > 64 or ".." in tag:
        raise InvalidInputError(
            f"{tag!r} cannot be used as {what}",
            cure="use at most 64 of a-z, 0-9, '.', '_' and '-', starting with a letter or a digit (e.g. qwen3-8b-awq)",
        )
    return tag


@dataclass(frozen=True)
class Home:
    """Paths under one root. `dataset` is a dataset version (`v1.0.0`, or an imported data set's name)."""

    root: Path

    @property
    def registry(self) -> Path:
        """What the user added: `students/<tag>.yaml` and `datasets/<name>.yaml` with its source file."""
        return self.root / "registry"

    @property
    def database(self) -> Path:
        """The SQLite file of records that change, where no other database is named."""
        return self.root / "rjepa.db"

    @property
    def dagster(self) -> Path:
        """DAGSTER_HOME: run and event storage."""
        return self.root / "dagster"

    def dataset(self, dataset: str) -> Path:
        """Permanent and immutable once released."""
        return self.root / "datasets" / check_tag(dataset, "dataset version")

    def statement_index(self, name: str) -> Path:
        """What is remembered of the statements of one part: a cache, made again where it is missing."""
        return self.root / "index" / "statements" / f"{name}.safetensors"

    def student(self, llm_tag: str) -> Path:
        """A student's resolved record and, where it was trained here, its weights."""
        return self.root / "students" / check_tag(llm_tag)

    def shards(self, kind: str, llm_tag: str) -> Path:
        """Latents, sampled chains or verdicts of one LLM, each kept once for all dataset versions that name it."""
        return self.root / "shards" / kind / check_tag(llm_tag)

    def rollouts(self, llm_tag: str, dataset: str) -> Path:
        """Frozen candidates sampled by a student: a manifest over shards."""
        return self._of_student("rollouts", llm_tag, dataset)

    def train_rollouts(self, llm_tag: str, dataset: str) -> Path:
        """Chains sampled for training problems: a manifest over shards."""
        return self._of_student("train_rollouts", llm_tag, dataset)

    def latents(self, llm_tag: str, dataset: str) -> Path:
        """Latents of the validated chains: a manifest over shards."""
        return self._of_student("latents", llm_tag, dataset)

    def latent_share(self, llm_tag: str, dataset: str) -> Path:
        """Latents of the chains of a share of the training problems, where no others are made: what an adapter needs.
        A manifest over the same shards.
        """
        return self._of_student("latent_shares", llm_tag, dataset)

    def models(self, llm_tag: str, dataset: str) -> Path:
        """Normaliser, checkpoint and score calibration."""
        return self._of_student("models", llm_tag, dataset)

    def reports(self, llm_tag: str, dataset: str) -> Path:
        """Benchmark reports: JSON, HTML and PNG."""
        return self._of_student("reports", llm_tag, dataset)

    def releases(self, llm_tag: str) -> Path:
        """Release bundles of one LLM and the `CURRENT` pointer."""
        return self.root / "releases" / check_tag(llm_tag)

    def evaluations(self, llm_tag: str) -> Path:
        """Evaluation records, append-only: a folder for each release or checkpoint that was judged."""
        return self.root / "evaluations" / check_tag(llm_tag)

    def _of_student(self, kind: str, llm_tag: str, dataset: str) -> Path:
        return self.root / kind / check_tag(llm_tag) / check_tag(dataset, "dataset version")
