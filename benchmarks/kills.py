"""SIGKILL of the daemon, of the night's process, of its stages' processes and of the service, at seeded points over the
loop.

`python -m benchmarks.kills [--points 100] [--seed 0] [--home FOLDER]`. A small home with a release is made first (or,
with --home, taken as it is: a copy of it is used). Points go round the stages: a night is killed in each of its stages,
goes on from every kill, and completes by itself; after each kill everything that must hold is looked at
(`benchmarks.killing`).
"""

import argparse
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.killing import LLM, STAGES, Point, draw_points, open_loop, summary
from benchmarks.subject import report
from rjepa.home import Home
from rjepa.living.simulation.script import BASE, SMALL

BESIDE: Final = 7
"""After so many kills of the night, the service and then the daemon is killed while a night goes on."""
TARGETS: Final = {"unbroken": 1.0, "every_night_completed": 1.0}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills")
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--home", type=Path, help="a home that serves a release of tiny-a; it is copied")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home")
        os.environ |= {"RJEPA_HOME": str(home.root), "RJEPA_DATABASE_URL": "", "RJEPA_THREADS": "1"}
        if options.home is not None:
            shutil.copytree(options.home, home.root)
        else:
            make_home(home)
        points = draw_points(options.points, options.seed)
        with open_loop(home, Path(folder) / "logs") as loop:
            for number, point in enumerate(points, 1):
                if number % len(STAGES) == 1:  # whatever is accepted in between would begin another version
                    loop.give_feedback(4)
                if number % BESIDE == 0:
                    victim = "daemon" if number % (3 * BESIDE) == 0 else "service"
                    point = Point(victim, point.stage, point.delay)
                reached = loop.kill(point)
                fate = "reached" if reached else "not reached: the night had ended"
                print(f"{number}: {point}, {fate}, {len(loop.broken)} broken", flush=True)
                for fault in loop.broken[-3:]:
                    print(f"   {fault}", flush=True)
            loop.finish()
            figures = summary(loop, len(points))
    report("kills", figures, TARGETS)


def make_home(home: Home) -> None:
    """A small home that serves a release."""
    from rjepa_assets.cli.materialising import materialise
    from rjepa_assets.simulating import prepare

    prepare(home, SMALL)
    materialise(home, BASE, LLM, SMALL.recipe)


if __name__ == "__main__":
    main()
