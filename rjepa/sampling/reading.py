"""What a student makes of texts that somebody else wrote: tokens, log-probabilities, vectors, latents of chains.

Every source has a reader. One over a loaded student stands here; one that asks a student's process, in `read_wire`.
Writing chains belongs to `protocol`.
"""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from rjepa.arrays import Float32
from rjepa.errors import InvalidInputError
from rjepa.students.extraction import ChainLatents, embed_texts, extract_latents
from rjepa.students.loading import Student
from rjepa.students.prompts import PromptFormat, encode_prompts
from rjepa.students.rereading import read_chains
from rjepa.students.rescoring import score_tokens_of
from rjepa.students.sampled import SampledChain, TokenScore
from rjepa.students.scores import require_tokens, token_name

Ids = tuple[int, ...]


class TextReader(Protocol):
    """Reads texts with one student. Token ids count from 0.

    Texts as ids have a token at least, and at most as many as the context holds.
    """

    @property
    def vocabulary(self) -> int:
        """The number of the student's tokens."""

    def tokenize(self, texts: Sequence[str]) -> list[Ids]:
        """The tokens of texts as they are, after what the tokenizer puts first (a beginning-of-sequence token)."""

    def names(self, ids: Sequence[int]) -> list[bytes]:
        """What each token adds to a text; of a special token, which adds nothing, its name."""

    def text(self, ids: Sequence[int]) -> str:
        """The text of tokens, without special ones."""

    def score(self, texts: Sequence[Ids], top: int) -> list[tuple[TokenScore, ...]]:
        """The scores of every token of each text but the first, with the `top` most probable tokens of its place."""

    def embed(self, texts: Sequence[Ids]) -> Float32:
        """float32 [texts, hidden]: the mean of each text's hidden states at the student's layer, special tokens left
        out where there are others.
        """

    def encode(self, statements: Sequence[str], chains: Sequence[str]) -> list[ChainLatents]:
        """The latents of each chain after its statement's prompt.

        Raises:
            InvalidInputError: a chain that is longer than the context.
        """

    def chains(self, statements: Sequence[str], texts: Sequence[str]) -> list[SampledChain]:
        """A chain of each text after its statement's prompt, with latents and log-probabilities.

        Raises:
            InvalidInputError: a text without words, or one that does not fit the context with its problem.
        """


class StudentReader:
    """A `TextReader` over a loaded student."""

    def __init__(self, student: Student) -> None:
        self._student = student

    @property
    def vocabulary(self) -> int:
        """As `TextReader.vocabulary`: a tokenizer may have more than the model, and the other way round."""
        weight: Tensor = self._student.model.get_input_embeddings().weight  # type: ignore[assignment]
        return min(len(self._student.pieces.pieces), len(weight))

    def tokenize(self, texts: Sequence[str]) -> list[Ids]:
        """As `TextReader.tokenize`."""
        return [tuple(ids) for ids in encode_prompts(self._student.tokenizer, PromptFormat(), list(texts))]

    def names(self, ids: Sequence[int]) -> list[bytes]:
        """As `TextReader.names`."""
        self._require(ids)
        return [token_name(self._student, token) for token in ids]

    def text(self, ids: Sequence[int]) -> str:
        """As `TextReader.text`."""
        self._require(ids)
        return self._student.pieces.text(ids)

    def score(self, texts: Sequence[Ids], top: int) -> list[tuple[TokenScore, ...]]:
        """As `TextReader.score`."""
        self._require([token for ids in texts for token in ids])
        firsts, rest = [ids[:1] for ids in texts], [ids[1:] for ids in texts]
        return [tuple(scores) for scores in score_tokens_of(self._student, firsts, rest, top)]

    def embed(self, texts: Sequence[Ids]) -> Float32:
        """As `TextReader.embed`."""
        self._require([token for ids in texts for token in ids])
        return embed_texts(self._student, texts)

    def encode(self, statements: Sequence[str], chains: Sequence[str]) -> list[ChainLatents]:
        """As `TextReader.encode`."""
        found = extract_latents(self._student, statements, chains)
        whole = [latents for latents in found if latents is not None]
        if len(whole) < len(found):
            raise InvalidInputError(
                f"a chain with its problem is longer than the {self._student.context_length} tokens that "
                f"{self._student.record.llm_tag} reads",
                cure="shorten it",
            )
        return whole

    def chains(self, statements: Sequence[str], texts: Sequence[str]) -> list[SampledChain]:
        """As `TextReader.chains`."""
        return read_chains(self._student, statements, texts)

    def _require(self, ids: Sequence[int]) -> None:
        require_tokens(self._student, ids, self.vocabulary)
