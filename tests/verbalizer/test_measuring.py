"""What is measured of spoken steps, on the small decoder; and gaps in chains."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rjepa.step_types import segment_types
from rjepa.students.extraction import extract_latents
from rjepa.verbalizer.checkpoint import load_decoder
from rjepa.verbalizer.infilling import expected_segments, with_gaps
from rjepa.verbalizer.measuring import is_valid_step, measure_spoken, report_table
from rjepa.verbalizer.model import build_decoder
from tests.verbalizer.small import Small, config


def test_observed_steps_are_spoken_better_than_those_of_no_latent_or_of_others(material: Small, trained: Path) -> None:
    decoder = load_decoder(trained)
    found = measure_spoken(decoder, material.texts(config()), material.problems, material.chains, material.latents)
    rows = {one.source: one for one in found if one.domain == "all"}
    assert set(rows) == {"observed", "expected", "zeroed", "shuffled", "other_problem"}
    assert {one.domain for one in found} == {"all", "math"} and rows["observed"].steps == 2 * len(material.chains)
    assert rows["observed"].exact > max(rows["zeroed"].exact, rows["shuffled"].exact)
    assert all(one.valid_low <= one.valid <= one.valid_high for one in found)
    assert report_table(found).count("\n") == 1 + len(found)


def test_a_plain_language_model_is_measured_without_latents(material: Small) -> None:
    texts = material.texts(config("plain"))
    decoder = build_decoder(config("plain"), texts.vocabulary, material.latents.width).eval()
    found = measure_spoken(decoder, texts, material.problems, material.chains, material.latents)
    assert {one.source for one in found} == {"none"}


def test_a_step_is_valid_where_the_checker_finds_no_error_up_to_it(material: Small) -> None:
    problem, chain = material.problems[0], material.chains[0]
    assert is_valid_step(problem, chain, 0, chain.steps[0])
    assert not is_valid_step(problem, chain, 0, "Mia has 3 + 4 = 9")
    assert not is_valid_step(problem, chain, 1, "")


def test_what_is_expected_at_a_gap_does_not_depend_on_what_stands_in_it(material: Small) -> None:
    problem, chain = material.problems[0], material.chains[0]
    text = f"Step 2: {chain.steps[1]}\n"
    (read,) = extract_latents(material.student, [problem.statement], [text])
    assert read is not None
    rows = with_gaps(read.latents, [1])
    assert len(rows) == len(read.latents) + 1 and not rows[1].any() and np.array_equal(rows[2], read.latents[1])
    expected = expected_segments(*material.world_model, read, segment_types(text, len(read.latents)), [1])
    assert expected.shape == (1, material.latents.width) and torch.isfinite(expected).all()
    with pytest.raises(ValueError, match="a gap between"):
        with_gaps(read.latents, [5])
