"""`python -m tests.serving.feedback_server HOME`: a service over the fake engine in a process of its own, to be killed.

It prints its address once it answers.
"""

import sys
import time
from pathlib import Path

from rjepa.home import Home
from serving.app import create_app
from serving.settings import ServiceSettings

from .fakes import fake_loader, running, wait_for_release


def main() -> None:
    home = Home(Path(sys.argv[1]))
    app = create_app(ServiceSettings(home=home.root, reload_seconds=0.05), fake_loader(home))
    with running(app) as address:
        wait_for_release(app)
        print(address, flush=True)
        while True:
            time.sleep(1)


if __name__ == "__main__":
    main()
