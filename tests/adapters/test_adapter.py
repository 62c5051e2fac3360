"""An adapter on disk and in use: what it reads, what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rjepa.adapters.adapter import Adapter, AdapterFacts, Side
from rjepa.adapters.maps import LatentMap, Layer, Residual
from rjepa.errors import CorruptError, NotFoundError
from rjepa.latents.normalizer import CLIP, Normalizer

SOURCE, TARGET = 6, 4


def _map(width_in: int, width_out: int, seed: int, hidden: int | None = 3) -> LatentMap:
    random = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    residual = None
    if hidden is not None:
        up, inner = (Layer(draw(width, hidden), draw(hidden)) for width in (width_in, hidden))
        residual = Residual(up, (inner,), draw(hidden, width_out))
    return LatentMap(
        Normalizer(draw(width_in), np.abs(draw(width_in)) + 0.5),
        Normalizer(draw(width_out), np.abs(draw(width_out)) + 0.5),
        draw(width_in, width_out),
        draw(width_out),
        residual,
    )


def _adapter() -> Adapter:
    facts = AdapterFacts(
        source=Side(llm_tag="a", fingerprint="a" * 64, width=SOURCE, poolings=("mean", "last")),
        target=Side(llm_tag="b", fingerprint="b" * 64, width=TARGET, poolings=("mean",)),
        dataset="v1.0.0",
        model_sha256="c" * 64,
        normalizer_sha256="d" * 64,
        method="mlp",
        share=0.05,
        problems=10,
        pairs=100,
        r2=0.8,
        r2_back=-0.1,
        agreement=0.6,
        coverage=0.9,
        seconds=1.5,
    )
    return Adapter(facts, _map(TARGET, SOURCE, 0), _map(SOURCE, TARGET, 1, hidden=None))


def test_an_adapter_that_was_written_maps_as_the_one_that_was_fitted(tmp_path: Path) -> None:
    adapter = _adapter()
    rows = np.random.default_rng(2).normal(size=(2, 5, TARGET)).astype(np.float16)
    adapter.save(tmp_path)
    loaded = Adapter.load(tmp_path)
    assert loaded.facts == adapter.facts
    assert (loaded.width_in, loaded.width_out) == (TARGET, SOURCE)
    read = loaded.read(rows)
    assert read.shape == (2, 5, SOURCE)
    assert read.dtype == np.float32
    assert np.array_equal(read, adapter.read(rows))
    assert np.array_equal(loaded.restore(read), adapter.restore(read))
    assert loaded.restore(read).shape == rows.shape


def test_equal_maps_have_one_hash_and_others_another(tmp_path: Path) -> None:
    adapter = _adapter()
    first = adapter.save(tmp_path / "one")
    assert first == adapter.save(tmp_path / "two")
    assert first != replace(adapter, into=_map(TARGET, SOURCE, 7)).save(tmp_path / "three")


def test_rows_are_mapped_each_by_itself() -> None:
    adapter, rows = _adapter(), np.random.default_rng(3).normal(size=(9, TARGET)).astype(np.float32)
    assert np.allclose(adapter.read(rows)[4], adapter.read(rows[4]), atol=1e-5)


def test_a_wild_column_moves_no_more_than_one_at_the_clip() -> None:
    into = _adapter().into
    row = into.inputs.location.copy()
    row[1] += 1e6
    at_clip = into.inputs.location.copy()
    at_clip[1] += CLIP * into.inputs.scale[1]
    assert np.allclose(into.apply(row), into.apply(at_clip), atol=1e-4)


def test_large_negative_units_of_the_network_are_silent_without_a_warning() -> None:
    up = Layer(np.eye(2, dtype=np.float32) * 1e4, np.zeros(2, np.float32))
    residual = Residual(up, (), np.eye(2, dtype=np.float32))
    assert np.allclose(residual.apply(np.array([-1.0, 1.0], dtype=np.float32)), [0.0, 1e4], atol=1e-20)


def test_latents_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="5 wide"):
        _adapter().read(np.zeros((1, 5), dtype=np.float32))


def test_maps_of_other_widths_than_the_sides_are_refused() -> None:
    with pytest.raises(ValueError, match="widths"):
        replace(_adapter(), into=_map(SOURCE, SOURCE, 0))


def test_a_folder_without_an_adapter_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="materialise adapter"):
        Adapter.load(tmp_path)


@pytest.mark.parametrize("name", ["adapter.safetensors", "adapter.json"])
def test_a_file_cut_short_is_refused_with_its_cure(tmp_path: Path, name: str) -> None:
    _adapter().save(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CorruptError, match=name):
        Adapter.load(tmp_path)


def test_maps_of_one_adapter_with_the_facts_of_another_are_refused(tmp_path: Path) -> None:
    _adapter().save(tmp_path / "one")
    replace(_adapter(), into=_map(TARGET, SOURCE, 7)).save(tmp_path / "two")
    (tmp_path / "two" / "adapter.safetensors").replace(tmp_path / "one" / "adapter.safetensors")
    with pytest.raises(CorruptError, match="not the one"):
        Adapter.load(tmp_path / "one")


@pytest.mark.parametrize("damage", [{"target": {}}, {"format": "rjepa-adapter-9"}, {"share": 0}, {"extra": 1}])
def test_facts_that_make_no_sense_are_refused(tmp_path: Path, damage: dict[str, object]) -> None:
    _adapter().save(tmp_path)
    path = tmp_path / "adapter.json"
    value = json.loads(path.read_text())
    value["facts"] |= damage
    path.write_text(json.dumps(value))
    with pytest.raises(CorruptError, match="does not describe an adapter"):
        Adapter.load(tmp_path)
