"""The curriculum: our own generator of verifiable problems with worked steps, in three domains.

`generate_problems` makes problems with their gold chains; `corrupt` makes a chain wrong at a known step. Whether a
chain is right is judged in `rjepa.validation.curriculum`.
"""

from rjepa.problems.curriculum.corrupt import CORRUPTIONS, corrupt
from rjepa.problems.curriculum.generate import CURRICULUM_DOMAINS, EQUAL_WEIGHTS, generate_problems

__all__ = ["CORRUPTIONS", "CURRICULUM_DOMAINS", "EQUAL_WEIGHTS", "corrupt", "generate_problems"]
