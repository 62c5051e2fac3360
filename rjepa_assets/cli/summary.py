"""What a materialised partition shows on the terminal: the leaderboard, what was released, what to type next."""

import shlex
from pathlib import Path

import typer

from rjepa.home import Home


def print_results(home: Home, llm_tag: str, dataset: str) -> None:
    """The leaderboard of one student and dataset, and what is served now."""
    from rjepa.evaluation.reading import read_report
    from rjepa.evaluation.summary import short_table
    from rjepa.text_tables import render

    result = read_report(home, llm_tag, dataset)
    typer.echo(
        f"\nWays of choosing an answer from the same K = {result.num_candidates} candidates of {llm_tag}:\n"
        f"accuracy on the {result.problems} test problems of {dataset} in %, with 95 % intervals.\n"
    )
    typer.echo(render(short_table(result.leaderboard)))
    typer.echo("\nThe whole report, with every way of choosing and plots:")
    typer.echo(f"  {relative(home.reports(llm_tag, dataset) / 'report.html')}")
    print_served(home, llm_tag)


def print_served(home: Home, llm_tag: str) -> None:
    """What is served now, and why the newest release is not, if it is not."""
    from rjepa.releases.bundle import load_manifest
    from rjepa.releases.history import history
    from rjepa.releases.pointer import current_release

    current = current_release(home, llm_tag)
    if current is None:
        typer.echo(f"\nServed for {llm_tag}: nothing yet")
        return
    manifest = load_manifest(home, llm_tag, current)
    replaced = f", in place of {manifest.replaces}" if manifest.replaces else ""
    typer.echo(f"\nServed for {manifest.describe}: release {manifest.release_id} ({manifest.reason}{replaced})")
    last = history(home, llm_tag)[-1]
    if last.action == "refuse" and last.decision is not None:
        typer.echo(
            f"Not served: release {last.target}, since {last.decision.text}\n"
            f"Serve it all the same: rjepa release rollback --llm {llm_tag} --to {last.target}"
        )


def print_next_steps(home: Home, llm_tag: str, dataset: str) -> None:
    """Commands that work on what the demo made."""
    from rjepa.datasets.reading import load_problems

    statements = [problem.statement for problem in load_problems(home, dataset, "test", limit=30)]
    question = min(statements, key=lambda statement: ("\n" in statement, len(statement)))
    typer.echo(
        "\nNext:\n"
        f"  rjepa solve {shlex.quote(question)}\n"
        "  make dev                      # Dagster UI, daemon and chat page\n"
        "  rjepa llm add tiny-b --model bundled && rjepa backfill --llm tiny-b\n"
        "  rjepa release list"
    )


def relative(path: Path) -> str:
    """A path as its user would type it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
