"""Where the hostile tests may run: bubblewrap that works. Skipped elsewhere, with the reason that a user would read."""

import pytest

from rjepa.validation.sandbox import SandboxUnavailableError, require_sandbox


def _complaint() -> str:
    try:
        require_sandbox()
    except SandboxUnavailableError as error:
        return error.problem
    return ""


needs_sandbox = pytest.mark.skipif(bool(_complaint()), reason=_complaint())
