"""A release whose R-JEPA was trained on another student's latents: every mode works through its adapter."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from rjepa.adapters.adapter import Adapter
from rjepa.adapters.opening import WorldModelFiles
from rjepa.cli.main import build_app
from rjepa.engine import Engine
from rjepa.errors import CorruptError, InvalidInputError
from rjepa.files import read_json, write_json
from rjepa.home import Home
from rjepa.inspecting import judge_chains, read_latents, similarities
from rjepa.masking import MaskedChain, predict_masked
from rjepa.monitoring.releases import read_releases
from rjepa.reasoning.question import ask
from rjepa.releases.bundle import release_folder, verify
from rjepa.releases.going_on import open_start, take_normalizer_from
from rjepa.releases.lineage import lineage
from rjepa.students.loading import Student
from tests.carried_release import SOURCE_WIDTH, adapt
from tests.speaking_release import publish_speaking
from tests.tiny_release import STATEMENT, TAG, register_student, taught_folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Student]:
    root = tmp_path_factory.mktemp("carried")
    home = Home(root / "home")
    student = register_student(home, taught_folder(tmp_path_factory))
    publish_speaking(home, student, root, carry=adapt, updates=10)
    return home, student


@pytest.fixture(scope="module")
def engine(made: tuple[Home, Student]) -> Engine:
    return Engine.load(made[0], TAG, "cpu")


def test_every_mode_answers_through_the_adapter(engine: Engine) -> None:
    assert set(engine.modes) >= {"off", "rerank", "repair", "nudge", "plan", "tree"}
    for mode in engine.modes:
        answer = engine.answer(ask(STATEMENT, mode, seed=1, max_tokens=40))
        assert answer.text, mode
        if mode in ("rerank", "tree"):
            assert any(candidate.step_energies for candidate in answer.candidates), mode


def test_hidden_states_are_pulled_in_the_students_own_space(engine: Engine, made: tuple[Home, Student]) -> None:
    question = {"num_candidates": 1, "blend": 1.0, "alpha": 0.0, "unfamiliar": "guide"}
    pulled = engine.answer(ask(STATEMENT, "nudge", question, seed=1, max_tokens=40))
    alone = engine.answer(ask(STATEMENT, "nudge", question | {"blend": 0.0}, seed=1, max_tokens=40))
    assert pulled.text != alone.text
    reader = engine.parts.reader
    assert reader.poolings == ("mean", "last", "end")
    assert reader.restore(np.zeros((2, SOURCE_WIDTH), np.float32)).shape == (2, made[1].width)


def test_energies_are_those_of_the_sources_r_jepa_on_mapped_latents(engine: Engine) -> None:
    (chain,) = engine.source.reader.chains([STATEMENT], ["Step 1: Mia has 3 + 4 = 7\nAnswer: 7\n"])
    adapter = engine.parts.reader.adapter
    assert isinstance(adapter, Adapter) and chain.latents is not None
    read = engine.parts.reader.read(chain.latents)
    assert read.shape == (len(chain.latents), SOURCE_WIDTH)
    by_hand = engine.parts.reader.normalizer.apply(adapter.read(chain.latents))
    np.testing.assert_array_equal(read, by_hand)


def test_the_inspector_works_through_the_adapter(engine: Engine) -> None:
    texts = ["Step 1: Mia has 3 + 4 = 7\nAnswer: 7\n", "Step 1: Mia has 3 + 4 = 8\nAnswer: 8\n"]
    judged = judge_chains(engine.source, engine.parts, STATEMENT, texts)
    assert sorted(judged.ranking) == [0, 1] and all(step.energy > 0 for chain in judged.chains for step in chain.steps)
    (first, _) = read_latents(engine.source, engine.parts, STATEMENT, texts)
    assert first.latents.shape[1] == SOURCE_WIDTH
    masked = MaskedChain(STATEMENT, ("Mia has 3 + 4 = 7", None), "7", frozenset({2}))
    (expected,) = predict_masked(engine.source, engine.parts, masked, {2: ["so 7 apples"]})
    assert expected.restored.shape == (engine.parts.reader.width,)


def test_texts_are_compared_in_the_students_own_space(engine: Engine) -> None:
    tokens = [(1, 2, 3), (4, 5, 6, 7)]
    states = engine.source.reader.embed(tokens)
    own = engine.parts.reader.own
    means = slice(0, states.shape[1])
    standard = (states - own.location[means]) / own.scale[means]
    cosine = standard[0] @ standard[1] / np.linalg.norm(standard[0]) / np.linalg.norm(standard[1])
    assert similarities(engine.source, engine.parts, tokens)[0, 1] == pytest.approx(cosine, abs=1e-4)


def test_it_says_everywhere_whose_r_jepa_it_is(engine: Engine, made: tuple[Home, Student], monkeypatch) -> None:
    text = "R-JEPA carried from elsewhere (adapter, 5 % of latents)"
    carried = engine.info()["carried"]
    assert carried["text"] == text and carried["source"] == "elsewhere" and json.dumps(engine.info())
    assert engine.manifest.describe == f"{TAG}, {text}"
    served = read_releases(made[0], TAG).served
    assert served is not None and (served.carried_from, served.carried_share) == ("elsewhere", 0.05)
    monkeypatch.setenv("RJEPA_HOME", str(made[0].root))
    shown = CliRunner().invoke(build_app(), ["release", "show", "--llm", TAG])
    assert text in shown.output, shown.output
    assert "energies agree by 0.60 on held-out problems (R2 0.50)" in shown.output
    listed = CliRunner().invoke(build_app(), ["release", "list", "--llm", TAG])
    assert "from elsewhere" in listed.output


def test_a_manifest_that_names_another_source_than_its_adapter_is_refused(made: tuple[Home, Student]) -> None:
    home = made[0]
    release_id = read_releases(home, TAG).current
    assert release_id is not None
    path = release_folder(home, TAG, release_id) / "manifest.json"
    kept = read_json(path)
    try:
        write_json(path, kept | {"carried": None})
        with pytest.raises(CorruptError, match="do not name the same R-JEPA"):
            verify(home, TAG, release_id)
    finally:
        write_json(path, kept)
    assert verify(home, TAG, release_id).carried is not None


def test_an_adapter_beside_another_r_jepa_than_its_own_is_refused(made: tuple[Home, Student], tmp_path: Path) -> None:
    import shutil

    home = made[0]
    release_id = read_releases(home, TAG).current
    assert release_id is not None
    folder = shutil.copytree(release_folder(home, TAG, release_id), tmp_path / "release")
    facts = read_json(folder / "adapter" / "adapter.json")
    facts["facts"]["model_sha256"] = "f" * 64
    write_json(folder / "adapter" / "adapter.json", facts)
    with pytest.raises(CorruptError, match="fitted for another R-JEPA of elsewhere") as refused:
        WorldModelFiles.laid_out(folder).open("cpu")
    assert re.search("materialise adapter", refused.value.cure)


def test_nothing_is_trained_on_from_it_and_its_lineage_is_its_own(made: tuple[Home, Student]) -> None:
    home = made[0]
    release_id = read_releases(home, TAG).current
    assert release_id is not None
    for begin in (open_start, take_normalizer_from):
        with pytest.raises(InvalidInputError, match="is elsewhere's and knows the latents of tiny-test") as refused:
            begin(home, TAG, "v1.0.0", release_id)
        assert "rjepa llm migrate --from elsewhere --to tiny-test --strategy retrain" in refused.value.cure
    assert [manifest.release_id for manifest in lineage(home, TAG, release_id)] == [release_id]
