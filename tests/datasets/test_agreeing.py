"""Problems without a gold answer: their teachers' chains are judged by what most of them say."""

from datetime import UTC, datetime
from pathlib import Path

from rjepa.datasets.building import validate_chains
from rjepa.datasets.recipe import DatasetRecipe, Teaching
from rjepa.datasets.stages import PROBLEMS, TEACHER_CHAINS, store
from rjepa.home import Home
from rjepa.schemas import ChainOfThought, Problem
from rjepa.tables import read_records

RECIPE = DatasetRecipe(
    name="asked",
    source="imported",
    content_sha256="0" * 64,
    created=datetime(2026, 1, 1, tzinfo=UTC),
    teaching=Teaching(teachers=["ada"], chains_per_problem=3, agreement=0.6),
)


def problem(name: str, gold: str | None = None) -> Problem:
    return Problem(
        problem_id=name,
        domain="math",
        source="mine",
        statement=f"{name}?",
        answer_gold=gold,
        split="train",
        licence="MIT",
    )


def chain(of: str, number: int, answer: str | None) -> ChainOfThought:
    return ChainOfThought(cot_id=f"{of}-{number}", problem_id=of, steps=["so it is"], final_answer=answer)


def verdicts(home: Home, answers: dict[str, list[str | None]], gold: dict[str, str]) -> dict[str, list[str]]:
    store(home, RECIPE, PROBLEMS, [problem(name, gold.get(name)) for name in answers], {})
    chains = [chain(name, number, answer) for name, row in answers.items() for number, answer in enumerate(row)]
    store(home, RECIPE, TEACHER_CHAINS, chains, {})
    report = validate_chains(home, RECIPE)
    assert report.metadata.get("problems_agreed_on") == 1
    found: dict[str, list[str]] = {name: [] for name in answers}
    for one in read_records(home.dataset("asked") / "validated_chains.parquet", ChainOfThought):
        found[one.problem_id].append(one.validation_reason if not one.is_valid else "valid")
    return found


def test_a_chain_is_valid_where_enough_of_the_others_say_the_same_and_nowhere_else(tmp_path: Path) -> None:
    answers = {
        "agreed": ["7", "7.0", "8"],
        "split": ["1", "2", "3"],
        "silent": ["5", None, None],
        "known": ["4", "9", "9"],
    }
    found = verdicts(Home(tmp_path), answers, {"known": "4"})
    assert found["agreed"] == ["valid", "valid", "wrong_answer"]
    assert found["split"] == ["no_agreement_tie"] * 3
    assert found["silent"] == ["no_agreement_too_few_answers"] * 3
    assert found["known"] == ["valid", "wrong_answer", "wrong_answer"], "a gold answer outweighs any majority"
