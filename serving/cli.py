"""`rjepa serve`: the chat service and its page."""

from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("serve")(serve)


def serve(
    llm: Annotated[str | None, typer.Option(help="LLM whose release is served [default: RJEPA_LLM or tiny-a]")] = None,
    host: Annotated[str | None, typer.Option(help="address to bind to [default: RJEPA_HOST or 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="port [default: RJEPA_PORT or 8000]")] = None,
) -> None:
    """Serve the released R-JEPA: an OpenAI-compatible API and a chat page.

    Example: rjepa serve --llm tiny-a --port 8000
    """
    from rjepa.home import check_tag
    from serving.app import create_app
    from serving.logs import configure_logs
    from serving.server import GracefulServer, raise_file_limit
    from serving.settings import ServiceSettings

    given: dict[str, Any] = {
        name: value for name, value in {"llm": llm, "host": host, "port": port}.items() if value is not None
    }
    settings = ServiceSettings(**given)
    check_tag(settings.llm)
    configure_logs(details=settings.log_details)
    raise_file_limit(settings.max_connections)
    server = GracefulServer(create_app(settings), settings)
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    typer.echo(f"R-JEPA ({settings.llm}) at http://{shown}:{settings.port}/  -  Ctrl-C stops it", err=True)
    server.run()
    if not server.started:
        raise typer.Exit(1)
