"""A small dataset of sums in `$RJEPA_HOME`, and a student that has learnt to answer them in steps."""

from pathlib import Path

import pytest

from rjepa.home import Home
from rjepa.schemas import ChainOfThought, Problem
from rjepa.students.loading import Student
from rjepa.tables import write_records
from tests.students.tiny import open_tiny, taught_folder, taught_pairs

DATASET = "sums"
SPLITS = ("train", "train", "validation", "test")


def sums() -> tuple[list[Problem], list[ChainOfThought]]:
    """48 problems, half of domain math and half of code; each with a right chain, every third with a wrong one too."""
    problems, chains = [], []
    for number, (statement, step, answer) in enumerate(taught_pairs()[:48]):
        name = f"sum-{number:03d}"
        problems.append(
            Problem(
                problem_id=name,
                domain="math" if number % 2 else "code",
                source="test",
                statement=statement,
                answer_gold=answer,
                split=SPLITS[number % 4],
            )
        )
        right = ChainOfThought(
            cot_id=f"{name}-gold",
            problem_id=name,
            steps=[step, f"so {answer}"],
            final_answer=answer,
            is_valid=True,
            validation_reason="ok",
        )
        chains.append(right)
        if number % 3 == 0:
            wrong = {"cot_id": f"{name}-wrong", "is_valid": False, "first_error_step": 1, "steps": [step, "so 99"]}
            chains.append(right.model_copy(update=wrong))
    return problems, chains


def write_sums(home: Home) -> None:
    """The dataset in a home, as its stages leave it."""
    problems, chains = sums()
    write_records(home.dataset(DATASET) / "problems.parquet", Problem, problems)
    write_records(home.dataset(DATASET) / "validated_chains.parquet", ChainOfThought, chains)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    write_sums(home)
    return home


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Student:
    return open_tiny(Home(tmp_path_factory.mktemp("home")), taught_folder(tmp_path_factory.getbasetemp()))
