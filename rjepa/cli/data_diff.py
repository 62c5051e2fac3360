"""`rjepa data diff`: what changed from one dataset to another."""

from typing import Annotated

import typer

from rjepa.cli.common import open_home, pairs, print_json


def diff(
    old: Annotated[str, typer.Argument(help="A released dataset, e.g. v1.0.0.")],
    new: Annotated[str, typer.Argument(help="Another, e.g. v1.1.0.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Problems and chains that were added or removed, verdicts that changed, licences.

    Example: rjepa data diff v1.0.0 v1.1.0
    """
    from dataclasses import asdict

    from rjepa.datasets.diffing import diff_datasets

    found = diff_datasets(open_home(), old, new)
    if as_json:
        print_json(asdict(found))
        return
    if found.is_empty:
        typer.echo(f"{old} and {new} hold the same problems and chains")
    for title, change in (
        ("problems added", found.problems_added),
        ("problems removed", found.problems_removed),
        ("chains added", found.chains_added),
        ("chains removed", found.chains_removed),
    ):
        if change.total:
            typer.echo(f"{title}: {change.total}")
            for name, counts in change.by.items():
                typer.echo(f"  by {name}: {pairs(counts)}")
    for problem_id, before, after in found.moved:
        typer.echo(f"split changed: {problem_id} {before} -> {after}")
    if found.verdicts_changed:
        typer.echo(f"verdicts changed: {found.verdicts_changed}")
        for cot_id, before, after in found.verdicts:
            typer.echo(f"  {cot_id}: {before} -> {after}")
    for licence, (old_count, new_count) in found.licences.items():
        if old_count != new_count:
            typer.echo(f"licence {licence}: {old_count} -> {new_count} problems")
