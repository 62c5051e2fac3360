"""Encode chains into shards, and say how far it is. Which chains have to be encoded: `rjepa.latents.building`."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from rjepa.arrays import Float16, UInt8
from rjepa.latents.shards import KeptChain
from rjepa.latents.store import KEY_LENGTH, ShardIndex, ShardWriter
from rjepa.progress import Progress, time_left
from rjepa.step_types import chain_types
from rjepa.students.extraction import ChainLatents, extract_batches
from rjepa.students.loading import Student

SHARD_CHAINS: Final = 1000
"""Chains of a shard: a training reads long runs of rows, and a killed build loses less than this."""

_SHARD_SECONDS: Final = 20.0
"""A shard of a slow student ends after this long, whatever it holds."""


@dataclass(frozen=True)
class ChainText:
    """A chain to encode: its problem's statement, its own text, and the key of both."""

    statement: str
    text: str
    key: str


class Encoder:
    """Encodes chains and writes them to shards, which `index` learns of. `placed` says where each key lies: the number
    of its shard and its place, as `ShardIndex.find` does.
    """

    def __init__(
        self, student: Student, index: ShardIndex[KeptChain], writer: ShardWriter[KeptChain], pace: "Pace"
    ) -> None:
        self.placed: dict[str, tuple[int, int]] = {}
        self.tokens = self.shards = 0
        self._student, self._index, self._writer, self._pace = student, index, writer, pace
        self._begin()

    def encode(self, chains: Sequence[ChainText]) -> None:
        """Encode chains together, and finish the shard where it is due."""
        found: dict[int, ChainLatents | None] = {}
        statements, texts = [chain.statement for chain in chains], [chain.text for chain in chains]
        for batch in extract_batches(self._student, statements, texts, progress=self._pace.working):
            found |= batch
            if time.monotonic() - self._started > _SHARD_SECONDS:
                self._append(chains, found)
                self.finish()
                found = {}
        self._append(chains, found)
        self._pace.encoded(len(chains))
        if len(self._writer) >= SHARD_CHAINS:
            self.finish()

    def finish(self) -> None:
        """Make durable what was encoded since the last shard."""
        if len(self._writer):
            number = self._index.add(self._writer.finish())
            self.placed |= {key: (number, place) for key, place in self._places.items()}
            self.shards += 1
        self._begin()

    def _begin(self) -> None:
        self._places: dict[str, int] = {}
        self._sentences: dict[str, tuple[int, int]] = {}
        self._started = time.monotonic()

    def _append(self, chains: Sequence[ChainText], found: dict[int, ChainLatents | None]) -> None:
        """Add what was found to the shard, in the order of the chains. Of equal chains the first is kept."""
        new: dict[str, tuple[ChainText, ChainLatents | None]] = {}
        for index in sorted(found):
            if chains[index].key not in self._places:
                new.setdefault(chains[index].key, (chains[index], found[index]))
        kept = [(chain, latents) for chain, latents in new.values() if latents is not None]
        types = [
            chain_types([chain.text], [len(latents.latents)], self._student.record.segmentation)
            for chain, latents in kept
        ]
        first_row = self._writer.tensor_rows("latents")
        sentences = self._add_sentences([(chains[i], latents) for i, latents in sorted(found.items()) if latents])
        records = []
        of_chain = iter(types)
        for chain, latents in new.values():
            self._places[chain.key] = len(self._places)
            if latents is None:
                records.append(_too_long(chain.key))
                continue
            record = self._record(chain, latents, next(of_chain), first_row)
            first_row += record.segments
            records.append(record)
        tensors = {
            "latents": _joined([latents.latents for _, latents in kept], self._student.width),
            "sentences": _joined(sentences, self._student.width),
            "types": np.concatenate([np.empty(0, dtype=np.uint8), *types]),
        }
        self._writer.append(tensors, records)
        self.tokens += sum(record.tokens for record in records)

    def _add_sentences(self, found: Sequence[tuple[ChainText, ChainLatents]]) -> list[Float16]:
        """Sentences of the problems that are new to the shard: chains of one problem share them."""
        new = {chain.statement: latents.sentences for chain, latents in found if chain.statement not in self._sentences}
        first = self._writer.tensor_rows("sentences")
        for statement, rows in new.items():
            self._sentences[statement] = first, len(rows)
            first += len(rows)
        return list(new.values())

    def _record(self, chain: ChainText, latents: ChainLatents, types: UInt8, first_row: int) -> KeptChain:
        first_sentence, sentences = self._sentences[chain.statement]
        parts = (latents.latents, latents.sentences, types)
        return KeptChain(
            key=chain.key,
            tokens=latents.tokens,
            step_boundaries=latents.boundaries.tolist(),
            segments=len(latents.latents),
            first_row=first_row,
            first_sentence=first_sentence,
            sentences=sentences,
            digest=hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()[:KEY_LENGTH],
        )


class Pace:
    """Reports the whole from its parts: chains done, tokens a second now, and the time left at the pace so far."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total = progress, total
        self._started = time.monotonic()
        self._done = self._encoded = 0

    @property
    def seconds(self) -> float:
        """Since the build began."""
        return time.monotonic() - self._started

    def found(self, chains: int) -> None:
        """Count chains that are kept already."""
        if chains:
            self._done += chains
            self._progress(self._done, self._total, "found")

    def encoded(self, chains: int) -> None:
        """Count chains that were just encoded."""
        self._done += chains
        self._encoded += chains

    def finished(self) -> None:
        """All is durable."""
        self._progress(self._done, self._total)

    def working(self, done: int, total: int, note: str = "") -> None:
        """Report progress within chains that are encoded together."""
        left = self._total - self._done - done
        seconds = self.seconds * left / max(self._encoded + done, 1)
        self._progress(self._done + done, self._total, f"{note}, {time_left(seconds)}")


def _too_long(key: str) -> KeptChain:
    """A chain that does not fit the student's context: kept as such, so that it is not looked at again."""
    return KeptChain(
        key=key, tokens=0, step_boundaries=[], segments=0, first_row=0, first_sentence=0, sentences=0, digest=""
    )


def _joined(parts: list[Float16], width: int) -> Float16:
    return np.concatenate(parts) if parts else np.empty((0, width), dtype=np.float16)
