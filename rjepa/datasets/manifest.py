"""What a released dataset says of itself: counts, sources, licences, verdicts, hashes. Pure; files live elsewhere."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from rjepa.datasets.measures import is_corrupted, worked_validity
from rjepa.datasets.recipe import DatasetRecipe
from rjepa.files import sha256_json
from rjepa.schemas import ChainOfThought, Problem
from rjepa.stages import StageReport

MANIFEST_FORMAT = 1

_SPLIT_RULES = {
    "curriculum": "by the hash of a problem's structure: no structure lies in two splits",
    "gsm_symbolic": "by statement hash within templates: all splits share the templates, so a test score says how well"
    " new numbers and names are handled, not new kinds of problem",
    "imported": "as the file says; by statement hash where it does not",
}


def build_manifest(
    recipe: DatasetRecipe,
    problems: list[Problem],
    chains: list[ChainOfThought],
    reports: dict[str, StageReport],
) -> dict[str, Any]:
    """The manifest without its date and file hashes.

    `validation_rate` is the share of valid chains among the worked solutions: corrupted ones are meant to be wrong.
    `data_hash` depends on content only, not on dates or file formats.
    """
    gold = [chain for chain in chains if not is_corrupted(chain)]
    corrupted = [chain for chain in chains if is_corrupted(chain)]
    _, valid = worked_validity(chains)
    return {
        "format": MANIFEST_FORMAT,
        "dataset": recipe.name,
        "version": recipe.version,
        "description": recipe.description,
        "parent": recipe.parent,
        "recipe": recipe.model_dump(mode="json"),
        "recipe_hash": recipe.hash(),
        "split_rule": _SPLIT_RULES[recipe.source],
        "counts": {"problems": len(problems)} | _counts(problems),
        "sources": _tally(problem.source for problem in problems),
        "licences": _tally(problem.licence for problem in problems),
        "warnings": _warnings(recipe, problems, gold, corrupted),
        "chains": {
            "total": len(chains),
            "valid": sum(chain.is_valid is True for chain in chains),
            "worked": {"total": len(gold), "valid": valid},
            "corrupted": {"total": len(corrupted), "valid": sum(chain.is_valid is True for chain in corrupted)},
            "worked_reasons": _tally(chain.validation_reason for chain in gold),
            "corrupted_reasons": _tally(chain.validation_reason for chain in corrupted),
        },
        "validation_rate": round(valid / len(gold), 6) if gold else None,
        "duplicates_removed": reports["problems"].metadata.get("duplicates_removed", 0),
        "stages": {
            name: {"data_version": report.data_version, "metadata": report.metadata}
            for name, report in reports.items()
        },
        "data_hash": sha256_json({name: report.data_version for name, report in reports.items()}),
    }


def _counts(problems: list[Problem]) -> dict[str, Any]:
    by_domain_and_split: dict[str, dict[str, int]] = {}
    for problem in problems:
        row = by_domain_and_split.setdefault(problem.domain, {})
        row[str(problem.split)] = row.get(str(problem.split), 0) + 1
    return {
        "by_domain": _tally(problem.domain for problem in problems),
        "by_difficulty": _tally(problem.difficulty for problem in problems),
        "by_split": _tally(str(problem.split) for problem in problems),
        "by_domain_and_split": by_domain_and_split,
    }


def _warnings(
    recipe: DatasetRecipe, problems: list[Problem], gold: list[ChainOfThought], corrupted: list[ChainOfThought]
) -> list[str]:
    found = list(recipe.warnings)
    unknown = sum(problem.licence == "unknown" for problem in problems)
    if unknown and not any("licence" in warning for warning in found):
        found.append(f"the licence of {unknown} problem(s) is unknown: check it before you share what is made here")
    wrong = sum(not chain.is_valid for chain in gold)
    if wrong:
        found.append(f"{wrong} of {len(gold)} worked solutions are wrong; they are kept as negatives")
    unharmed = sum(chain.is_valid is True for chain in corrupted)
    if unharmed:
        found.append(f"{unharmed} corrupted chain(s) came out right and count as right")
    for split in ("train", "validation", "test"):
        if not any(problem.split == split for problem in problems):
            found.append(f"there are no {split} problems")
    return found


def _tally(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))
