"""Simulated nights over the real things: users ask and vote through the real service, nights are real nights.

Who asks what and what goes wrong stands in `rjepa.living.simulation`. Stopped or killed, the same command goes on:
what was asked is written down line by line, a night goes on by itself, and what was measured is kept.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from rjepa.chains import parse_chain
from rjepa.database import Database, open_database
from rjepa.datasets.building import build_dataset
from rjepa.datasets.recipe import dataset_names, load_recipe
from rjepa.datasets.sources import source_pairs
from rjepa.datasets.versions import create_version, next_version, register_recipe
from rjepa.evaluation.stage import open_split
from rjepa.feedback.evidence import gather
from rjepa.feedback.records import Decision
from rjepa.feedback.reviews import review
from rjepa.feedback.selection import select
from rjepa.files import read_json, write_json
from rjepa.home import Home
from rjepa.jepa.reader import Reader
from rjepa.keys import create_key
from rjepa.latents.normalizer import load_normalizer
from rjepa.latents.rollouts import Rollouts
from rjepa.latents.worker import StudentTask, run_task
from rjepa.living.attempts import list_attempts
from rjepa.living.joined import read_joined
from rjepa.living.sealed import live_set, retire
from rjepa.living.settings import LONGEST_RATE, LearningSettings, change_settings
from rjepa.living.simulation.measuring import Measured, measure, measure_release
from rjepa.living.simulation.script import (
    BASE,
    LABELLED,
    MEASURED,
    POISONER,
    USERS,
    WITHDRAWS,
    Scene,
    Size,
    User,
    asked_recipe,
    base_recipe,
    labelled_recipe,
    measured_recipe,
)
from rjepa.living.simulation.telling import SimulatedNight, draw, figures
from rjepa.living.simulation.unfiltered import approvals, retrain_on_everything
from rjepa.parts import MODEL_FOLDER, NORMALIZER
from rjepa.progress import Progress
from rjepa.releases.bundle import load_manifest, release_folder
from rjepa.releases.pointer import require_current
from rjepa.schemas import Problem
from rjepa.students.catalog import load_record
from rjepa.students.loading import Student, load_student, resolve_student
from rjepa.validation.judge import judge
from rjepa_assets.launching import NightChoices
from rjepa_assets.simulated_clients import Service, SimulationError, service

LLM: Final = "tiny-a"
_MADE_UP: Final = 5
"""Answers that were never given, and that the poisoner votes on all the same."""
_LIMITS: Final = {"enabled": True, "min_interactions": 5, "max_attempts": 100, "max_failures": 100}
"""Seven days pass in an hour here, and a limit of three nights a day would end them."""


@dataclass
class World:
    """A home of its own, its service, and who may use it."""

    home: Home
    size: Size
    seed: int
    folder: Path
    say: Callable[[str], None]
    night: Callable[[NightChoices], tuple[str, str]]
    """runs one night; outcome and text"""

    @property
    def keys(self) -> dict[str, str]:
        """A key for everybody, by name; made once."""
        path = self.folder / "keys.json"
        if not path.exists():
            with open_database(self.home) as database:
                names = [user.name for user in (*USERS, POISONER)]
                write_json(path, {name: create_key(database, name, "user")[0] for name in names})
        return dict(read_json(path))


def simulate(world: World, progress: Progress) -> dict[str, Any]:
    """All days and nights of a size, from where the last run was stopped; the figures, also in `figures.json`.

    The first release has to be served (`prepare` makes its data, Dagster the rest).
    """
    student = load_student(resolve_student(world.home, load_record(world.home, LLM)), device="cpu")
    measured = _measured_rollouts(world)
    first = _remember(world, "first", lambda: {"release": require_current(world.home, LLM)})["release"]
    nights = []
    for day, scene in enumerate(world.size.scenes, 1):
        progress(day - 1, len(world.size.scenes), f"day {day}: {scene.events}")
        nights.append(_day(world, day, scene, student, measured, first))
    progress(len(world.size.scenes), len(world.size.scenes), "")
    found = {"size": world.size.name, "seed": world.seed, **figures(nights)}
    write_json(world.folder / "figures.json", found)
    (world.folder / "nights.png").write_bytes(draw(nights, world.size.scenes))
    return found


def prepare(home: Home, size: Size, seed: int) -> None:
    """Register the data of the simulation, and make the problems that arms are measured on."""
    measured = measured_recipe(size, seed)
    for recipe in (base_recipe(size, seed), labelled_recipe(size, seed), measured):
        if recipe.name not in dataset_names(home):
            register_recipe(home, recipe)
    build_dataset(home, measured)


def read_nights(folder: Path) -> list[SimulatedNight]:
    """The nights that are over."""
    return [_from_json(read_json(path)) for path in sorted(folder.glob("night-*.json"))]


def _day(world: World, day: int, scene: Scene, student: Student, measured: Rollouts, first: str) -> SimulatedNight:
    path = world.folder / f"night-{day}.json"
    if path.exists():
        return _from_json(read_json(path))
    keys = world.keys  # the service asks for one: they are made before it starts
    with service(world.home, LLM, world.folder / "service.log") as running:
        votes = _ask_and_vote(world, running, day, "users")
        if scene.poison:
            votes += _ask_and_vote(world, running, day, "poisoner")
            _vote_on_nothing(world, running)
        if scene.withdraws:
            running.call("DELETE", "/v1/me/contributions", keys[WITHDRAWS])
    with open_database(world.home) as database:
        _operate(world, database, day, scene)
        begun = time.monotonic()
        outcome, text = _night(world, database, day, scene)
        seconds = time.monotonic() - begun
        served = require_current(world.home, LLM)
        living = measure_release(world.home, LLM, served, measured)
        never = measure_release(world.home, LLM, first, measured)
        unfiltered = _unfiltered(world, database, day, student, measured, first)
        version = _version(world, database)
    joined = None if version is None else read_joined(world.home, version)
    honest = [vote for vote in votes if vote["who"] != POISONER.name]
    night = SimulatedNight(
        night=day,
        events=scene.events,
        outcome=outcome,
        text=text,
        served=served,
        seconds=seconds,
        funnel={} if joined is None else joined.figures,
        lies=float(np.mean([vote["lie"] for vote in honest])) if honest else 0.0,
        fates=_fates(world, joined.fates if joined is not None else {}),
        arms={"living": living, "never": never, "unfiltered": unfiltered},
    )
    write_json(path, _to_json(night))
    world.say(f"night {day} ({scene.events}): {outcome}, {night.fates}")
    return night


def _ask_and_vote(world: World, running: Service, day: int, who: str) -> list[dict[str, Any]]:
    """Every question of a day, asked by somebody and voted on; what was asked before is not asked again."""
    path = world.folder / f"asked-{day}-{who}.jsonl"
    done = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    random = np.random.default_rng((world.seed, day, who == "users"))
    recipe = asked_recipe(world.size, day, who, world.seed)
    problems = [problem for problem, _ in source_pairs(world.home, recipe, lambda *_: None)]
    order = random.permutation(len(problems))
    askers = [USERS[int(random.integers(len(USERS)))] if who == "users" else POISONER for _ in problems]
    coins = [np.random.default_rng((world.seed, day, number)) for number in range(len(problems))]
    with path.open("a", encoding="utf-8") as out:
        for number, place in enumerate(order.tolist()):
            if number < len(done):
                continue
            vote = _one(world, running, problems[place], askers[place], coins[number], day * 10_000 + number)
            out.write(json.dumps(vote) + "\n")
            out.flush()
            done.append(vote)
    return done


def _one(
    world: World, running: Service, problem: Problem, user: User, coin: np.random.Generator, seed: int
) -> dict[str, Any]:
    """One question, its answer, and the vote on it."""
    poisons = user.name == POISONER.name
    options: dict[str, Any] = {"mode": "off"} if poisons else {"num_candidates": world.size.candidates}
    key = world.keys[user.name]
    reply = running.ask(LLM, problem.statement, key, seed=seed, **options)
    chain = parse_chain(reply["choices"][0]["message"]["content"])
    is_right = judge(problem, chain.steps, chain.final_answer).is_correct
    vote = user.vote(is_right, coin)
    running.call("POST", "/v1/feedback", key, {"id": reply["id"], "vote": vote})
    lie = (vote == "up") != is_right
    return {"id": reply["id"], "who": user.name, "domain": problem.domain, "right": is_right, "vote": vote, "lie": lie}


def _vote_on_nothing(world: World, running: Service) -> None:
    """Votes on answers that were never given have to be refused."""
    for number in range(_MADE_UP):
        body = {"id": f"chatcmpl-{number:032x}", "vote": "up", "consent": True}
        try:
            running.call("POST", "/v1/feedback", world.keys[POISONER.name], body)
        except SimulationError:
            continue
        raise SimulationError("a vote on an answer that was never given was taken", cure="mend serving/feedback.py")


def _operate(world: World, database: Database, day: int, scene: Scene) -> None:
    """What the operator does before the night: settings, labelled problems, reviews."""
    rate = LONGEST_RATE if scene.broken else scene.learning_rate
    ceiling = max(rate, LearningSettings().learning_rate_ceiling)
    decay = 1.0 if scene.broken else LearningSettings().learning_rate_decay
    changes = {**_LIMITS, "learning_rate": rate, "learning_rate_ceiling": ceiling, "learning_rate_decay": decay}
    change_settings(database, changes, who="simulation")
    if scene.labelled:
        served = load_manifest(world.home, LLM, require_current(world.home, LLM)).dataset
        known = _remember(world, "labelled", lambda: {"version": next_version(world.home, removes=False)})["version"]
        create_version(world.home, known, parent=served, adds=[LABELLED])
        build_dataset(world.home, load_recipe(world.home, known))
        _remember(world, "resealed", lambda: _reseal(world.home))
    _remember(world, f"reviewed-{day}", lambda: _review(world, database))


def _reseal(home: Home) -> dict[str, Any]:
    """A sealed set from before a family arrived has no problem of it, and no gate could see it learnt."""
    live = live_set(home, LLM)
    if live is not None:
        retire(home, LLM, live.name, "a new family was labelled")
    return {"retired": None if live is None else live.name}


def _review(world: World, database: Database) -> dict[str, Any]:
    """The operator looks at the first answers of the queue, knowing what is right; the oldest first."""
    votes = _votes(world)
    parent = load_manifest(world.home, LLM, require_current(world.home, LLM)).dataset
    waiting = select(gather(world.home, database, parent)).review[-world.size.reviews :]
    for one in waiting:
        is_right = one.interaction_id in votes and votes[one.interaction_id]["right"]
        decision: Decision = "accept" if is_right else "reject"
        review(database, one.interaction_id, decision, "operator")
    return {"reviewed": len(waiting)}


def _night(world: World, database: Database, day: int, scene: Scene) -> tuple[str, str]:
    """The night; one that ended before this command was stopped is not had again."""
    before = _remember(world, f"nights-before-{day}", lambda: {"count": len(list_attempts(database, LLM))})["count"]
    attempts = list_attempts(database, LLM)
    new = [attempt for attempt in attempts[: len(attempts) - before] if attempt.outcome in ("promoted", "refused")]
    if new:
        return new[0].outcome, new[0].text
    return world.night(NightChoices(sealed_problems=world.size.sealed, claim=scene.claim))


def _version(world: World, database: Database) -> str | None:
    attempts = list_attempts(database, LLM, 1)
    return attempts[0].dataset if attempts and attempts[0].dataset is not None else None


def _unfiltered(
    world: World, database: Database, day: int, student: Student, measured: Rollouts, first: str
) -> Measured:
    """The rival's night, in a folder of its own."""
    folder = world.folder / "unfiltered"
    bundle = release_folder(world.home, LLM, first)
    start = folder / str(day - 1) if day > 1 else bundle / MODEL_FOLDER
    known = read_json(folder / f"known-{day - 1}.json") if day > 1 else []
    approved = approvals(database)
    normalizer = load_normalizer(bundle / NORMALIZER)
    version = _version(world, database) or BASE
    calibrated_on = version if (world.home.rollouts(LLM, version) / "manifest.json").exists() else BASE
    model, calibration = retrain_on_everything(
        world.home,
        student,
        start,
        frozenset(known),
        approved,
        folder / str(day),
        normalizer,
        base=BASE,
        calibrated_on=calibrated_on,
    )
    write_json(folder / f"known-{day}.json", [one.interaction_id for one in approved])
    return measure((model, Reader.of(model.config, normalizer)), calibration, measured)


def _fates(world: World, fates: Mapping[str, tuple[str, str]]) -> dict[str, int]:
    """What became of the poisoner's approvals, of lies, and of what was withdrawn, among what joined a version."""
    votes = _votes(world)
    accepted = [votes[name] for name, (outcome, _) in fates.items() if outcome == "accepted" and name in votes]
    return {
        "accepted": len(accepted),
        "accepted_wrong": sum(not vote["right"] for vote in accepted),
        "accepted_of_poisoner": sum(vote["who"] == POISONER.name for vote in accepted),
        "accepted_of_withdrawn": sum(vote["who"] == WITHDRAWS for vote in accepted),
    }


def _votes(world: World) -> dict[str, dict[str, Any]]:
    """Every vote that was given so far, by the answer's id."""
    lines = (line for path in world.folder.glob("asked-*.jsonl") for line in path.read_text().splitlines())
    return {vote["id"]: vote for vote in map(json.loads, lines)}


def _measured_rollouts(world: World) -> Rollouts:
    if not (world.home.rollouts(LLM, MEASURED) / "manifest.json").exists():
        run_task(world.home, StudentTask("rollouts", LLM, MEASURED, num_candidates=8), lambda *_: None)
    return open_split(world.home, LLM, MEASURED, "test")


def _remember(world: World, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was found once, however often the command is started."""
    path = world.folder / f"{name}.json"
    if not path.exists():
        write_json(path, make())
    return dict(read_json(path))


def _to_json(night: SimulatedNight) -> dict[str, Any]:
    values = {name: getattr(night, name) for name in SimulatedNight.__dataclass_fields__ if name != "arms"}
    return {**values, "arms": {arm: found.to_json() for arm, found in night.arms.items()}}


def _from_json(values: dict[str, Any]) -> SimulatedNight:
    arms = {arm: Measured.from_json(found) for arm, found in values["arms"].items()}
    return SimulatedNight(**{**values, "arms": arms})
