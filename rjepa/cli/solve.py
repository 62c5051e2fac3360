"""`rjepa solve`: one problem, answered by what is released. `rjepa modes`: the ways to answer, and their options."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from rjepa.reasoning.answer import Answer, Explanation
    from rjepa.reasoning.events import StepWritten

_BAR: Final = 12
"""Characters of a full energy bar."""


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("solve", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(solve)
    app.command("modes")(modes)


def modes(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the ways to answer a problem, with the options of each.

    Example: rjepa modes
    """
    import json

    from rjepa.reasoning.modes import MODES

    if as_json:
        known = {
            name: {"summary": mode.summary, "options": mode.options.model_json_schema().get("properties", {})}
            for name, mode in MODES.items()
        }
        typer.echo(json.dumps(known, indent=2))
        return
    for name, mode in MODES.items():
        typer.echo(f"{name:<10} {mode.summary}")
        for option, field in mode.options.model_fields.items():
            typer.echo(f"{'':<10} --{option.replace('_', '-')}: {field.description} [default: {field.default}]")


def solve(
    context: typer.Context,
    problem: Annotated[str, typer.Argument(help="The problem; - reads it from standard input.")],
    mode: Annotated[
        str, typer.Option(help="How to answer: `rjepa modes` lists the modes and their options.")
    ] = "rerank",
    llm: Annotated[str | None, typer.Option(help="LLM tag [default: RJEPA_LLM or tiny-a].")] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Sampling temperature; the student's own if left out.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Tokens of a chain at most.")] = None,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal answers.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the receipt.")] = False,
    receipt: Annotated[
        Path | None, typer.Option(help="File for the answer's receipt: `rjepa verify` generates it again.")
    ] = None,
    keep_question: Annotated[
        bool, typer.Option("--keep-question", help="Write the problem into the receipt, and not its hash alone.")
    ] = False,
) -> None:
    """Answer one problem with the released R-JEPA, and say why. Options of the mode may follow: --num-candidates 4.

    Example: rjepa solve "Tom has 4 pens. Mia has 5 more than Tom. [...] How many pens does Ann have?"
    """
    from rjepa.cli.bars import progress_bar
    from rjepa.cli.common import print_json
    from rjepa.files import write_json
    from rjepa.home import Home
    from rjepa.releases.pointer import require_current
    from rjepa.settings import load_settings

    settings = load_settings()
    home, tag = Home(settings.home), llm or settings.llm
    options = _mode_options(context.args)
    # A missing release is named at once: importing torch takes seconds.
    require_current(home, tag)
    import torch

    from rjepa.engine import Engine
    from rjepa.reasoning.events import CandidateWritten, Done, StepWritten
    from rjepa.reasoning.question import ask

    statement = (sys.stdin.read() if problem == "-" else problem).strip()
    question = ask(statement, mode, options, temperature=temperature, max_tokens=max_tokens, seed=seed)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    with progress_bar("solve") as progress:
        engine = Engine.load(home, tag, address=settings.student_url, progress=progress)
        steps: list[StepWritten] = []
        for event in engine.run(question):
            if isinstance(event, CandidateWritten):
                progress(event.written, event.total, "candidates")
            elif isinstance(event, StepWritten):
                steps.append(event)
    assert isinstance(event, Done)
    made = engine.receipt(question, event.answer, keep_question=keep_question)
    if receipt is not None:
        write_json(receipt, made.model_dump(mode="json"))
    if as_json:
        print_json(event.answer.model_dump(mode="json") | {"receipt": made.model_dump(mode="json")})
    else:
        _show(event.answer, steps)


def _mode_options(arguments: Sequence[str]) -> dict[str, Any]:
    """Options of the mode, as `--name value` or `--name=value`; the mode says whether it knows them.

    Raises:
        typer.BadParameter: something that is no option, or an option without a value.
    """
    options: dict[str, Any] = {}
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if not name.startswith("--"):
            raise typer.BadParameter(f"{argument!r} is one argument too many; put the problem in quotes")
        found = value if equals else next(rest, None)
        if found is None:
            raise typer.BadParameter(f"{name} needs a value")
        options[name.removeprefix("--").replace("-", "_")] = found
    return options


def _show(answer: "Answer", written: "Sequence[StepWritten]") -> None:
    for index, step in enumerate(answer.steps):
        bar = _energy_bar(written[index]) if index < len(written) else ""
        typer.echo(f"{index + 1:>3}. {step}{bar}")
    typer.echo(f"  =  {answer.final_answer if answer.final_answer is not None else 'no answer'}")
    if answer.explanation is not None:
        typer.echo(f"\n{answer.explanation.text}")
        chance = "unknown" if answer.p_correct is None else f"{answer.p_correct:.0%}"
        for change in changes(answer.explanation):
            typer.echo(change)
        typer.echo(f"P(correct) {chance}; bars show each step's energy: a full one surprises more than any right step")
        for candidate in sorted(answer.candidates, key=lambda each: each.rank):
            score = "-" if candidate.score is None else f"{candidate.score:+.2f}"
            figures = f"score {score}  log-probability {candidate.logprob:7.2f}  votes {candidate.votes}"
            mark = "*" if candidate.chosen else " "
            typer.echo(
                f"  {mark} candidate {candidate.index + 1:>2}  {figures}  {candidate.final_answer or 'no answer'}"
            )
    typer.echo(
        f"\n{answer.cost.tokens_generated} tokens, {answer.cost.seconds:.1f} s, release {answer.release_id}, "
        f"seed {answer.seed}",
        err=True,
    )


def _energy_bar(step: "StepWritten") -> str:
    """A step's energy, with the share of right steps that surprise less as a bar, where the release knows it."""
    if step.energy is None:
        return ""
    share = step.share_of_right_steps_below
    filled = 0 if share is None else int(_BAR * share)
    return f"   {'' if share is None else '#' * filled + '.' * (_BAR - filled) + ' '}{step.energy:.2f}"


def changes(explanation: "Explanation") -> list[str]:
    """What was changed on the way to the answer, and what R-JEPA did not expect in it, one line each."""
    taken = [one for one in explanation.repaired if one.accepted]
    lines = [f"step {one.step} was written again, as {one.why}: {one.new!r}, before {one.old!r}" for one in taken]
    for one in explanation.planned:
        before = "" if one.written is None else f", written {one.written!r}"
        lines.append(f"step {one.step} was planned: expected {one.expected!r}{before}; {one.why}")
    return [*lines, *(f"step {one.step} surprised R-JEPA: {one.text}" for one in explanation.surprises)]
