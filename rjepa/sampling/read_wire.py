"""What the reader of a student in another process is asked, and what it answers, as bytes and back.

The methods are those of `rjepa.sampling.reading.TextReader`. Chains that are written go through `wire`.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from rjepa.arrays import Float32
from rjepa.sampling.reading import Ids, TextReader
from rjepa.sampling.student_process import StudentProcess
from rjepa.sampling.wire import (
    pack_array,
    pack_chains,
    pack_latents,
    pack_scores,
    unpack_array,
    unpack_chains,
    unpack_latents,
    unpack_scores,
)
from rjepa.students.extraction import ChainLatents
from rjepa.students.sampled import SampledChain, TokenScore


def read(reader: TextReader, name: str, body: dict[str, Any]) -> Any:
    """Call a method of a reader; returns bytes, or a JSON value (KeyError, TypeError or ValueError for another body).

    Raises:
        RjepaError: what the method refuses.
    """
    return _METHODS[name](reader, body)


class ProcessReader:
    """A `TextReader` whose student is another process's."""

    def __init__(self, process: StudentProcess, vocabulary: int) -> None:
        self._process, self._vocabulary = process, vocabulary

    @property
    def vocabulary(self) -> int:
        """Tokens of the student there."""
        return self._vocabulary

    def tokenize(self, texts: Sequence[str]) -> list[Ids]:
        """As `TextReader.tokenize`."""
        return [tuple(ids) for ids in json.loads(self._ask("tokenize", texts=list(texts)))]

    def names(self, ids: Sequence[int]) -> list[bytes]:
        """As `TextReader.names`."""
        return [name.encode("latin-1") for name in json.loads(self._ask("names", ids=list(ids)))]

    def text(self, ids: Sequence[int]) -> str:
        """As `TextReader.text`."""
        return str(json.loads(self._ask("text", ids=list(ids))))

    def score(self, texts: Sequence[Ids], top: int) -> list[tuple[TokenScore, ...]]:
        """As `TextReader.score`."""
        return [unpack_scores(one) for one in json.loads(self._ask("score", texts=list(map(list, texts)), top=top))]

    def embed(self, texts: Sequence[Ids]) -> Float32:
        """As `TextReader.embed`."""
        return unpack_array(self._ask("embed", texts=list(map(list, texts))))

    def encode(self, statements: Sequence[str], chains: Sequence[str]) -> list[ChainLatents]:
        """As `TextReader.encode`."""
        return unpack_latents(self._ask("encode", statements=list(statements), chains=list(chains)))

    def chains(self, statements: Sequence[str], texts: Sequence[str]) -> list[SampledChain]:
        """As `TextReader.chains`."""
        found = unpack_chains(self._ask("chains", statements=list(statements), texts=list(texts)))
        return [row[0] for row in found]

    def _ask(self, name: str, **body: Any) -> bytes:
        return self._process.ask("POST", f"/read/{name}", body)


def _texts(body: dict[str, Any]) -> list[Ids]:
    return [tuple(map(int, ids)) for ids in body["texts"]]


_METHODS: Final[dict[str, Callable[[TextReader, dict[str, Any]], Any]]] = {
    "tokenize": lambda reader, body: reader.tokenize(list(map(str, body["texts"]))),
    "names": lambda reader, body: [name.decode("latin-1") for name in reader.names(list(map(int, body["ids"])))],
    "text": lambda reader, body: reader.text(list(map(int, body["ids"]))),
    "score": lambda reader, body: [pack_scores(scores) for scores in reader.score(_texts(body), int(body["top"]))],
    "embed": lambda reader, body: pack_array(reader.embed(_texts(body))),
    "encode": lambda reader, body: pack_latents(
        reader.encode(list(map(str, body["statements"])), list(map(str, body["chains"])))
    ),
    "chains": lambda reader, body: pack_chains(
        [[chain] for chain in reader.chains(list(map(str, body["statements"])), list(map(str, body["texts"])))]
    ),
}
