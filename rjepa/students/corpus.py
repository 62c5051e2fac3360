"""The texts a bundled student learns from: an endless, seeded stream of problems with their gold chains.

The batch of an update depends on the seed and the update's number alone, so that a resumed run reads what an
uninterrupted one would have read.
"""

import itertools
import multiprocessing
import random
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from rjepa.arrays import Int64
from rjepa.chains import render_chain
from rjepa.problems import gsm_symbolic
from rjepa.problems.curriculum.generate import CURRICULUM_DOMAINS, DIFFICULTIES, sample_problem
from rjepa.students.recipe import StudentRecipe

IGNORED = -100
_GSM_POOL = 40_000
_GROUP = 8
"""Updates whose chains are sorted by length together, so that a batch holds chains of about one length."""

_WIDTH_STEP = 32
"""Batches are padded to multiples of this: few tensor sizes, so that the allocator finds its old blocks again."""


@dataclass(frozen=True)
class Text:
    """A prompt and the chain that follows it."""

    prompt: str
    chain: str


class Corpus:
    """Texts and batches of one recipe."""

    def __init__(self, recipe: StudentRecipe) -> None:
        self.recipe = recipe
        self._gsm: list[Text] = []

    def texts(self, count: int, key: str) -> list[Text]:
        """`count` training texts; the same for the same key."""
        rng = random.Random(f"{self.recipe.seed}/{key}")
        sources = sorted(self.recipe.mixture)
        drawn = rng.choices(sources, [self.recipe.mixture[source] for source in sources], k=count)
        return [self._one(rng, source) for source in drawn]

    def batches(self, tokenizer: PreTrainedTokenizerBase, group: int) -> list[dict[str, torch.Tensor]]:
        """The batches of updates `group * 8 ... group * 8 + 7`, each of int64 tensors `[batch, tokens]`."""
        texts = self.texts(self.recipe.batch_size * _GROUP, f"batch/{group}")
        rows = []
        for text in texts:
            prompt = tokenizer(text.prompt, add_special_tokens=False)["input_ids"]
            chain = [*tokenizer(text.chain, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
            if len(prompt) + len(chain) <= self.recipe.max_tokens:
                rows.append((prompt, chain))
        rows.sort(key=lambda row: len(row[0]) + len(row[1]))
        size = -(-len(rows) // _GROUP)
        batches = [collate(rows[start : start + size], tokenizer.pad_token_id) for start in range(0, len(rows), size)]
        random.Random(f"{self.recipe.seed}/order/{group}").shuffle(batches)
        return batches

    def _one(self, rng: random.Random, source: str) -> Text:
        if source in CURRICULUM_DOMAINS:
            while True:
                difficulty = rng.choices(DIFFICULTIES, self.recipe.weights_of(source))[0]
                problem, chain = sample_problem(rng, source, difficulty)
                if problem.split == "train":
                    return Text(f"{problem.statement}\n", render_chain(chain.steps, chain.final_answer))
        if source == gsm_symbolic.SOURCE:
            return rng.choice(self._gsm_texts())
        raise ValueError(f"unknown text source {source!r} in recipe {self.recipe.name}")

    def _gsm_texts(self) -> list[Text]:
        if not self._gsm:
            rows = gsm_symbolic.training_texts(_GSM_POOL, seed=self.recipe.seed)
            self._gsm = [Text(f"{statement}\n", render_chain(steps, answer)) for statement, steps, answer in rows]
        return self._gsm


_worker: tuple[Corpus, PreTrainedTokenizerBase] | None = None
"""What a process of `batches_from` works with: set once, when it starts."""


def batches_from(
    recipe: StudentRecipe, tokenizer: PreTrainedTokenizerBase, update: int, workers: int = 0
) -> Generator[dict[str, torch.Tensor], None, None]:
    """The batches of `update` and all after it, without end: the same whatever the number of processes that write
    them. With 0 `workers` this process does, each group when it is asked for. Closing the iterator ends the others.
    """
    first, skip = divmod(update, _GROUP)
    if workers:
        groups = _written_ahead(recipe, tokenizer, first, workers)
    else:
        corpus = Corpus(recipe)
        groups = (corpus.batches(tokenizer, group) for group in itertools.count(first))
    yield from itertools.islice(itertools.chain.from_iterable(groups), skip, None)


def _written_ahead(
    recipe: StudentRecipe, tokenizer: PreTrainedTokenizerBase, first: int, workers: int
) -> Iterator[list[dict[str, torch.Tensor]]]:
    # Not forked: the caller may hold a GPU and threads, which a fork would break.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(recipe, tokenizer))
    try:
        ahead: deque[Future[list[dict[str, Int64]]]] = deque()
        for group in itertools.count(first):
            ahead.append(pool.submit(_batches_of, group))
            if len(ahead) > 2 * workers:
                yield [{name: torch.from_numpy(part) for name, part in one.items()} for one in ahead.popleft().result()]
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(recipe: StudentRecipe, tokenizer: PreTrainedTokenizerBase) -> None:
    global _worker
    torch.set_num_threads(1)
    _worker = (Corpus(recipe), tokenizer)


def _batches_of(group: int) -> list[dict[str, Int64]]:
    """As arrays: torch would hand a tensor over as an open file, and there may be many."""
    assert _worker is not None
    corpus, tokenizer = _worker
    return [{name: part.numpy() for name, part in batch.items()} for batch in corpus.batches(tokenizer, group)]


def collate(rows: Sequence[tuple[list[int], list[int]]], pad: int) -> dict[str, torch.Tensor]:
    """Prompts and chains as one batch, int64 `[rows, tokens]`, padded at the end; labels are of the chains alone."""
    longest = max(len(prompt) + len(chain) for prompt, chain in rows)
    width = -(-longest // _WIDTH_STEP) * _WIDTH_STEP
    ids = torch.full((len(rows), width), pad)
    labels = torch.full((len(rows), width), IGNORED)
    for row, (prompt, chain) in enumerate(rows):
        end = len(prompt) + len(chain)
        ids[row, :end] = torch.tensor(prompt + chain)
        labels[row, len(prompt) : end] = torch.tensor(chain)
    return {"input_ids": ids, "labels": labels}
