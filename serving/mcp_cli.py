"""`rjepa mcp`: learning control for an assistant on this machine, over standard input and output."""

from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("mcp")(mcp)


def mcp(
    llm: Annotated[
        str | None, typer.Option(help="LLM whose learning is controlled [default: RJEPA_LLM or tiny-a]")
    ] = None,
) -> None:
    """Speak the Model Context Protocol on stdin and stdout, as the account that runs it. A running service does the
    same at /mcp, for operators' keys.

    Example: claude mcp add rjepa -- rjepa mcp
    """
    from rjepa.cli.common import this_account
    from rjepa.control.place import Place
    from serving.answering import by_loading
    from serving.app import load_engine
    from serving.logs import configure_logs
    from serving.settings import ServiceSettings
    from serving.tools import make_server

    given: dict[str, Any] = {} if llm is None else {"llm": llm}
    settings = ServiceSettings(**given)
    place = Place.of(settings)
    configure_logs(details=settings.log_details)
    make_server(place, this_account, by_loading(place, load_engine(settings))).run("stdio")
