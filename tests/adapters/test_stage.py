"""Fitting an adapter from what lies in a home: what it says of itself, and what is refused."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from rjepa.adapters.stage import fit_adapter
from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.files import sha256_file
from rjepa.home import Home
from rjepa.jepa.checkpoint import save_model
from rjepa.jepa.model import build_model
from rjepa.jepa.stage import build_normalizer, model_folder
from rjepa.latents.shards import open_latents
from rjepa.latents.shares import draw_problems, in_drawing_order
from tests.adapters.students import TARGET_WIDTH, as_read_by_the_target
from tests.jepa.synthetic import WIDTH, synthetic_set, tiny_config, write_shards

DATASET = "v1.0.0"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Latents of 20 problems by two students, and an R-JEPA (with its first weights) of `one`."""
    home = Home(tmp_path_factory.mktemp("stage") / "home")
    chains = synthetic_set(20, seed=1)
    chains = dataclasses.replace(chains, chain_ids=[f"chain-{index}" for index in range(len(chains))])
    write_shards(home, "one", DATASET, chains, fingerprint="1" * 64)
    write_shards(home, "two", DATASET, as_read_by_the_target(chains), fingerprint="2" * 64)
    build_normalizer(home, "one", DATASET)
    save_model(model_folder(home, "one", DATASET), build_model(tiny_config(poolings=("mean",)), WIDTH, ("math",)))
    return home


def test_an_adapter_says_whose_latents_it_maps_and_for_which_r_jepa(home: Home) -> None:
    fitted = fit_adapter(home, "two", DATASET, "one", 0.5, methods=("procrustes", "ridge"))
    facts = fitted.adapter.facts
    assert (facts.source.llm_tag, facts.source.fingerprint, facts.source.width) == ("one", "1" * 64, WIDTH)
    assert (facts.target.llm_tag, facts.target.fingerprint, facts.target.width) == ("two", "2" * 64, TARGET_WIDTH)
    assert facts.model_sha256 == sha256_file(model_folder(home, "one", DATASET) / "model.safetensors")
    assert (facts.problems, facts.share, facts.dataset) == (10, 0.5, DATASET)
    assert facts.method in ("procrustes", "ridge")
    table = fitted.texts["fits"]
    assert table.count("\n| procrustes") + table.count("\n| **procrustes**") == 1
    assert "**" in table


def test_who_has_read_only_the_share_gets_the_adapter_of_who_has_read_all(home: Home) -> None:
    everything = open_latents(home, "two", DATASET)
    drawn = set(draw_problems(in_drawing_order(everything.problem_ids), 0.5))
    read = everything.select(np.flatnonzero([name in drawn for name in everything.problem_ids]))
    write_shards(home, "brief", DATASET, read, fingerprint="2" * 64, share=0.5)
    for share in (0.5, 0.2):
        one, two = (
            fit_adapter(home, tag, DATASET, "one", share, methods=("ridge",)).adapter for tag in ("two", "brief")
        )
        assert one.facts.problems == two.facts.problems == 20 * share
        latents = np.random.default_rng(0).normal(size=(5, TARGET_WIDTH)).astype(np.float32)
        assert np.array_equal(one.read(latents), two.read(latents))
    with pytest.raises(InvalidInputError, match=r"brief has read a share of 0\.5 .* fitted on 0\.6"):
        fit_adapter(home, "brief", DATASET, "one", 0.6)


def test_equal_seeds_give_the_same_adapter(home: Home) -> None:
    latents = np.random.default_rng(0).normal(size=(5, TARGET_WIDTH)).astype(np.float32)
    one, two = (fit_adapter(home, "two", DATASET, "one", 0.2, methods=("mlp",)).adapter for _ in range(2))
    assert np.array_equal(one.read(latents), two.read(latents))


def test_what_cannot_be_fitted_is_refused_with_the_reason(home: Home, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="one is both"):
        fit_adapter(home, "one", DATASET, "one", 0.5)
    with pytest.raises(NotFoundError, match="three"):
        fit_adapter(home, "three", DATASET, "one", 0.5)
    with pytest.raises(NotFoundError):
        fit_adapter(home, "one", DATASET, "two", 0.5)
    with pytest.raises(ValueError, match="share"):
        fit_adapter(home, "two", DATASET, "one", 0.0)
