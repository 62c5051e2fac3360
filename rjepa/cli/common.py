"""What several verbs share: the home, checked options, and JSON on stdout."""

import json
from typing import TYPE_CHECKING, Any

import typer

from rjepa.errors import InvalidInputError

if TYPE_CHECKING:
    from rjepa.home import Home


def open_home() -> "Home":
    """The home that the settings name."""
    from rjepa.home import Home
    from rjepa.settings import load_settings

    return Home(load_settings().home)


def home_and_llm(llm: str | None) -> "tuple[Home, str]":
    """The home that the settings name, and an LLM's tag: `llm`, or the settings' own.

    Raises:
        InvalidInputError: it cannot be a tag.
    """
    from rjepa.home import check_tag
    from rjepa.settings import load_settings

    return open_home(), check_tag(llm or load_settings().llm)


def this_account() -> str:
    """Who acts, in a record of changes to learning: the account that runs the command."""
    import getpass

    return f"account:{getpass.getuser()}"


def checked_split(split: str | None) -> Any:
    """`split`, if it is one or None.

    Raises:
        InvalidInputError: there is no such split.
    """
    if split not in (None, "train", "validation", "test"):
        raise InvalidInputError(f"{split!r} is no split", cure="use --split train, validation or test")
    return split


def pairs(counts: dict[str, int]) -> str:
    """`name count, name count` for people."""
    return ", ".join(f"{name} {count}" for name, count in counts.items())


ACCOUNT = "cli"
"""Who acts, in an audit log: a command is given no key, so that all who use this account are one."""


def print_json(value: Any) -> None:
    """JSON on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
