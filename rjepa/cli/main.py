"""The `rjepa` command: gather the verbs of every package, turn expected errors into one line and a cure.

Verbs live in their own files, one a noun, and reach this one through the entry-point group `rjepa.commands`. Nothing
heavy is imported before a verb runs, so that `rjepa --help` stays quick.
"""

import atexit
import os
import sys
from importlib.metadata import entry_points

import typer

from rjepa.errors import RjepaError
from rjepa.files import storage_cure

COMMANDS = "rjepa.commands"

_HELP = """R-JEPA: a world model over reasoning steps.

Start with `rjepa demo`, then `rjepa solve "..."` and `rjepa up`."""


def build_app() -> typer.Typer:
    """The whole command line. A package whose verbs cannot be imported is named on stderr and left out."""
    app = typer.Typer(
        help=_HELP,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for entry in sorted(entry_points(group=COMMANDS), key=lambda entry: entry.name):
        try:
            register = entry.load()
        except ImportError as error:
            print(f"`rjepa {entry.name}` is not available ({error}); run `make setup` again", file=sys.stderr)
            continue
        register(app)
    return app


def command() -> None:
    """The process that a shell starts: `main`, and then its end."""
    try:
        main()
    except SystemExit as end:
        if "_duckdb" in sys.modules and (end.code is None or isinstance(end.code, int)):
            _leave(end.code or 0)
        raise


def main() -> None:
    """Run one verb. Exit code 0: done; 1: something outside the code is wrong, with its cure; 2: wrong usage."""
    try:
        build_app()()
    except RjepaError as error:
        _fail(error.problem, error.cure)
    except OSError as error:
        cure = storage_cure(error)
        if cure is None:
            raise
        _fail(f"cannot write {error.filename or 'a file'} ({error.strerror})", cure)


def _leave(code: int) -> None:
    """End here, with everything that waits for the end done. DuckDB 2.0 prints thirty lines about objects it thinks
    leaked where an interpreter that used it is taken apart, and nothing turns them off.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # its reader is gone
            code = code or 1
    os._exit(code)


def _root() -> None:
    """Hold the group open even where one package alone brings a verb."""


def _fail(problem: str, cure: str) -> None:
    print(f"error: {problem}\n  -> {cure}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    command()
