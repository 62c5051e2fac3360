"""From two students' latents to an R-JEPA that was carried, or grown: what lies where, and what is opened."""

import dataclasses
import functools
import shutil
from pathlib import Path

import numpy as np
import pytest

from rjepa.adapters.adapter import read_facts
from rjepa.adapters.carrying import build_adapter
from rjepa.adapters.in_use import carried_folder, in_use, put_in_use
from rjepa.adapters.opening import files_in_use, open_world_model
from rjepa.adapters.stage import fit_adapter
from rjepa.adapters.transferring import build_transferred, grow_source
from rjepa.errors import CorruptError, InvalidInputError, NotFoundError
from rjepa.files import read_json, sha256_file, write_json
from rjepa.home import Home
from rjepa.inference.scoring import segment_energies
from rjepa.jepa.model import build_model
from rjepa.jepa.reader import Reader
from rjepa.jepa.stage import (
    build_normalizer,
    model_folder,
    normalizer_file,
    open_checkpoint,
    read_diagnostics,
    read_diagnostics_in,
)
from rjepa.jepa.trainer import train
from rjepa.latents.normalizer import load_normalizer
from rjepa.latents.shards import open_latents
from rjepa.stages import Made
from tests.adapters.students import TARGET_WIDTH, as_read_by_the_target
from tests.jepa.synthetic import synthetic_set, tiny_config, write_shards

DATASET = "v1.0.0"
PROBLEMS, TRAIN = 180, 140


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Made]:
    """Latents of two students, an R-JEPA of `one`, and an adapter from it to `two`. Read only."""
    home = Home(tmp_path_factory.mktemp("carrying") / "home")
    chains = synthetic_set(PROBLEMS, seed=1)
    splits = ["train" if int(name.split("-")[1]) < TRAIN else "validation" for name in chains.problem_ids]
    chains = dataclasses.replace(chains, splits=splits)
    write_shards(home, "one", DATASET, chains, fingerprint="1" * 64)
    write_shards(home, "two", DATASET, as_read_by_the_target(chains), fingerprint="2" * 64)
    for llm_tag in ("one", "two"):
        build_normalizer(home, llm_tag, DATASET)
    latents, folder = open_latents(home, "one", DATASET), model_folder(home, "one", DATASET)
    config = tiny_config(poolings=("mean",), optim={"updates": 70, "learning_rate": 4e-3, "checkpoint_every": 70})
    normalizer = load_normalizer(normalizer_file(home, "one", DATASET))
    train(config, latents.split("train"), latents.split("validation"), normalizer, folder)
    write_json(folder / "config.json", config.model_dump(mode="json"))
    with pytest.MonkeyPatch.context() as quick:
        # Every fit is tried in `test_choosing`; one of the quick ones is enough here.
        quick.setattr("rjepa.adapters.carrying.fit_adapter", functools.partial(fit_adapter, methods=["ridge"]))
        return home, build_adapter(home, "two", DATASET, "one", 0.5)


@pytest.fixture
def home(built: tuple[Home, Made], tmp_path: Path) -> Home:
    """A copy that a test may change."""
    shutil.copytree(built[0].root, tmp_path / "home")
    return Home(tmp_path / "home")


def test_a_carried_r_jepa_is_opened_where_one_of_the_students_own_would_be(built: tuple[Home, Made]) -> None:
    home, made = built
    model, reader = open_world_model(home, "two", DATASET)
    assert reader.width == TARGET_WIDTH and model.width == open_latents(home, "one", DATASET).width
    held_out = open_latents(home, "two", DATASET).split("validation")
    energies = segment_energies(model, reader, held_out)
    places = held_out.first_error
    right = np.mean([one.mean() for one, place in zip(energies, places, strict=True) if place < 0])
    broken = np.mean([one[place - 1] for one, place in zip(energies, places, strict=True) if place > 0])
    assert broken > 1.1 * right, "wrong steps surprise through the adapter"
    found = read_diagnostics_in(files_in_use(home, "two", DATASET).model)
    assert found.skill_over_mean > 0, "it is measured on the target's own latents"
    facts = read_facts(carried_folder(home, "two", DATASET) / "adapter")
    assert (facts.source.llm_tag, facts.target.llm_tag, facts.share) == ("one", "two", 0.5)
    assert facts.problems == TRAIN // 2
    figures = made.report.metadata
    assert figures["source"] == "one" and figures["skill_over_mean"] == pytest.approx(found.skill_over_mean)
    assert "| fit |" in made.texts["fits"] and made.images["plot_fits"].startswith(b"\x89PNG")


def test_what_was_carried_stays_though_the_source_is_trained_again_or_goes(home: Home) -> None:
    before = files_in_use(home, "two", DATASET).sha256()
    shutil.rmtree(home.models("one", DATASET))
    open_world_model(home, "two", DATASET)
    assert files_in_use(home, "two", DATASET).sha256() == before


def test_without_one_of_its_own_the_other_choice_is_refused_with_what_makes_one(home: Home) -> None:
    put_in_use(home, "two", DATASET, "native")
    with pytest.raises(NotFoundError, match="no trained R-JEPA") as refused:
        open_world_model(home, "two", DATASET)
    assert "rjepa_checkpoint" in refused.value.cure


def test_an_adapter_for_the_student_as_it_was_is_refused(home: Home) -> None:
    path = carried_folder(home, "two", DATASET) / "adapter" / "adapter.json"
    facts = read_json(path)
    facts["facts"]["target"]["fingerprint"] = "9" * 64
    write_json(path, facts)
    with pytest.raises(InvalidInputError, match="fitted for two as it was") as refused:
        open_world_model(home, "two", DATASET)
    assert "materialise adapter" in refused.value.cure


def test_half_of_what_was_carried_is_refused(home: Home) -> None:
    (carried_folder(home, "two", DATASET) / "adapter" / "adapter.safetensors").write_bytes(b"cut short")
    with pytest.raises(CorruptError, match=r"adapter\.safetensors"):
        open_world_model(home, "two", DATASET)


def test_a_transfer_begins_better_than_nothing_and_learns_from_its_share(home: Home) -> None:
    grown = grow_source(home, "two", DATASET, "one", 0.2)
    assert len(grown.problems) == TRAIN // 5
    trained = build_transferred(home, "two", DATASET, "one", 0.2)
    figures = trained.report.metadata
    assert (figures["grown_from"], figures["share"], figures["problems"]) == ("one", 0.2, TRAIN // 5)
    assert figures["chains"] == TRAIN // 5, "right chains of its problems alone"
    model, reader = open_checkpoint(home, "two", DATASET)
    assert model.config.encoder == open_checkpoint(home, "one", DATASET)[0].config.encoder
    held_out = open_latents(home, "two", DATASET).split("validation")
    right = held_out.select(held_out.first_error < 0)
    nothing = build_model(grown.model.config, TARGET_WIDTH, grown.model.domain_names).eval()
    at_first, untrained = (
        np.mean(np.concatenate(segment_energies(one, Reader.of(one.config, reader.normalizer), right)))
        for one in (grown.model, nothing)
    )
    assert at_first < 0.8 * untrained
    assert figures["start_energy"] == pytest.approx(at_first, rel=0.5), "the run begins there"
    assert read_diagnostics(home, "two", DATASET).skill_over_mean > 0
    # The same again is found, not trained again.
    weights = model_folder(home, "two", DATASET) / "model.safetensors"
    before = sha256_file(weights), weights.stat().st_mtime_ns
    build_transferred(home, "two", DATASET, "one", 0.2)
    assert (sha256_file(weights), weights.stat().st_mtime_ns) == before
    assert in_use(home, "two", DATASET) == "carried", "which one is in use is for who asked for it to say"
