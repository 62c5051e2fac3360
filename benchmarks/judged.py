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
            judged.append(gold.model_copy(update={"is_valid": True}))
            for number in range(CHAINS_A_PROBLEM - 1):
                wrong = corrupt(problem, gold, random.Random(number))
                verdict = {"is_valid": False, "first_error_step": wrong.meta["corrupted_step"]}
                judged.append(wrong.model_copy(update={**verdict, "cot_id": f"{wrong.cot_id}-{number}"}))
    write_records(home.dataset(dataset) / "problems.parquet", Problem, problems)
    write_records(home.dataset(dataset) / "validated_chains.parquet", ChainOfThought, judged[:chains])
