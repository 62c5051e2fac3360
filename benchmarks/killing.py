"""Kill parts of the living loop with SIGKILL at chosen moments, and look whether everything that must hold still holds.

`benchmarks.kills` runs a hundred such points, `tests/living/test_loop.py` four.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import psutil

from rjepa.database import open_database
from rjepa.datasets.parts import MANIFEST
from rjepa.datasets.reading import verify_dataset
from rjepa.datasets.recipe import dataset_names
from rjepa.datasets.sources import source_pairs
from rjepa.errors import RjepaError
from rjepa.feedback.interactions import list_interactions
from rjepa.feedback.votes import list_votes
from rjepa.home import Home
from rjepa.living.attempts import list_attempts
from rjepa.living.settings import change_settings
from rjepa.living.simulation.script import SMALL, asked_recipe
from rjepa.releases.bundle import list_releases, verify
from rjepa.releases.pointer import require_current
from rjepa_assets.instance import REPOSITORY, open_instance
from rjepa_assets.simulated_clients import Service, SimulationError, start_service

Victim = Literal["run", "stage", "service", "daemon"]
"""run: the process of the whole night. stage: the process of one heavy stage. daemon: Dagster's, beside the night."""

STAGES: Final = (
    *("feedback_selection", "problems", "teacher_chains", "validated_chains", "dataset_release", "student", "latents"),
    *("rollouts", "latent_normalizer", "rjepa_checkpoint", "score_calibration", "benchmark_report"),
    *("sealed_candidates", "release"),
)
LLM: Final = "tiny-a"
_NIGHT_SECONDS: Final = 2400.0
HEAVY: Final = ("latents", "rollouts", "rjepa_checkpoint", "sealed_candidates")
"""Stages in a process of their own."""
_WORKERS: Final = ("rjepa.latents.worker", "rjepa_assets.stage_process")


@dataclass(frozen=True)
class Point:
    """One kill: of whom, in which stage of the night, so many seconds after the stage began."""

    victim: Victim
    stage: str
    delay: float


@dataclass
class Loop:
    """A home in which a living loop goes on: its service, what was acknowledged, and what was found broken."""

    home: Home
    folder: Path
    service: Service
    acknowledged: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)
    asked: int = 0

    def give_feedback(self, questions: int = 1) -> None:
        """Ask and approve. What was answered with 200 must never be lost."""
        for _ in range(questions):
            self.asked += 1
            reply = self.service.ask(LLM, self._statement(), seed=self.asked, mode="off")
            self.service.call("POST", "/v1/feedback", None, {"id": reply["id"], "vote": "up"})
            self.acknowledged.append(reply["id"])

    def kill(self, point: Point) -> bool:
        """Begin (or go on with) a night, kill at the point, check everything. False where the night ended before."""
        log = self.folder / "night.log"
        with log.open("w") as stream:
            night = subprocess.Popen(
                [sys.executable, "-m", "rjepa.cli.main", "retrain", "--sealed-problems", str(SMALL.sealed)],
                env=self._variables(),
                stdout=stream,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
            try:
                reached = self._reach(night, log, point)
                if reached:
                    self._strike(night, point)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    night.kill() if point.victim != "service" and night.poll() is None else None
                night.wait(_NIGHT_SECONDS)
        if not reached or point.victim in ("service", "daemon"):
            self.outcomes.append(self._outcome())
            if night.returncode not in (0, -signal.SIGKILL):
                self.broken.append(f"{point}: a night beside a killed {point.victim} failed: {log.read_text()[-300:]}")
        self.check(point)
        return reached

    def finish(self) -> str:
        """Let the night complete by itself; its outcome."""
        done = subprocess.run(
            [sys.executable, "-m", "rjepa.cli.main", "retrain", "--sealed-problems", str(SMALL.sealed)],
            env=self._variables(),
            capture_output=True,
            text=True,
            timeout=_NIGHT_SECONDS,
        )
        if done.returncode:
            self.broken.append(f"a night after kills does not complete: {done.stderr[-500:]}")
        self.outcomes.append(self._outcome())
        self.check(None)
        return self.outcomes[-1]

    def check(self, point: Point | None) -> None:
        """A whole release answers, nothing acknowledged is lost, no version is half made, no release lacks bytes."""
        faults = [*self._service_faults(), *_feedback_faults(self.home, self.acknowledged), *_file_faults(self.home)]
        self.broken += [f"{point}: {fault}" for fault in faults]

    def _statement(self) -> str:
        day = 1 + self.asked // (3 * SMALL.questions)
        drawn = source_pairs(self.home, asked_recipe(SMALL, 1, "users", day), lambda *_: None)
        return drawn[self.asked % len(drawn)][0].statement

    def _reach(self, night: "subprocess.Popen[bytes]", log: Path, point: Point) -> bool:
        """Wait until the stage has begun; False where the night ended without it."""
        deadline = time.monotonic() + _NIGHT_SECONDS
        while f"] {point.stage} " not in log.read_text(errors="replace"):
            if night.poll() is not None or time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        time.sleep(point.delay)
        return night.poll() is None

    def _strike(self, night: "subprocess.Popen[bytes]", point: Point) -> None:
        if point.victim == "run":
            night.kill()
        elif point.victim == "stage":
            for child in _workers(night.pid):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            # The night says that its stage was killed, and ends.
            with contextlib.suppress(subprocess.TimeoutExpired):
                night.wait(60)
        elif point.victim == "service":
            self.service.process.kill()
            self.service.process.wait()
            self.service = start_service(self.home, LLM, self.folder / "service.log", require_key=False)
            night.wait(_NIGHT_SECONDS)
        else:
            with _daemon(self.home, self.folder / "daemon.log") as daemon:
                time.sleep(1.0)
                daemon.kill()
            night.wait(_NIGHT_SECONDS)

    def _service_faults(self) -> Iterator[str]:
        try:
            reply = self.service.ask(LLM, "Ann has 3 apples and buys 4 more. How many apples has Ann?", mode="off")
            if not reply["choices"][0]["message"]["content"]:
                yield "the service answers nothing"
        except (SimulationError, OSError) as error:
            yield f"the service does not answer: {error}"

    def _outcome(self) -> str:
        with open_database(self.home) as database:
            attempts = list_attempts(database, LLM, 1)
        return attempts[0].outcome if attempts else "none"

    def _variables(self) -> dict[str, str]:
        return {**os.environ, "RJEPA_HOME": str(self.home.root), "RJEPA_THREADS": "1", "RJEPA_DATABASE_URL": ""}


@contextlib.contextmanager
def open_loop(home: Home, folder: Path) -> Iterator[Loop]:
    """A loop in a home that serves a release."""
    folder.mkdir(parents=True, exist_ok=True)
    limits = {"min_interactions": 1, "max_attempts": 100, "max_failures": 100, "failure_window_minutes": 1.0}
    with open_database(home) as database:
        change_settings(database, limits, who="kills")
    loop = Loop(home, folder, start_service(home, LLM, folder / "service.log", require_key=False))
    try:
        yield loop
    finally:
        loop.service.process.kill()
        loop.service.process.wait()


def draw_points(count: int, seed: int) -> list[Point]:
    """Points in the order of the stages, round and round: a night goes on from each kill to the next. Of a heavy stage
    the night's process dies, or the stage's own.
    """
    rng = random.Random(seed)
    points = []
    for number in range(count):
        stage, delay = STAGES[number % len(STAGES)], round(rng.choice((0.0, 0.05, 0.3, 1.0, 3.0)) * rng.random(), 3)
        victim: Victim = "stage" if stage in HEAVY and rng.random() < 0.5 else "run"
        points.append(Point(victim, stage, delay))
    return points


def _workers(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(pid).children(recursive=True)
        return [child for child in children if any(name in " ".join(_command(child)) for name in _WORKERS)]
    return []


def _command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return [str(word) for word in process.cmdline()]
    return []


@contextlib.contextmanager
def _daemon(home: Home, log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """Dagster's daemon, which looks after sensors and schedules."""
    with open_instance(home):
        pass  # writes the instance's dagster.yaml
    with log.open("ab") as stream:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "dagster", "daemon", "run", "-w", str(REPOSITORY / "workspace.yaml")],
            cwd=home.dagster,
            env={**os.environ, "RJEPA_HOME": str(home.root), "DAGSTER_HOME": str(home.dagster)},
            stdout=stream,
            stderr=stream,
            stdin=subprocess.DEVNULL,
        )
    try:
        time.sleep(8.0)
        yield daemon
    finally:
        daemon.kill()
        daemon.wait()


def _feedback_faults(home: Home, acknowledged: list[str]) -> Iterator[str]:
    with open_database(home) as database:
        kept = {one.interaction_id for one in list_interactions(database) if one.content is not None}
        voted = {vote.interaction_id for vote in list_votes(database) if vote.vote == "up"}
    if lost := [name for name in acknowledged if name not in kept or name not in voted]:
        yield f"{len(lost)} acknowledged votes are lost: {lost[:3]}"


def _file_faults(home: Home) -> Iterator[str]:
    for name in dataset_names(home):
        if (home.dataset(name) / MANIFEST).exists():
            try:
                verify_dataset(home, name)
            except RjepaError as error:
                yield f"version {name} is half made: {error}"
    try:
        verify(home, LLM, require_current(home, LLM))
        for manifest in list_releases(home, LLM):
            verify(home, LLM, manifest.release_id)
    except RjepaError as error:
        yield f"a release lacks bytes: {error}"


def summary(loop: Loop, points: int) -> dict[str, Any]:
    """Figures of a campaign."""
    whole = [outcome for outcome in loop.outcomes if outcome in ("promoted", "refused")]
    return {
        "kill_points": points,
        "broken": len(loop.broken),
        "unbroken": int(not loop.broken),
        "acknowledged": len(loop.acknowledged),
        "nights_completed": len(whole),
        "every_night_completed": int(bool(whole) and "failed" not in loop.outcomes),
    }
