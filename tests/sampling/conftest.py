"""The same small dataset and taught student as the latents' tests."""

from tests.latents.conftest import home, taught

__all__ = ["home", "taught"]
