"""The error of every reader of answers."""


class UnreadableError(ValueError):
    """The text cannot surely be read."""
