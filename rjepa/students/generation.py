"""Sample chains from a student: many problems together, K chains each, with log-probabilities and latents on the way.

One loop over the model's forward. What a chain reads of its neighbours is nothing: its noise comes from the seed, its
own statement and its own index. Caches live in `rjepa.students.decoding`, what is kept of a chain in
`rjepa.students.sampled`.
"""

import codecs
import math
import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from rjepa.errors import InvalidInputError
from rjepa.progress import Progress, silent
from rjepa.students.decoding import make_decoder
from rjepa.students.loading import Student
from rjepa.students.prompts import encode_prompts, render_prompt
from rjepa.students.sampled import GREEDY, Capture, Recorder, SampledChain, uniform_noise

_DROP_SHARE = 0.75
"""Finished problems leave the batch when those still running are at most this share: each time copies the caches."""


def sample_chains(
    student: Student,
    statements: Sequence[str],
    *,
    num_candidates: int,
    seed: int,
    temperature: float | None = None,
    max_new_tokens: int | None = None,
    greedy: bool = False,
    capture: bool = True,
    progress: Progress = silent,
) -> list[list[SampledChain]]:
    """`num_candidates` chains for each statement; with `greedy`, the most probable token each time and one chain.

    `temperature` and `max_new_tokens` default to the student's record; `max_new_tokens` is clipped to what the context
    holds after the longest prompt of a batch. With `capture`, each chain carries its latents.

    Raises:
        InvalidInputError: a prompt that leaves no room in the context, or no tokens at all.
    """
    samples = [GREEDY] if greedy else list(range(num_candidates))
    return sample_indices(
        student,
        statements,
        samples,
        seed=seed,
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        capture=capture,
        progress=progress,
    )


def sample_indices(
    student: Student,
    statements: Sequence[str],
    samples: Sequence[int],
    *,
    seed: int,
    temperature: float | None = None,
    max_new_tokens: int | None = None,
    capture: bool = True,
    progress: Progress = silent,
) -> list[list[SampledChain]]:
    """The chains with these sample indices for each statement, in order; `GREEDY` is the greedy chain. The prompt is
    read once for all of them. Arguments as in `sample_chains`.
    """
    temperature = student.record.sampling.temperature if temperature is None else temperature
    limit = student.record.sampling.max_new_tokens if max_new_tokens is None else max_new_tokens
    if not samples or temperature <= 0 or limit < 1:
        raise ValueError(f"expected samples, temperature > 0, limit >= 1; got {samples}, {temperature}, {limit}")
    prompts = encode_statements(student, statements)
    order = sorted(range(len(statements)), key=lambda index: len(prompts[index]))
    per_batch = max(1, student.record.sampling.batch_size // len(samples))
    chains: list[list[SampledChain]] = [[] for _ in statements]
    started, tokens, done = time.monotonic(), 0, 0
    # Batches of equal size: 100 problems where 90 fit are better halved than cut into 90 and 10.
    batches = -(-len(order) // per_batch)
    for number in range(batches):
        batch = order[number * len(order) // batches : (number + 1) * len(order) // batches]
        recorder = Recorder(
            student,
            [prompts[index] for index in batch],
            uniform_noise(seed, [statements[index] for index in batch], samples, limit),
            len(samples),
            capture,
        )
        for _ in _decode(student, recorder, temperature, samples):
            pass
        for index, sampled in zip(batch, recorder.chains(), strict=True):
            chains[index] = sampled
            tokens += sum(len(chain.token_ids) for chain in sampled)
        done += len(batch)
        progress(done, len(statements), f"{tokens / (time.monotonic() - started):.0f} tokens/s")
    return chains


def stream_chain(
    student: Student,
    statement: str,
    *,
    seed: int,
    sample_index: int = 0,
    temperature: float | None = None,
    max_new_tokens: int | None = None,
) -> Iterator[str]:
    """One chain, piece of text by piece of text, as it is sampled: the chain that `sample_chains` gives the same index.

    Raises:
        InvalidInputError: as in `sample_chains`.
    """
    temperature = student.record.sampling.temperature if temperature is None else temperature
    limit = student.record.sampling.max_new_tokens if max_new_tokens is None else max_new_tokens
    noise = uniform_noise(seed, [statement], [sample_index], limit)
    recorder = Recorder(student, encode_statements(student, [statement]), noise, 1, capture=False)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for tokens in _decode(student, recorder, temperature, [sample_index]):
        piece = b"" if tokens[0] in student.eos_ids else student.pieces.pieces[tokens[0]]
        if text := decoder.decode(piece):
            yield text
    if text := decoder.decode(b"", final=True):
        yield text


def count_prompt(student: Student, statement: str) -> int:
    """Tokens of a statement's prompt, also where they are too many."""
    return len(_encode(student, [statement])[0])


def encode_statements(student: Student, statements: Sequence[str]) -> list[list[int]]:
    """Token ids of the prompts of these statements.

    Raises:
        InvalidInputError: a prompt that leaves no room in the context, or no tokens at all.
    """
    prompts = _encode(student, statements)
    for statement, prompt in zip(statements, prompts, strict=True):
        if not prompt or len(prompt) >= student.context_length:
            raise InvalidInputError(
                f"the prompt of {statement[:60]!r} has {len(prompt)} tokens; {student.record.llm_tag} takes 1 to "
                f"{student.context_length - 1}",
                cure="shorten the problem's statement, or choose a student with a longer context",
            )
    return prompts


def _encode(student: Student, statements: Sequence[str]) -> list[list[int]]:
    prompt_format = student.record.prompt
    texts = [render_prompt(student.tokenizer, prompt_format, statement) for statement in statements]
    return encode_prompts(student.tokenizer, prompt_format, texts)


@torch.inference_mode()
def _decode(student: Student, recorder: Recorder, temperature: float, samples: Sequence[int]) -> Iterator[list[int]]:
    """Run one batch to its end, telling the recorder of every step; yields each step's tokens, a row each."""
    columns = len(samples)
    greedy = torch.tensor([index == GREEDY for index in samples], device=student.device)
    decoder = make_decoder(student.model, columns, student.shares_prefix)
    with Capture(student.captured if recorder.captures else None) as capture:
        logits = decoder.prefill(recorder.input_ids, recorder.mask).repeat_interleave(columns, dim=0)
        if capture.state is not None:
            recorder.record_prompts(capture.state)
        while True:
            tokens, log_probabilities, certainty = _choose(
                logits, recorder.noise_now(), greedy.repeat(len(recorder.problems)), temperature
            )
            chosen = tokens.tolist()
            recorder.record_tokens(chosen, tokens, log_probabilities, certainty)
            yield chosen
            over = recorder.is_over()
            if over and not recorder.awaits_states():
                return
            kept = recorder.drop_finished(_DROP_SHARE)
            if kept is not None:
                tokens = tokens.view(-1, columns)[kept].flatten()
                decoder.keep(kept)
            logits = decoder.step(tokens)
            if capture.state is not None:
                recorder.record_states(capture.state[:, -1])
            if over:
                return


def _choose(logits: Tensor, noise: Tensor, greedy: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Draw one token a row by inverting the cumulative distribution at the row's noise.

    logits [R, V], noise float32 [R] in [0, 1), greedy bool [R]. Returns tokens int64 [R], their log-probabilities at
    temperature 1, and KL(uniform || model) in nats, both float32 [R].
    """
    logits = logits.float()
    cumulative = (logits / temperature).softmax(dim=-1).cumsum(dim=-1)
    drawn = torch.searchsorted(cumulative, (noise * cumulative[:, -1])[:, None], right=True).squeeze(1)
    tokens = torch.where(greedy, logits.argmax(dim=-1), drawn.clamp_(max=logits.shape[-1] - 1))
    normaliser = logits.logsumexp(dim=-1)
    log_probabilities = logits.gather(1, tokens[:, None]).squeeze(1) - normaliser
    certainty = normaliser - logits.mean(dim=-1) - math.log(logits.shape[-1])
    return tokens, log_probabilities, certainty
