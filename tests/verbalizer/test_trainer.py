"""Training of decoders: it learns, stops anywhere, and ends in the same bits."""

from pathlib import Path

import pytest

from rjepa.errors import InvalidInputError
from rjepa.files import sha256_file
from rjepa.verbalizer.config import Form
from rjepa.verbalizer.texts import ChainTokens
from tests.verbalizer.small import Small, config


class Killed(Exception):
    """The process is gone."""


@pytest.mark.parametrize("form", ("latent", "reading", "plain"))
def test_the_loss_falls_and_is_measured_on_held_out_chains(material: Small, tmp_path: Path, form: Form) -> None:
    report = material.train(config(form, updates=30), tmp_path)
    assert report.curve[-1]["total"] < 0.9 * report.curve[0]["total"]
    assert report.validation[-1]["update"] == 30 and report.validation[-1]["observed"] > 0
    assert report.chains == len(material.tokens) and report.vocabulary > 10


@pytest.mark.parametrize("stopped_after", (3, 5, 12))
def test_a_killed_training_ends_in_the_same_bits(material: Small, tmp_path: Path, stopped_after: int) -> None:
    wanted = material.train(config(updates=15), tmp_path / "whole")

    def kill(done: int, total: int, note: str = "") -> None:
        if done == stopped_after:
            raise Killed

    with pytest.raises(Killed):
        material.train(config(updates=15), tmp_path / "killed", progress=kill)
    found = material.train(config(updates=15), tmp_path / "killed")
    assert found.data_version == wanted.data_version == sha256_file(tmp_path / "killed" / "model.safetensors")
    assert found.curve == wanted.curve and found.validation == wanted.validation


def test_a_finished_training_is_not_repeated_and_another_config_starts_over(material: Small, tmp_path: Path) -> None:
    first = material.train(config(updates=5), tmp_path)
    told: list[str] = []
    again = material.train(config(updates=5), tmp_path, progress=lambda done, total, note="": told.append(note))
    assert again == first and told == ["already trained"]
    assert material.train(config(updates=5, seed=1), tmp_path).data_version != first.data_version


def test_without_right_chains_there_is_nothing_to_learn(material: Small, tmp_path: Path) -> None:
    none = ChainTokens(material.tokens.chains[:1], material.tokens.tokens[:1], material.tokens.bounds[:1])
    lonely = Small(material.problems, material.chains, material.latents, none, material.world_model, material.student)
    with pytest.raises(InvalidInputError, match="at least 2"):
        lonely.train(config(), tmp_path)
