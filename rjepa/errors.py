"""The one exception root of the project.

Every error a user can meet says what is wrong, what was found against what was expected, and the cure.
`ValueError` stays for a bad argument in code; `RjepaError` is for bad input, bad files and bad state.
"""


class RjepaError(Exception):
    """Something outside the code is wrong. `cure` tells the user how to mend it."""

    def __init__(self, problem: str, *, cure: str) -> None:
        super().__init__(f"{problem}\n  -> {cure}")
        self.problem = problem
        self.cure = cure


class NotFoundError(RjepaError):
    """A tag, dataset, release or file that does not exist."""


class CorruptError(RjepaError):
    """Bytes on disk do not match their recorded hash, count or format."""


class InvalidInputError(RjepaError):
    """Input from a user (a file, a request, an option) that cannot be accepted."""


class TooLongError(InvalidInputError):
    """A text with more tokens than the student's context holds.

    Some clients know it by OpenAI's words alone, "this model's maximum context length is": they are in the cure.
    """


class StorageError(RjepaError):
    """RJEPA_HOME cannot be read or written: permissions, a full disk."""


class BusyError(RjepaError):
    """Another process is at work on the same files."""
