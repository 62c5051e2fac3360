"""What is measured of spoken steps, on the small decoder; and gaps in chains."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rjepa.chains import parse_chain
from rjepa.sampling.opening import source_of
from rjepa.step_types import segment_types
from rjepa.students.extraction import extract_latents
from rjepa.students.sampled import GREEDY
from rjepa.verbalizer.checkpoint import load_decoder
from rjepa.verbalizer.infilling import expected_segments, with_gaps
from rjepa.verbalizer.measuring import (
    SOURCES,
    HeldOutStep,
    SpokenReport,
    held_out_steps,
    is_valid_step,
    measure_spoken,
    report_table,
    spoken_from,
)
from rjepa.verbalizer.model import Decoder, build_decoder
from rjepa.verbalizer.rereading import next_steps, read_again, variance_explained
from tests.verbalizer.small import Small, config


def _measured(decoder: Decoder, material: Small) -> list[SpokenReport]:
    texts, student = material.texts(decoder.config), (source_of(material.student), material.world_model[1])
    return measure_spoken(decoder, texts, material.problems, material.chains, material.latents, student)


def _steps(material: Small, trained: Path) -> list[HeldOutStep]:
    decoder = load_decoder(trained)
    texts = material.texts(config())
    return held_out_steps(decoder, texts, material.problems, material.chains, material.latents)["observed"]


def _first(step: HeldOutStep) -> str:
    return step.chain.steps[0]


def test_observed_steps_are_spoken_better_than_those_of_no_latent_or_of_others(material: Small, trained: Path) -> None:
    decoder = load_decoder(trained)
    found = _measured(decoder, material)
    rows = {one.source: one for one in found if one.domain == "all"}
    assert set(rows) == {"observed", "expected", "zeroed", "shuffled", "other_problem", "student"}
    assert {one.domain for one in found} == {"all", "math"} and rows["observed"].steps == 2 * len(material.chains)
    assert rows["observed"].exact > max(rows["zeroed"].exact, rows["shuffled"].exact)
    assert all(one.valid_low <= one.valid <= one.valid_high for one in found)
    assert report_table(found).count("\n") == 1 + len(found)
    # Its words, read again, are nearer to what was spoken than words that knew nothing of it are to the right step.
    assert rows["observed"].round_trip is not None and rows["observed"].recovered == rows["observed"].round_trip
    assert rows["observed"].recovered > (rows["shuffled"].recovered or 0)
    assert rows["zeroed"].round_trip is None and rows["student"].round_trip is None


def test_each_source_speaks_the_latent_that_its_name_says(material: Small, trained: Path) -> None:
    decoder, texts = load_decoder(trained), material.texts(config())
    steps = held_out_steps(decoder, texts, material.problems, material.chains, material.latents)
    own = {source: [step.line.latents[-1] for step in spoken_from(steps, source)] for source in SOURCES}
    _, expected = texts.latents_of(np.arange(len(texts.tokens)))
    wanted = expected[[place for place in range(len(expected)) if (place + 1) % 3]]  # without the answer lines
    assert torch.equal(torch.stack(own["expected"]), wanted)
    assert torch.equal(torch.stack(own["observed"]), torch.stack(own["student"]))
    assert not torch.stack(own["zeroed"]).any()
    for control in ("shuffled", "other_problem"):
        assert not torch.equal(torch.stack(own[control]), wanted)
        assert all(any(torch.equal(latent, one) for one in wanted) for latent in own[control])


def test_a_plain_language_model_is_measured_without_latents(material: Small) -> None:
    texts = material.texts(config("plain"))
    decoder = build_decoder(config("plain"), texts.vocabulary, material.latents.width).eval()
    assert {one.source for one in _measured(decoder, material)} == {"none", "student"}


def test_the_student_s_own_next_step_is_what_it_writes_after_the_right_ones(material: Small, trained: Path) -> None:
    source = source_of(material.student)
    seconds = [step for step in _steps(material, trained) if step.number == 1]
    statements = [step.problem.statement for step in seconds]
    words = next_steps(source, statements, [step.line for step in seconds])
    chains = source.sample(statements, [GREEDY], seed=0, capture=False)
    alone = [parse_chain(of_one[0].text).steps for of_one in chains]
    same = [
        (said, steps[1]) for said, steps, step in zip(words, alone, seconds, strict=True) if _first(step) == steps[0]
    ]
    assert same and all(said == second for said, second in same)


def test_the_right_words_read_again_are_the_right_latents(material: Small, trained: Path) -> None:
    student = source_of(material.student), material.world_model[1]
    steps = _steps(material, trained)
    chains = [[*step.chain.steps[: step.number], step.text] for step in steps]
    own = torch.stack([step.line.latents[-1] for step in steps])
    again = read_again(*student, [step.problem.statement for step in steps], chains)
    assert variance_explained(again, own) == pytest.approx(1, abs=1e-3)
    assert variance_explained(own.mean(dim=0).expand_as(own), own) == pytest.approx(0, abs=1e-6)
    without = read_again(*student, [steps[0].problem.statement], [["", ""]])
    assert not without.any()


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
