"""What a table calls the row that is over every domain."""

from typing import Final

ALL: Final = "all"
"""The mean over problems, so that large domains weigh more."""
