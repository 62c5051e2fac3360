"""What an answer costs, counted in one place so that modes are compared at equal cost."""

from rjepa.values import FrozenValue


class Cost(FrozenValue):
    """The work behind one answer, or behind several: costs add up."""

    tokens_generated: int = 0
    tokens_read: int = 0
    """Tokens of prompts and of prefixes that were read anew; a prompt that candidates share is read once."""
    forward_passes: int = 0
    """Passes of the student in which this question took part."""
    world_model_passes: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        sums = {name: getattr(self, name) + getattr(other, name) for name in type(self).model_fields}
        return Cost(**sums)
