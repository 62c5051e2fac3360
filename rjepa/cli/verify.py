"""`rjepa verify`: generate the answer of a receipt again, and say whether it is the same, and if not, what differs."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from rjepa.errors import InvalidInputError

if TYPE_CHECKING:
    from rjepa.answerer import Answerer
    from rjepa.reasoning.question import Message
    from rjepa.receipts import Receipt

_DIFFERS: Final = 3
"""Exit code where the answer is another one; 1 is a receipt that cannot be verified here, 2 wrong usage."""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("verify")(verify)


def verify(
    receipt: Annotated[str, typer.Argument(help="A receipt, or a reply of the service that holds one; - for stdin.")],
    question: Annotated[
        str | None,
        typer.Option(help="What was asked: a text file with the problem, or JSON with `messages`; - for stdin."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Generate the answer of a receipt again; compare text, energies and choice.

    Ends with 0 where all is the same, with 3 where something differs.

    Example: rjepa verify receipt.json --question problem.txt
    """
    from rjepa.cli.common import print_json
    from rjepa.home import Home
    from rjepa.settings import load_settings

    known = _read_receipt(receipt)
    messages = _messages(known, question)
    settings = load_settings()
    import torch

    from rjepa.engine import Engine
    from rjepa.lone import is_lone, open_lone
    from rjepa.receipts import differences

    if settings.threads:
        torch.set_num_threads(settings.threads)
    home = Home(settings.home)
    address, release = settings.student_url, known.release_id
    if is_lone(release):
        engine: Answerer = open_lone(home, known.llm_tag, release, address=address)
    else:
        engine = Engine.load(home, known.llm_tag, release_id=release, address=address)
    asked = known.question(messages)
    found = engine.receipt(asked, engine.answer(asked))
    differing = differences(known, found)
    if as_json:
        print_json({"same": not differing, "differences": differing, "found": found.model_dump(mode="json")})
    else:
        _show(known, found, differing)
    if differing:
        raise typer.Exit(_DIFFERS)


def _read_receipt(name: str) -> "Receipt":
    """The receipt in a file; a whole reply of the service holds it as `rjepa.receipt`, `rjepa solve` as `receipt`."""
    from pydantic import ValidationError

    from rjepa.receipts import Receipt

    value = _read_json(name)
    for key in ("rjepa", "receipt"):
        value = value[key] if isinstance(value, dict) and isinstance(value.get(key), dict) else value
    try:
        return Receipt.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidInputError(
            f"{name} holds no receipt that this version reads ({where}: {first['msg'].lower()})",
            cure="give what `rjepa solve --receipt FILE` wrote, or a reply of the service",
        ) from error


def _messages(receipt: "Receipt", question: str | None) -> "tuple[Message, ...]":
    """What was asked: of the file that is named, or of the receipt.

    Raises:
        InvalidInputError: neither has it, or it is another question than the receipt's.
    """
    from rjepa.reasoning.question import hash_messages

    messages = receipt.messages if question is None else _read_question(question)
    if messages is None:
        raise InvalidInputError(
            "the receipt holds the hash of the question and not the question",
            cure="name the file that was asked from: --question FILE",
        )
    if hash_messages(messages) != receipt.question_sha256:
        raise InvalidInputError(
            f"this is not the question of the receipt: its hash is {hash_messages(messages)[:12]}, "
            f"the receipt's {receipt.question_sha256[:12]}",
            cure="give the very words that were asked, earlier messages included",
        )
    return messages


def _read_question(name: str) -> "tuple[Message, ...]":
    """The messages of a text file with a problem, of a request's body, or of a list of messages."""
    from pydantic import ValidationError

    from rjepa.reasoning.conversation import read_messages

    text = _read(name)
    try:
        value: Any = json.loads(text)
    except ValueError:
        value = None
    turns = value.get("messages") if isinstance(value, dict) else value
    if not isinstance(turns, list):
        turns = [{"role": "user", "content": text}]
    try:
        return read_messages(turns)
    except ValidationError as error:
        raise InvalidInputError(
            f"the messages in {name} cannot be read", cure='write each as {"role": ..., "content": ...}'
        ) from error


def _read_json(name: str) -> Any:
    try:
        return json.loads(_read(name))
    except ValueError as error:
        raise InvalidInputError(f"{name} is not JSON ({error})", cure="give a receipt, as it was written") from error


def _read(name: str) -> str:
    if name == "-":
        return sys.stdin.read()
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"cannot read {name} ({error})", cure="name a readable file of text") from error


def _show(known: "Receipt", found: "Receipt", differing: list[str]) -> None:
    for line in differing:
        typer.echo(f"differs: {line}")
    if not differing:
        energies = sum(len(candidate.step_energies) for candidate in found.candidates)
        typer.echo(f"the same: text, choice and {energies} energies of release {known.release_id}")
    others = [name for name in known.versions if known.versions[name] != found.versions.get(name)]
    for name in others:
        typer.echo(f"made with {name} {known.versions[name]}, here is {found.versions.get(name)}", err=True)
