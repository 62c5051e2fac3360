import numpy as np

from rjepa.chains import parse_chain
from rjepa.reasoning.candidates import step_energies

DRAFTED = "Step 1: Count.\nAnswer: 3\nStep 2: Add two.\nAnswer: 5\n"
"""Its second line is a step of the chain, though alone it reads as an answer."""


def test_each_step_and_the_answer_have_the_energy_of_their_segment() -> None:
    assert parse_chain(DRAFTED, "punctuation").steps == ["Count.", "Answer: 3", "Add two."]
    assert step_energies(DRAFTED, np.array([1.0, 2.0, 3.0, 4.0]), "punctuation") == ([1.0, 2.0, 3.0], 4.0)


def test_a_step_without_words_has_a_segment_but_no_energy_to_show() -> None:
    text = "Step 1: Count.\nStep 2:\nStep 3: Add.\n"
    assert step_energies(text, np.array([1.0, 2.0, 3.0]), "guided") == ([1.0, 3.0], None)
