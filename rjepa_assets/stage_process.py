"""One stage function of the library, in a process that Dagster Pipes started:

    python -m rjepa_assets.stage_process rjepa.jepa.stage:build_checkpoint '{"llm_tag": "tiny-a", ...}'

It loads no Dagster but `dagster_pipes`, reports progress and errors as custom messages, and ends when its parent does.
Who starts it is `own_process`; what the functions do lives in `rjepa`.
"""

import base64
import importlib
import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from dagster_pipes import PipesContext, open_dagster_pipes

from rjepa.errors import RjepaError
from rjepa.home import Home
from rjepa.processes import end_with_parent
from rjepa.progress import MESSAGE_SECONDS, Progress, Throttled
from rjepa.settings import load_settings
from rjepa.stages import Made, StageReport


def main(arguments: Sequence[str]) -> int:
    """Call what the command line names, and report; the exit code."""
    end_with_parent()
    name, values = arguments
    with open_dagster_pipes() as pipes:
        try:
            made = _made(_call(_function(name), json.loads(values), _messages(pipes)))
        except RjepaError as error:
            pipes.report_custom_message({"problem": error.problem, "cure": error.cure})
            return 1
        except Exception as error:  # noqa: BLE001 - the run's process says it
            traceback.print_exc()
            pipes.report_custom_message(
                {
                    "problem": f"{name} failed: {type(error).__name__}: {error}",
                    "cure": "its run's stderr in the Dagster UI (rjepa up) shows where; what was finished is kept",
                }
            )
            return 1
        images = {key: base64.b64encode(png).decode() for key, png in made.images.items()}
        pipes.report_custom_message({"texts": dict(made.texts), "images": images})
        pipes.report_asset_materialization(metadata=made.report.metadata, data_version=made.report.data_version)
    return 0


def _function(name: str) -> Callable[..., Any]:
    """The function of "module:function". Only the library's own may be called."""
    module, _, function = name.partition(":")
    if not module.startswith("rjepa."):
        raise ValueError(f"{name} is not a function of rjepa")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def _call(function: Callable[..., Any], arguments: dict[str, Any], progress: Progress) -> Any:
    """A function that asks for environment variables (a training that may report to W&B) gets this process's."""
    if "environment" in inspect.signature(function).parameters:
        arguments = arguments | {"environment": os.environ}
    return function(Home(load_settings().home), progress=progress, **arguments)


def _made(result: Any) -> Made:
    """What a stage function returned: a report, or a report with texts and images."""
    if isinstance(result, Made):
        return result
    if isinstance(result, StageReport):
        return Made(result)
    if hasattr(result, "curve_png"):
        return Made(result.report, images={"training_curve": result.curve_png})
    texts = {"gallery": result.gallery_markdown}
    return Made(result.report, texts, {f"plot_{name}": png for name, png in result.plots.items()})


def _messages(pipes: PipesContext) -> Progress:
    """Progress as custom messages: the first, the last, and a few a second."""

    def message(done: int, total: int, note: str = "") -> None:
        pipes.report_custom_message({"done": done, "total": total, "note": note})

    return Throttled(message, MESSAGE_SECONDS, ends=True)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # Nothing is left to do: libraries' own endings take seconds and print.
