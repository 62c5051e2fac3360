"""Which tokens belong to which segment of a chain: the prompt, each step, the answer line.

Two roads lead here. Text that is encoded now has offset mappings. Text that was generated has only its token ids, and
encoding it again may split it differently, so each id is turned into the bytes it stands for and boundaries are found
in those. Where segments begin in text is decided in `rjepa.chains`.
"""

import functools
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from rjepa.arrays import Bools, Int64
from rjepa.chains import Segmentation, segment_spans, sentence_spans
from rjepa.errors import InvalidInputError


@dataclass(frozen=True)
class TokenMarks:
    """What `rjepa.students.pooling` asks of tokens, each bool [tokens]."""

    content: Bools
    """it holds a letter or digit, or a fragment of a character"""
    digit: Bools
    point: Bools
    """it is a decimal point or a comma, and nothing else"""

    def __getitem__(self, ids: Sequence[int] | Int64) -> "TokenMarks":
        """The marks of a text's tokens, from those of a vocabulary."""
        return TokenMarks(self.content[ids], self.digit[ids], self.point[ids])


@dataclass(frozen=True)
class TokenPieces:
    """What every token id of a vocabulary stands for.

    pieces: the bytes of each id; empty for special tokens, which are no text.
    lengths: int64 [vocabulary], their number.
    marks: of the whole vocabulary.
    has_newline: bool [vocabulary].
    """

    pieces: tuple[bytes, ...]
    lengths: Int64
    marks: TokenMarks
    has_newline: Bools

    def join(self, ids: Sequence[int]) -> bytes:
        """The bytes a sequence of ids stands for."""
        return b"".join([self.pieces[token] for token in ids])

    def text(self, ids: Sequence[int]) -> str:
        """The text of a sequence of ids; an incomplete character becomes U+FFFD."""
        return self.join(ids).decode("utf-8", "replace")


def token_pieces(tokenizer: PreTrainedTokenizerBase, vocabulary: int = 0) -> TokenPieces:
    """Read the table off a tokenizer, for ids up to at least `vocabulary` (a model's head may be wider).

    Raises:
        InvalidInputError: the tokenizer is neither byte-level nor SentencePiece-like.
    """
    decode = _piece_decoder(tokenizer)
    added = {index: token for index, token in tokenizer.added_tokens_decoder.items()}
    pieces = []
    for index, token in enumerate(tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))):
        if index in added:
            pieces.append(b"" if added[index].special else added[index].content.encode())
        else:
            pieces.append(b"" if token is None else decode(token))
    pieces += [b""] * (vocabulary - len(pieces))
    return TokenPieces(
        pieces=tuple(pieces),
        lengths=np.array([len(piece) for piece in pieces], dtype=np.int64),
        marks=TokenMarks(
            content=np.array([_has_content(piece) for piece in pieces], dtype=bool),
            digit=np.array([any(48 <= byte < 58 for byte in piece) for piece in pieces], dtype=bool),
            point=np.array([piece in (b".", b",") for piece in pieces], dtype=bool),
        ),
        has_newline=np.array([b"\n" in piece for piece in pieces], dtype=bool),
    )


def segment_tokens(
    tokenizer: PreTrainedTokenizerBase, prompt_ids: list[int], chain_text: str, segmentation: Segmentation = "guided"
) -> tuple[list[int], Int64]:
    """Encode a chain after its prompt.

    Returns the token ids of prompt and chain and int64 [segments + 1]: the first token of each segment, prompt first,
    then the number of tokens. Text after the answer line is left out.
    """
    return segment_many(tokenizer, [prompt_ids], [chain_text], segmentation)[0]


def segment_many(
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    chains: list[str],
    segmentation: Segmentation = "guided",
) -> list[tuple[list[int], Int64]]:
    """`segment_tokens` for many chains in one call to the tokenizer."""
    if not chains:
        return []
    if not tokenizer.is_fast:
        raise InvalidInputError(
            f"the tokenizer of {tokenizer.name_or_path} has no offset mappings",
            cure="use a model folder with a tokenizer.json (save the tokenizer again with a current transformers)",
        )
    spans = [segment_spans(chain, segmentation) for chain in chains]
    texts = [chain[: span[-1][1]] if span else "" for chain, span in zip(chains, spans, strict=True)]
    encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
    results = []
    rows = zip(prompts, texts, spans, encoded["input_ids"], encoded["offset_mapping"], strict=True)
    for prompt, text, span, ids, offsets in rows:
        boundaries = _boundaries(_token_starts(text, offsets), [start for start, _ in span])
        results.append((prompt + list(ids), np.concatenate([[0], boundaries + len(prompt)])))
    return results


def segment_ids(
    pieces: TokenPieces, ids: Sequence[int], segmentation: Segmentation = "guided", size: int | None = None
) -> Int64:
    """Boundaries of a generated chain's own token ids: int64 [segments + 1], counted from its first token.

    Tokens after the answer line belong to it; a chain without text has no segments. `size` is where its text ends, in
    bytes, where that is before its last token does.
    """
    return _bounds_in_ids(pieces, ids, functools.partial(segment_spans, segmentation=segmentation), size)


def sentence_ids(pieces: TokenPieces, ids: Sequence[int]) -> Int64:
    """Boundaries of the sentences of a prompt's token ids: int64 [sentences + 1], counted from its first token.

    Special tokens belong to the sentence that begins after them. A prompt without text is one sentence.
    """
    bounds = np.unique(_bounds_in_ids(pieces, ids, sentence_spans))
    return bounds if len(bounds) > 1 else np.array([0, len(ids)], dtype=np.int64)


def _bounds_in_ids(
    pieces: TokenPieces, ids: Sequence[int], spans: Callable[[str], list[tuple[int, int]]], size: int | None = None
) -> Int64:
    raw = pieces.join(ids)[:size]
    text = raw.decode("utf-8", "surrogateescape")
    firsts = [start for start, _ in spans(text)]
    if not firsts:
        return np.zeros(1, dtype=np.int64)
    if len(text) != len(raw):  # characters of several bytes: move the segments' starts from characters to bytes
        widths = [len(character.encode("utf-8", "surrogateescape")) for character in text]
        at = [0, *itertools.accumulate(widths)]
        firsts = [at[first] for first in firsts]
    lengths = pieces.lengths[np.asarray(ids, dtype=np.int64)]
    return _boundaries(np.cumsum(lengths) - lengths, firsts)


def _token_starts(text: str, offsets: list[tuple[int, int]]) -> Int64:
    """Character that each token begins in or at. SentencePiece's unigram gives all bytes of a run of characters that it
    does not know the offsets of the whole run: there, each byte gets its own character.
    """
    starts = np.array([start for start, _ in offsets], dtype=np.int64)
    first = 0
    for (start, end), group in itertools.groupby(offsets):
        count = sum(1 for _ in group)
        if count > 1 and end - start > 1:
            owners = [start + place for place, char in enumerate(text[start:end]) for _ in char.encode()]
            if len(owners) == count:
                starts[first : first + count] = owners
        first += count
    return starts


def _boundaries(token_starts: Int64, segment_starts: list[int]) -> Int64:
    """First token of each segment, then the number of tokens. A token belongs to the segment it starts in; a segment
    inside a single token is empty.
    """
    ordered = np.maximum.accumulate(token_starts) if len(token_starts) else token_starts
    found = np.searchsorted(ordered, np.asarray(segment_starts, dtype=np.int64), side="left")
    if len(found):
        found[0] = 0
        found[1:] = np.maximum(found[1:], min(1, len(token_starts)))  # the first segment has the first token
    return np.concatenate([found, [len(token_starts)]]).astype(np.int64)


def _has_content(piece: bytes) -> bool:
    try:
        return any(character.isalnum() for character in piece.decode("utf-8"))
    except UnicodeDecodeError:
        return True


def _piece_decoder(tokenizer: PreTrainedTokenizerBase) -> Callable[[str], bytes]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    decoder = json.loads(backend.to_str()).get("decoder") if backend is not None else None
    kinds = _kinds(decoder)
    if "ByteLevel" in kinds:
        return _byte_level
    if kinds & {"Metaspace", "ByteFallback", "Replace"}:
        return _sentencepiece
    found = ", ".join(sorted(kinds)) or "none"
    raise InvalidInputError(
        f"the tokenizer of {tokenizer.name_or_path} is of an unknown kind (decoder: {found})",
        cure="use a causal language model with a byte-level BPE or SentencePiece tokenizer.json",
    )


def _kinds(decoder: dict[str, Any] | None) -> set[str]:
    if decoder is None:
        return set()
    inner = (_kinds(part) for part in decoder.get("decoders", []))
    return {decoder["type"]}.union(*inner)


def _byte_level(token: str) -> bytes:
    table = _byte_of_character()
    return b"".join(bytes([table[c]]) if c in table else c.encode() for c in token)


def _sentencepiece(token: str) -> bytes:
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        return bytes([int(token[3:5], 16)])
    return token.replace("\u2581", " ").encode()


@functools.cache
def _byte_of_character() -> dict[str, int]:
    """The printable stand-ins that byte-level BPE uses (GPT-2): each byte that is no visible Latin-1 character is
    moved past 255.
    """
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(byte): byte for byte in visible}
    hidden = [byte for byte in range(256) if byte not in set(visible)]
    return table | {chr(256 + index): byte for index, byte in enumerate(hidden)}
