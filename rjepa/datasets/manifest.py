"""What a released dataset says of itself: counts, sources, licences, verdicts, hashes. Pure; files live elsewhere.

All counts are sums, so that a version that grew adds its own to its parent's and reads nothing of the parent again.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from rjepa.datasets.measures import is_corrupted, worked_validity
from rjepa.datasets.recipe import DatasetRecipe
from rjepa.files import sha256_json
from rjepa.problems.importing import UNKNOWN_LICENCE
from rjepa.schemas import ChainOfThought, Problem
from rjepa.stages import StageReport

MANIFEST_FORMAT = 2
"""2 lists parts; 1 had one file a stage, and is read as that."""

_SUMS: Final = ("counts", "sources", "licences", "chains")

_SPLIT_RULES = {
    "curriculum": "by the hash of a problem's structure: no structure lies in two splits",
    "gsm_symbolic": "by statement hash within templates: all splits share the templates, so a test score says how well"
    " new numbers and names are handled, not new kinds of problem",
    "imported": "as the file says, else test; by statement hash where that was asked for",
    "reasoning_gym": "by statement hash: all splits share the tasks",
    "benchmark": "as published; what is published for training alone is divided by statement hash",
    "cumulative": "as in the version and the datasets it grew from: a problem never changes split",
}


def build_manifest(
    recipe: DatasetRecipe,
    problems: list[Problem],
    chains: list[ChainOfThought],
    reports: dict[str, StageReport],
    parent: dict[str, Any] | None = None,
    removed: dict[str, Any] | None = None,
    source_warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """The manifest without its date and file hashes.

    `problems` and `chains` are the version's own; `parent` is the manifest it grew from, `removed` the totals of what
    it leaves out of that. `validation_rate` is the share of valid chains among the worked solutions: corrupted ones are
    meant to be wrong. `data_hash` depends on content only, not on dates or file formats.
    """
    sums = totals(problems, chains)
    if parent is not None:
        sums = _combined(_combined({name: parent[name] for name in _SUMS}, removed or {}, -1), sums, 1)
    warned = list(dict.fromkeys([*_recipe_warnings(parent), *recipe.warnings, *source_warnings]))
    worked = sums["chains"]["worked"]
    own_duplicates = int(reports["problems"].metadata.get("duplicates_removed", 0))
    return {
        "format": MANIFEST_FORMAT,
        "dataset": recipe.name,
        "version": recipe.version,
        "description": recipe.description,
        "parent": recipe.parent,
        "lineage": [*parent.get("lineage", []), str(recipe.parent)] if parent is not None else [],
        "recipe": recipe.model_dump(mode="json"),
        "recipe_hash": recipe.hash(),
        "split_rule": _SPLIT_RULES.get(recipe.source, "as its source says"),
        **sums,
        "new": {"problems": len(problems), "chains": len(chains)},
        "removed_ids": sorted({*(parent or {}).get("removed_ids", []), *recipe.removes}),
        "recipe_warnings": warned,
        "warnings": _warnings(warned, sums),
        "validation_rate": round(worked["valid"] / worked["total"], 6) if worked["total"] else None,
        "duplicates_removed": own_duplicates + (parent or {}).get("duplicates_removed", 0),
        "stages": {
            name: {"data_version": report.data_version, "metadata": report.metadata} for name, report in reports.items()
        },
        "data_hash": sha256_json({name: report.data_version for name, report in reports.items()}),
    }


def totals(problems: list[Problem], chains: list[ChainOfThought]) -> dict[str, Any]:
    """Every count of a manifest over these records."""
    gold = [chain for chain in chains if not is_corrupted(chain)]
    corrupted = [chain for chain in chains if is_corrupted(chain)]
    _, valid = worked_validity(chains)
    return {
        "counts": {"problems": len(problems)} | _counts(problems),
        "sources": _tally(problem.source for problem in problems),
        "licences": _tally(problem.licence for problem in problems),
        "chains": {
            "total": len(chains),
            "valid": sum(chain.is_valid is True for chain in chains),
            "worked": {"total": len(gold), "valid": valid},
            "corrupted": {"total": len(corrupted), "valid": sum(chain.is_valid is True for chain in corrupted)},
            "worked_reasons": _tally(chain.validation_reason for chain in gold),
            "corrupted_reasons": _tally(chain.validation_reason for chain in corrupted),
        },
    }


def _combined(one: dict[str, Any], other: dict[str, Any], sign: int) -> dict[str, Any]:
    """Counts of `one` plus (or minus) those of `other`. A kind of which nothing is left goes; a sum stays, as 0."""
    result: dict[str, Any] = {}
    for name in sorted({*one, *other}):
        mine, theirs = one.get(name), other.get(name)
        if isinstance(mine, dict) or isinstance(theirs, dict):
            result[name] = _combined(mine or {}, theirs or {}, sign)
        else:
            count = (mine or 0) + sign * (theirs or 0)
            if count or name in ("problems", "total", "valid"):
                result[name] = count
    return result


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


def _recipe_warnings(parent: dict[str, Any] | None) -> list[str]:
    """What the recipes of a version and of all it grew from warn of; format 1 has its own recipe's alone."""
    if parent is None:
        return []
    found: list[str] = parent.get("recipe_warnings", parent["recipe"].get("warnings", []))
    return found


def _warnings(warned: list[str], sums: dict[str, Any]) -> list[str]:
    """What its owner should know: what recipes warn of, then what the counts say."""
    found = list(warned)
    unknown = sums["licences"].get(UNKNOWN_LICENCE, 0)
    if unknown and not any("licence" in warning for warning in found):
        found.append(f"the licence of {unknown} problem(s) is unknown: check it before you share what is made here")
    worked, corrupted = sums["chains"]["worked"], sums["chains"]["corrupted"]
    if worked["total"] > worked["valid"]:
        wrong = worked["total"] - worked["valid"]
        found.append(f"{wrong} of {worked['total']} worked solutions are wrong; they are kept as negatives")
    if corrupted["valid"]:
        found.append(f"{corrupted['valid']} corrupted chain(s) came out right and count as right")
    for split in ("train", "validation", "test"):
        if not sums["counts"]["by_split"].get(split):
            found.append(f"there are no {split} problems")
    return found


def _tally(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))
