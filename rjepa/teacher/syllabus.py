"""The syllabus of `configs/teacher/syllabus.yaml`: which subdomains a domain has, and which notions each."""

from functools import cache
from typing import Final

from pydantic import RootModel

from rjepa.configs import CONFIGS, load_config
from rjepa.errors import InvalidInputError


class Syllabus(RootModel[dict[str, dict[str, list[str]]]]):
    """Domain to subdomain to notions."""

    def subdomains(self, domain: str) -> dict[str, list[str]]:
        """Subdomains of a domain with their notions.

        Raises:
            InvalidInputError: the syllabus does not have this domain.
        """
        if domain not in self.root:
            raise InvalidInputError(
                f"the syllabus has no domain {domain!r}; it has {', '.join(sorted(self.root))}",
                cure="add the domain to configs/teacher/syllabus.yaml",
            )
        return self.root[domain]

    def notions(self, domain: str) -> list[str]:
        """Every notion of a domain, none for a domain that the syllabus does not have."""
        return [notion for notions in self.root.get(domain, {}).values() for notion in notions]

    def text(self, domain: str) -> str:
        """The domain's part of the syllabus for a prompt."""
        return "\n".join(f"- {name}: {', '.join(notions)}" for name, notions in self.subdomains(domain).items())


_PATH: Final = CONFIGS / "teacher" / "syllabus.yaml"


@cache
def load_syllabus() -> Syllabus:
    """The repository's syllabus."""
    return load_config(_PATH, Syllabus)
