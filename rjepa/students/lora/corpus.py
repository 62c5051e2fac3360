"""What a LoRA learns from: the right chains of a dataset version, as tokens, new ones and old ones apart.

The batch of an update follows from the seed and the update's number alone, so that a run that goes on reads what an
uninterrupted one would have read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rjepa.chains import render_chain
from rjepa.datasets.reading import load_chains, load_problems
from rjepa.errors import InvalidInputError
from rjepa.home import Home
from rjepa.schemas import ChainOfThought, Problem, Split
from rjepa.students.corpus import collate
from rjepa.students.loading import Student
from rjepa.students.lora.recipe import LoraRecipe, replay_dataset
from rjepa.students.prompts import encode_prompts, render_prompt

_NEW, _OLD, _VALIDATION, _FISHER = range(4)
"""What a key of random numbers is for."""

Batch = dict[str, torch.Tensor]
"""input_ids and labels, int64 [chains, tokens]; labels of prompts and padding are `IGNORED`."""

TokenChain = tuple[list[int], list[int]]
"""Tokens of a prompt, and of the chain with the token that ends it."""


@dataclass(frozen=True)
class LoraCorpus:
    """Right chains as tokens. `left_out`: chains that were longer than the recipe takes; `new_domains`: of
    the new ones.
    """

    new: Sequence[TokenChain]
    old: Sequence[TokenChain]
    new_validation: Sequence[TokenChain]
    old_validation: Sequence[TokenChain]
    left_out: int
    pad_id: int
    new_domains: tuple[str, ...]

    def batches(self, recipe: LoraRecipe, update: int) -> list[Batch]:
        """The chains of an update, counted from 0, in batches that are passed one after the other: new chains and
        replayed ones. Each kind comes once an epoch, in an order of its own.
        """
        size = recipe.optim.batch_size
        replayed = round(recipe.replay.share * size) if self.old else 0
        rows = [
            chains[index]
            for kind, chains, count in ((_NEW, self.new, size - replayed), (_OLD, self.old, replayed))
            for index in _places(len(chains), count, update, (recipe.seed, kind))
        ]
        return self._by_length(rows, recipe)

    def validation_batches(self, recipe: LoraRecipe, *, old: bool) -> list[Batch]:
        """The chains that a validation loss is measured on, the same ones each time."""
        chains = self.old_validation if old else self.new_validation
        return self._by_length(_some(chains, recipe.validation_chains, (recipe.seed, _VALIDATION)), recipe)

    def fisher_batches(self, recipe: LoraRecipe) -> Iterator[Batch]:
        """Single old chains, for the Fisher information."""
        for chain in _some(self.old, recipe.ewc.chains, (recipe.seed, _FISHER)):
            yield collate([chain], self.pad_id)

    def _by_length(self, rows: Sequence[TokenChain], recipe: LoraRecipe) -> list[Batch]:
        """Chains of about one length together: what is padded is computed, too."""
        rows, size = sorted(rows, key=lambda row: len(row[0]) + len(row[1])), recipe.optim.micro_batch
        return [collate(rows[start : start + size], self.pad_id) for start in range(0, len(rows), size)]


def read_corpus(home: Home, student: Student, dataset: str, recipe: LoraRecipe) -> LoraCorpus:
    """The right chains of a dataset version's train and validation problems. Those that the replayed version has too
    are old, all others new. Test problems are not read.

    Raises:
        NotFoundError: a dataset is not there, or not made yet.
        InvalidInputError: nothing is new, or replay or EWC is asked for and nothing is old.
    """
    before = replay_dataset(home, dataset, recipe)
    old_problems, old_chains = _read(home, before) if before is not None else ({}, [])
    problems, chains = _read(home, dataset)
    known = {chain.cot_id for chain in old_chains}
    new_chains = [chain for chain in chains if chain.cot_id not in known]
    if not new_chains:
        raise InvalidInputError(
            f"{dataset} has no right chain that {before} does not have",
            cure="choose a version that has grown since (rjepa data create), or another replay.dataset",
        )
    if not old_chains and recipe.ewc.weight:
        raise InvalidInputError(
            f"{dataset} has no parent, and EWC needs old chains",
            cure="name the dataset version that the student could solve before in replay.dataset of the recipe",
        )
    limit = min(recipe.optim.max_tokens, student.context_length)
    parts = [
        _tokens(student, [chain for chain in held if held_problems[chain.problem_id].split == split], held_problems)
        for held, held_problems in ((new_chains, problems), (old_chains, old_problems))
        for split in ("train", "validation")
    ]
    fitting = [[row for row in part if len(row[0]) + len(row[1]) <= limit] for part in parts]
    if not all(fitting if old_chains else fitting[:2]):
        counts = [len(part) for part in fitting]
        raise InvalidInputError(
            f"{dataset} has too few chains of at most {limit} tokens: {counts[0]} new ones to train on, {counts[1]} to "
            f"validate with; {counts[2]} and {counts[3]} old ones",
            cure="raise optim.max_tokens of the recipe, or choose a version with chains of both splits",
        )
    left_out = sum(map(len, parts)) - sum(map(len, fitting))
    domains = sorted({problems[chain.problem_id].domain for chain in new_chains})
    return LoraCorpus(fitting[0], fitting[2], fitting[1], fitting[3], left_out, student.pad_id, tuple(domains))


def _read(home: Home, dataset: str) -> tuple[dict[str, Problem], list[ChainOfThought]]:
    wanted: tuple[Split, ...] = ("train", "validation")
    problems = {one.problem_id: one for one in load_problems(home, dataset) if one.split in wanted}
    return problems, [one for one in load_chains(home, dataset, only_valid=True) if one.problem_id in problems]


def _tokens(student: Student, chains: Sequence[ChainOfThought], problems: dict[str, Problem]) -> list[TokenChain]:
    tokenizer, prompt_format = student.tokenizer, student.record.prompt
    texts = [render_prompt(tokenizer, prompt_format, problems[chain.problem_id].statement) for chain in chains]
    prompts = encode_prompts(tokenizer, prompt_format, texts)
    end = _end_id(student)
    rendered = [render_chain(chain.steps, chain.final_answer) for chain in chains]
    answers = tokenizer(rendered, add_special_tokens=False)["input_ids"] if rendered else []
    return [(list(prompt), [*answer, end]) for prompt, answer in zip(prompts, answers, strict=True)]


def _end_id(student: Student) -> int:
    """The token that a chain is taught to end with: what the tokenizer ends texts with, if the student stops there."""
    own = student.tokenizer.eos_token_id
    return own if own in student.eos_ids else min(student.eos_ids)


def _places(total: int, count: int, update: int, key: tuple[int, int]) -> list[int]:
    """Which `count` of `total` chains an update sees: places of an endless row of shuffled epochs."""
    if not count:
        return []
    first, last = update * count, update * count + count - 1
    epochs = range(first // total, last // total + 1)
    row = np.concatenate([np.random.default_rng((*key, epoch)).permutation(total) for epoch in epochs])
    start = first - epochs.start * total
    return [int(place) for place in row[start : start + count]]


def _some(chains: Sequence[TokenChain], count: int, key: tuple[int, int]) -> list[TokenChain]:
    chosen = np.sort(np.random.default_rng(key).permutation(len(chains))[:count])
    return [chains[index] for index in chosen]
