"""Chains that somebody else wrote, read as if the student had written them: with latents and log-probabilities.

Where the architecture allows it, both come out of one forward, which reads what several chains begin with, such as a
problem's prompt, only once (`rjepa.students.packing`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from rjepa.chains import parse_chain
from rjepa.errors import InvalidInputError
from rjepa.students.extraction import (
    ChainLatents,
    EncodedText,
    encode_chains,
    extract_latents,
    most_tokens,
    packed_batches,
    pool_batch,
)
from rjepa.students.loading import Student
from rjepa.students.packing import Packed, pack
from rjepa.students.prompting import encode_statements
from rjepa.students.rescoring import LOGITS_A_BATCH, Score, score_chains, score_logits
from rjepa.students.sampled import SampledChain
from rjepa.students.tap import LayerTap


@dataclass(frozen=True)
class ReadText:
    """A chain that was read: the token ids of its text, their score by the student, and its latents."""

    ids: list[int]
    score: Score
    latents: ChainLatents


def read_texts(student: Student, statements: Sequence[str], texts: Sequence[str]) -> list[ReadText]:
    """Read each text, which is not empty, after its statement's prompt. Both together have to fit the context."""
    encoded = encode_chains(student, statements, texts)
    if not student.shares_prefix:
        prompts = [text.ids[: int(text.boundaries[1])] for text in encoded]
        chains = [text.ids[len(prompt) :] for text, prompt in zip(encoded, prompts, strict=True)]
        latents = extract_latents(student, statements, texts)
        found = zip(chains, score_chains(student, prompts, chains), latents, strict=True)
        return [ReadText(ids, score, one) for ids, score, one in found if one is not None]
    read: dict[int, ReadText] = {}
    budget = min(most_tokens(student), max(1, LOGITS_A_BATCH // len(student.pieces.pieces)))
    for batch in packed_batches(encoded, budget):
        read |= _read_packed(student, batch)
    return [read[index] for index in range(len(texts))]


@torch.inference_mode()
def _read_packed(student: Student, batch: list[EncodedText]) -> dict[int, ReadText]:
    """Latents and scores of one packed forward, by the index of the text."""
    packed = pack([text.ids for text in batch], student.device)
    prompts = [int(text.boundaries[1]) for text in batch]
    # Logits are needed only where a chain's token follows; chains that begin alike share such places.
    before = [path[prompt - 1 : -1] for path, prompt in zip(packed.paths, prompts, strict=True)]
    places, rows = np.unique(np.concatenate(before), return_inverse=True)
    with LayerTap(student.captured, keep=True) as tap:
        logits = _logits(student, packed, torch.from_numpy(places).to(student.device))
    assert tap.state is not None  # the tap keeps it
    states = tap.state[0][torch.from_numpy(np.concatenate(packed.paths)).to(student.device)]
    found, taken = {}, 0
    for text, prompt, latents in zip(batch, prompts, pool_batch(student, states, batch), strict=True):
        ids = list(text.ids[prompt:])
        own = torch.from_numpy(rows[taken : taken + len(ids)]).to(student.device)
        taken += len(ids)
        found[text.index] = ReadText(ids, score_logits(logits[own].float(), ids), latents)
    return found


def _logits(student: Student, packed: Packed, places: torch.Tensor) -> torch.Tensor:
    """[places, vocabulary]: the logits at these places of the packed tokens."""
    output = student.model(
        input_ids=packed.input_ids,
        position_ids=packed.positions,
        # A mask of four dimensions is handed on as it is: what a token sees is decided by the packing.
        attention_mask=packed.input_ids.new_ones(1, 1, 1, 1, dtype=torch.bool),
        packed=packed,
        use_cache=False,
        logits_to_keep=places,
    )
    logits: torch.Tensor = output.logits[0]
    return logits


def read_chains(student: Student, statements: Sequence[str], texts: Sequence[str]) -> list[SampledChain]:
    """A chain of each text, after the prompt of its statement. One with an answer counts as finished.

    Raises:
        InvalidInputError: a text without words, or one that does not fit the context with its problem.
    """
    for text in texts:
        if not text.strip():
            raise InvalidInputError("a chain is empty", cure="send its text, or a step at least")
    prompts = encode_statements(student, statements)
    ids = student.tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []
    for prompt, row in zip(prompts, ids, strict=True):
        if len(prompt) + len(row) > student.context_length:
            raise InvalidInputError(
                f"the problem and a chain have {len(prompt)} and {len(row)} tokens, {student.record.llm_tag} reads "
                f"{student.context_length}",
                cure="shorten the chain",
            )
    chains, segmentation = [], student.record.segmentation
    for text, found in zip(texts, read_texts(student, statements, texts) if texts else [], strict=True):
        score, latents = found.score, found.latents
        chains.append(
            SampledChain(
                text=text,
                token_ids=found.ids,
                token_logprobs=score.logprobs,
                self_certainty=score.self_certainty,
                finished=parse_chain(text, segmentation).final_answer is not None,
                latents=latents.latents,
                sentences=latents.sentences,
                segmentation=segmentation,
            )
        )
    return chains


def with_latents(student: Student, statements: Sequence[str], chains: Sequence[SampledChain]) -> list[SampledChain]:
    """Chains that a server wrote, with latents, and with the student's own log-probabilities where they have none. Each
    fits the context. Where a server's tokens are not those that the student's tokenizer makes of the text, the server's
    are scored, in a forward of their own.
    """
    read = read_texts(student, statements, [chain.text for chain in chains])
    other = [place for place, (chain, one) in enumerate(zip(chains, read, strict=True)) if chain.token_ids != one.ids]
    prompts = encode_statements(student, [statements[place] for place in other])
    again = score_chains(student, prompts, [chains[place].token_ids for place in other]) if other else []
    scores = {place: one.score for place, one in enumerate(read)} | dict(zip(other, again, strict=True))
    return [
        replace(
            chain,
            token_logprobs=chain.token_logprobs or scores[place].logprobs,
            self_certainty=scores[place].self_certainty,
            latents=one.latents.latents,
            sentences=one.latents.sentences,
        )
        for place, (chain, one) in enumerate(zip(chains, read, strict=True))
    ]
