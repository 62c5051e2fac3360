"""A dataset of judged curriculum chains on disk, of any number: what extraction is measured on."""

import random

from rjepa.home import Home
from rjepa.problems.curriculum import corrupt, generate_problems
from rjepa.problems.curriculum.generate import CURRICULUM_DOMAINS
from rjepa.schemas import ChainOfThought, Problem
from rjepa.tables import write_records

CHAINS_A_PROBLEM = 8


def write_dataset(home: Home, dataset: str, chains: int) -> None:
    """So many chains, eight a problem: the gold one and seven corrupted ones, which begin as it does."""
    problems: list[Problem] = []
    judged: list[ChainOfThought] = []
    of_each = -(-chains // (CHAINS_A_PROBLEM * len(CURRICULUM_DOMAINS)))
    for domain in CURRICULUM_DOMAINS:
        for problem, gold in generate_problems("train", of_each, 0, domain):
            problems.append(problem.model_copy(update={"split": "train"}))
            wrong = [corrupt(problem, gold, random.Random(seed)) for seed in range(CHAINS_A_PROBLEM - 1)]
            judged += [gold, *(bad.model_copy(update={"cot_id": f"{bad.cot_id}-{n}"}) for n, bad in enumerate(wrong))]
    write_records(home.dataset(dataset) / "problems.parquet", Problem, problems)
    write_records(home.dataset(dataset) / "validated_chains.parquet", ChainOfThought, judged[:chains])
