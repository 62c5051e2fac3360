"""`rjepa data`: list, look at and verify datasets. `import` lives in `data_import`, `diff` in `data_diff`, `remove` in
`data_remove`; `create` materialises, and so comes from `rjepa_assets`.
"""

from typing import Annotated, Any

import typer

from rjepa.cli.common import checked_split, open_home, pairs, print_json
from rjepa.cli.data_diff import diff
from rjepa.cli.data_import import import_file
from rjepa.cli.data_remove import remove

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Name = Annotated[str, typer.Argument(help="A dataset, e.g. v1.0.0; see `rjepa data list`.")]


def register(app: typer.Typer) -> None:
    """Mount `rjepa data`."""
    data = typer.Typer(help="Datasets: list, look at, import, create, compare, verify, remove.", no_args_is_help=True)
    data.command("list")(list_datasets)
    data.command("stats")(stats)
    data.command("show")(show)
    data.command("import")(import_file)
    data.command("verify")(verify)
    data.command("diff")(diff)
    data.command("remove")(remove)
    app.add_typer(data, name="data")


def list_datasets(as_json: _Json = False) -> None:
    """Every dataset that has a recipe, and whether it is made and released.

    Example: rjepa data list
    """
    from rjepa.datasets.reading import load_manifest
    from rjepa.datasets.recipe import dataset_names, load_recipe
    from rjepa.errors import NotFoundError

    home = open_home()
    rows: list[dict[str, Any]] = []
    for name in dataset_names(home):
        recipe = load_recipe(home, name)
        row = {"dataset": name, "source": recipe.source, "parent": recipe.parent, "released": False}
        row["description"] = recipe.description
        try:
            manifest = load_manifest(home, name)
        except NotFoundError:
            rows.append(row | {"problems": None, "chains": None, "date": None})
            continue
        found = {"problems": manifest["counts"]["problems"], "chains": manifest["chains"]["total"]}
        rows.append(row | {"released": True, "date": manifest["date"]} | found)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        state = f"{row['problems']} problems, {row['chains']} chains" if row["released"] else "not made yet"
        typer.echo(f"{row['dataset']:<20} {row['source']:<13} {state:<32} {row['description']}")


def stats(name: _Name, as_json: _Json = False) -> None:
    """Counts, licences, validation rate and warnings of a released dataset.

    Example: rjepa data stats v1.0.0
    """
    from rjepa.datasets.reading import load_manifest

    manifest = load_manifest(open_home(), name)
    if as_json:
        print_json(manifest)
        return
    counts, chains = manifest["counts"], manifest["chains"]
    typer.echo(f"{manifest['dataset']} ({manifest['version']}), released {manifest['date']}: {manifest['description']}")
    typer.echo(f"{counts['problems']} problems, {manifest['duplicates_removed']} duplicates removed")
    if manifest["parent"]:
        typer.echo(f"grown from {manifest['parent']}: {manifest['new']['problems']} of them are new here")
    for domain, splits in sorted(counts["by_domain_and_split"].items()):
        typer.echo(f"  {domain:<16} " + "  ".join(f"{split} {count}" for split, count in sorted(splits.items())))
    typer.echo("difficulty: " + pairs(counts["by_difficulty"]))
    typer.echo(f"split: {manifest['split_rule']}")
    rate = manifest["validation_rate"]
    worked, corrupted = chains["worked"], chains["corrupted"]
    typer.echo(
        f"worked solutions: {worked['total']}"
        + (f", {rate:.1%} valid ({pairs(chains['worked_reasons'])})" if rate is not None else "")
    )
    if corrupted["total"]:
        typer.echo(f"corrupted chains: {corrupted['total']} ({pairs(chains['corrupted_reasons'])})")
    typer.echo(f"licences: {pairs(manifest['licences'])}; sources: {pairs(manifest['sources'])}")
    for warning in manifest["warnings"]:
        typer.echo(f"warning: {warning}")


def show(
    name: _Name,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many problems.")] = 3,
    split: Annotated[str | None, typer.Option(help="train, validation or test.")] = None,
    as_json: _Json = False,
) -> None:
    """Problems with their judged chains.

    Example: rjepa data show v1.0.0 --limit 2 --split train
    """
    from rjepa.chains import render_chain
    from rjepa.datasets.reading import load_chains, load_problems
    from rjepa.errors import NotFoundError
    from rjepa.schemas import ChainOfThought

    home = open_home()
    problems = load_problems(home, name, checked_split(split), limit)
    wanted: dict[str, list[ChainOfThought]] = {problem.problem_id: [] for problem in problems}
    try:
        for chain in load_chains(home, name):
            if chain.problem_id in wanted:
                wanted[chain.problem_id].append(chain)
    except NotFoundError:
        typer.echo("(no judged chains yet)", err=True)
    if as_json:
        print_json(
            [
                problem.model_dump(mode="json")
                | {"chains": [chain.model_dump(mode="json") for chain in wanted[problem.problem_id]]}
                for problem in problems
            ]
        )
        return
    for problem in problems:
        typer.echo(f"# {problem.problem_id}  {problem.domain} {problem.difficulty} {problem.split}")
        typer.echo(f"{problem.statement}\ngold answer: {problem.answer_gold}")
        for chain in wanted[problem.problem_id]:
            wrong = "" if chain.first_error_step is None else f", first wrong step: {chain.first_error_step + 1}"
            typer.echo(f"-- {'right' if chain.is_valid else f'wrong ({chain.validation_reason}{wrong})'}")
            typer.echo(render_chain(chain.steps, chain.final_answer), nl=False)
        typer.echo()


def verify(name: _Name, as_json: _Json = False) -> None:
    """Check a released dataset against its manifest: hashes, counts, leaks, verdicts.

    Example: rjepa data verify v1.0.0
    """
    from dataclasses import asdict

    from rjepa.datasets.reading import verify_dataset

    verified = verify_dataset(open_home(), name)
    if as_json:
        print_json(asdict(verified))
        return
    typer.echo(
        f"{name} is intact: {verified.problems} problems, {verified.valid_chains} of {verified.chains} chains valid,"
        f" data hash {verified.data_hash[:12]}"
    )
