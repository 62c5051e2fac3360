"""Verbs of `rjepa living` that say and do what /v1/learning/* and the MCP tools do, as the account that runs them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rjepa.cli.common import print_json, this_account

if TYPE_CHECKING:
    from rjepa.control.acting import Changed
    from rjepa.control.place import Place

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Llm = Annotated[str | None, typer.Option(help="LLM tag [default: RJEPA_LLM or tiny-a].")]
_Reason = Annotated[str, typer.Option(help="Kept with the change.")]


def status(llm: _Llm = None, as_json: _Json = False) -> None:
    """Whether nights learn by themselves, what the last one came to, and what is missing to the next.

    Example: rjepa living status
    """
    from rjepa.control.state import read_status

    found = read_status(_place(llm))
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    typer.echo(f"learning   {'on' if found.enabled else 'off'}")
    typer.echo(f"served     {found.served or 'nothing'}")
    if found.last_night is not None:
        typer.echo(f"last night {found.last_night.outcome}: {found.last_night.text}")
    begins = "may begin" if found.next_night.may_begin else "does not begin"
    typer.echo(f"next night {begins}: {found.next_night.why}")
    if found.dagster.next_at is not None:
        typer.echo(f"scheduled  {found.dagster.next_at:%Y-%m-%d %H:%M} UTC")
    if found.dagster.note is not None:
        typer.echo(found.dagster.note, err=True)


def enable(llm: _Llm = None, reason: _Reason = "") -> None:
    """Let nights learn by themselves.

    Example: rjepa living enable --reason "the pilot begins"
    """
    from rjepa.control import acting

    _tell(acting.enable(_place(llm), who=this_account(), reason=reason))


def disable(llm: _Llm = None, reason: _Reason = "") -> None:
    """Begin no further night. What is served stays.

    Example: rjepa living disable
    """
    from rjepa.control import acting

    _tell(acting.disable(_place(llm), who=this_account(), reason=reason))


def settings(
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="Changed together, or not at all.")
    ] = None,
    llm: _Llm = None,
    reason: _Reason = "",
    as_json: _Json = False,
) -> None:
    """Show how nights learn, or change it. Each change is recorded with who made it.

    Example: rjepa living settings min_interactions=50 learning_rate=0.0003
    """
    from rjepa.control import acting
    from rjepa.control.state import read_config
    from rjepa.text_tables import add_row, new_table, render

    place = _place(llm)
    if changes:
        _tell(acting.change(place, dict(_parsed(one) for one in changes), who=this_account(), reason=reason))
    found = read_config(place)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    table = new_table("setting", "value", "")
    for name, value in found.settings.model_dump().items():
        add_row(table, name, _shown(value), str(found.limits[name].get("description", "")))
    typer.echo(render(table))


def save(
    release_id: Annotated[str | None, typer.Argument(help="A release; the one that is served if left out.")] = None,
    form: Annotated[str, typer.Option(help="Of the student: safetensors, or gguf for llama.cpp.")] = "safetensors",
    llm: _Llm = None,
    as_json: _Json = False,
) -> None:
    """Write a release and its student to the exports folder of the home.

    Example: rjepa living save --form gguf
    """
    from typing import get_args

    from rjepa.control.exporting import Form, save_weights
    from rjepa.errors import InvalidInputError

    known: Form | None = next((one for one in get_args(Form) if one == form), None)
    if known is None:
        raise InvalidInputError(f"{form!r} is no form of weights", cure=f"use --form {' or '.join(get_args(Form))}")
    saved = save_weights(_place(llm), release_id, known)
    if as_json:
        print_json(saved.model_dump(mode="json"))
    else:
        typer.echo(saved.folder)


def _place(llm: str | None) -> "Place":
    from rjepa.control.place import Place
    from rjepa.settings import load_settings

    return Place.of(load_settings(), llm)


def _tell(changed: "Changed") -> None:
    typer.echo(f"learning is {'on' if changed.settings.enabled else 'off'}", err=True)
    if changed.note is not None:
        typer.echo(changed.note, err=True)


def _parsed(text: str) -> tuple[str, Any]:
    """NAME=VALUE, the value as JSON has it: true, 5, 0.001."""
    import json

    from rjepa.errors import InvalidInputError

    name, equals, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        raise InvalidInputError(
            f"{text!r} sets nothing", cure="write NAME=VALUE with true, false or a number: rjepa living settings"
        ) from None


def _shown(value: bool | float) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"
