"""`rjepa solve`: one problem, answered by what is released."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rjepa.answer import Answer

_BAR = 12
"""Characters of the longest energy bar."""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("solve")(solve)


def solve(
    problem: Annotated[str, typer.Argument(help="The problem; - reads it from standard input.")],
    mode: Annotated[str, typer.Option(help="off: the student alone; rerank: R-JEPA chooses a candidate.")] = "rerank",
    num_candidates: Annotated[int, typer.Option(help="Candidates of mode rerank, 1 to 64.")] = 8,
    llm: Annotated[str | None, typer.Option(help="LLM tag [default: RJEPA_LLM or tiny-a].")] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Sampling temperature; the student's own if left out.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Most tokens of a chain.")] = None,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal answers.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Answer one problem with the released R-JEPA, and say why.

    Example: rjepa solve "Tom has 4 pens. Mia has 5 more than Tom. [...] How many pens does Ann have?"
    """
    from rjepa.answer import check_candidates, check_mode
    from rjepa.cli.bars import progress_bar
    from rjepa.home import Home
    from rjepa.releases.pointer import require_current
    from rjepa.settings import load_settings

    check_candidates(num_candidates)
    check_mode(mode)
    settings = load_settings()
    home, tag = Home(settings.home), llm or settings.llm
    # A missing release is told at once: importing torch takes seconds.
    require_current(home, tag)
    import torch

    from rjepa.engine import Engine

    if settings.threads:
        torch.set_num_threads(settings.threads)
    with progress_bar("solve") as progress:
        engine = Engine.load(home, tag, address=settings.student_url, progress=progress)
        answer = engine.answer(
            sys.stdin.read() if problem == "-" else problem,
            mode=mode,
            num_candidates=num_candidates,
            temperature=temperature,
            max_tokens=max_tokens,
            seed=seed,
            progress=progress,
        )
    if as_json:
        typer.echo(answer.model_dump_json(indent=2))
    else:
        _show(answer)


def _show(answer: "Answer") -> None:
    chosen = next((candidate for candidate in answer.candidates if candidate.chosen), None)
    energies = chosen.step_energies if chosen is not None else []
    highest = max((value for each in answer.candidates for value in each.step_energies), default=0.0)
    for index, step in enumerate(answer.steps):
        energy = energies[index] if index < len(energies) else None
        typer.echo(f"{index + 1:>3}. {step}{'' if energy is None else f'   {_bar(energy, highest)} {energy:.2f}'}")
    typer.echo(f"  =  {answer.final_answer if answer.final_answer is not None else 'no answer'}")
    if answer.explanation is not None:
        typer.echo(f"\n{answer.explanation.text}")
        chance = "unknown" if answer.p_correct is None else f"{answer.p_correct:.0%}"
        typer.echo(f"P(correct) {chance}; bars show each step's energy (how surprising it is)")
        for candidate in sorted(answer.candidates, key=lambda each: each.rank):
            score = "-" if candidate.score is None else f"{candidate.score:+.2f}"
            figures = f"score {score}  log-probability {candidate.logprob:7.2f}  votes {candidate.votes}"
            mark = "*" if candidate.chosen else " "
            typer.echo(
                f"  {mark} candidate {candidate.index + 1:>2}  {figures}  {candidate.final_answer or 'no answer'}"
            )
    typer.echo(
        f"\n{answer.completion_tokens} tokens, {answer.seconds:.1f} s, release {answer.release_id}, seed {answer.seed}",
        err=True,
    )


def _bar(energy: float, highest: float) -> str:
    filled = round(_BAR * min(1.0, max(0.0, energy / highest))) if highest > 0 else 0
    return "#" * filled + "." * (_BAR - filled)
