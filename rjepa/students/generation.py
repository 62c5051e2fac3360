"""Chains of many statements, K each, and one chain as it is written: plain sampling over a decoding session.

Rows that are forked, edited or cut at steps want the session itself: `rjepa.students.session`.
"""

import time
from collections.abc import Iterator, Sequence

from rjepa.progress import Progress, silent
from rjepa.students.loading import Student
from rjepa.students.prompting import encode_statements
from rjepa.students.sampled import GREEDY, ChainEnd, Pass, RowRequest, SampledChain, Token
from rjepa.students.session import Session


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

    `progress` counts whole statements and is called between any two tokens: what it raises ends the sampling there.
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
        longest = max(len(prompts[index]) for index in batch)
        requests = [
            RowRequest(
                statement=statements[index],
                seed=seed,
                sample_index=sample,
                temperature=temperature,
                max_new_tokens=min(limit, student.context_length - longest),
                prompt_ids=tuple(prompts[index]),
            )
            for index in batch
            for sample in samples
        ]
        with Session(student, capture=capture) as session:
            rows = session.add(requests)
            for event in session.run(tokens=False, steps=False):
                if isinstance(event, Pass):
                    tokens += event.generated
                    progress(done, len(statements), f"{tokens / (time.monotonic() - started):.0f} tokens/s")
            found = iter(session.chains(rows))
        for index in batch:
            chains[index] = [next(found) for _ in samples]
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
    with Session(student, capture=False) as session:
        (row,) = session.add([RowRequest(statement, seed, sample_index, temperature, max_new_tokens)])
        for event in session.run(steps=False):
            if isinstance(event, Token | ChainEnd) and event.text:
                yield event.text
