"""What can be wrong with a teacher, and with one call to it."""

from rjepa.errors import RjepaError


class TeacherError(RjepaError):
    """An endpoint cannot be used: its address, its key or its model is refused, or what it may spend is used up."""


class CallError(Exception):
    """One call came to nothing. `reason` is machine readable; `final` means that no other call will do better."""

    def __init__(self, reason: str, detail: str = "", *, final: bool = False) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail, self.final = reason, detail, final
