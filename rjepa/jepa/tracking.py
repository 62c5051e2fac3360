"""Curves to Weights & Biases, for those who ask for it: never needed, and never the reason that a training stops.

On when WANDB_API_KEY is set or WANDB_MODE is `offline`; off when WANDB_MODE is `disabled`. `wandb` is an extra of this
package and is imported only then. The registry of models is the release, not W&B: no weights are uploaded.
"""

import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from rjepa.errors import CorruptError, NotFoundError
from rjepa.files import read_json, write_json
from rjepa.jepa.config import JepaConfig

TRACKING_FILE: Final = "tracking.json"
_KEY: Final = "WANDB_API_KEY"
_MODE: Final = "WANDB_MODE"
_PROJECT: Final = "rjepa"
_INIT_SECONDS: Final = 30.0
"""How long a training waits for W&B before it goes on without."""

_log = logging.getLogger(__name__)


class Tracker:
    """Takes points of curves; this one ignores them. A context manager that ends what it began."""

    def log(self, curve: str, point: Mapping[str, float]) -> None:
        """Add a point, which holds its `update`, to the curves named `<curve>/<term>`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(failed=kind is not None)

    def close(self, failed: bool) -> None:
        """End the run."""


class _Wandb(Tracker):
    """A run on W&B. The first failure is reported once, and ends the tracking."""

    def __init__(self, environment: Mapping[str, str], folder: Path, run_id: str, config: dict[str, Any]) -> None:
        self._secret = environment.get(_KEY, "")
        self._run: Any = None
        offline = environment.get(_MODE) == "offline"
        try:
            import wandb

            settings: dict[str, Any] = {"silent": True, "console": "off", "disable_git": True, "save_code": False}
            if "WANDB_INIT_TIMEOUT" not in environment:
                settings["init_timeout"] = _INIT_SECONDS
            self._run = wandb.init(
                project=environment.get("WANDB_PROJECT", _PROJECT),
                id=run_id,
                resume=None if offline else "allow",  # offline, the equal id is what joins the parts at `wandb sync`
                dir=environment.get("WANDB_DIR", str(folder)),
                config=config,
                settings=wandb.Settings(**settings),
            )
            self._run.define_metric("update")
            self._run.define_metric("*", step_metric="update")
        except Exception as error:  # noqa: BLE001 - whatever the service or its client does, the training goes on
            self._give_up(error)

    def log(self, curve: str, point: Mapping[str, float]) -> None:
        if self._run is None:
            return
        try:
            terms = {f"{curve}/{name}": value for name, value in point.items() if name != "update"}
            self._run.log({"update": point["update"], **terms})
        except Exception as error:  # noqa: BLE001 - as above
            self._give_up(error)

    def close(self, failed: bool) -> None:
        if self._run is None:
            return
        try:
            self._run.finish(exit_code=int(failed))
        except Exception as error:  # noqa: BLE001 - as above
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._run = None
        words = f"{type(error).__name__}: {error}"
        if self._secret:
            words = words.replace(self._secret, "***")
        _log.warning("W&B: %s. The training goes on without it.", words)


@dataclass(frozen=True)
class Tracking:
    """Whether and how a run is tracked. Nothing is, unless the environment asks for it.

    environment: the variables of the process, read by the entry point.
    about: what is shown beside the config, such as the version of the data. No secrets.
    """

    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    about: Mapping[str, str | int | float] = field(default_factory=dict)

    @property
    def wanted(self) -> bool:
        mode = self.environment.get(_MODE)
        return mode != "disabled" and (mode == "offline" or bool(self.environment.get(_KEY)))

    def start(self, folder: Path, fingerprint: str, config: JepaConfig, enabled: bool = True) -> Tracker:
        """The tracker of the run in `folder`: a resumed run goes on under its own id."""
        if not (self.wanted and enabled):
            return Tracker()
        shown = {**config.model_dump(mode="json"), **self.about, "fingerprint": fingerprint}
        return _Wandb(self.environment, folder, run_id(folder, fingerprint), shown)


def run_id(folder: Path, fingerprint: str) -> str:
    """The id under which the run in `folder` is tracked, made on its first start and kept beside its checkpoint."""
    path = folder / TRACKING_FILE
    try:
        known = read_json(path)
        if known["fingerprint"] == fingerprint:
            return str(known["run_id"])
    except (NotFoundError, CorruptError, KeyError, TypeError):
        pass
    made = f"{fingerprint[:8]}-{secrets.token_hex(4)}"
    write_json(path, {"fingerprint": fingerprint, "run_id": made})
    return made
