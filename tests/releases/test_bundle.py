import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rjepa.errors import CorruptError, InvalidInputError, NotFoundError, RjepaError
from rjepa.files import read_json, sha256_file, write_json
from rjepa.home import Home
from rjepa.parts import Content, PartSource, describe_parts
from rjepa.reasoning.modes import MODES, modes_offered
from rjepa.releases.bundle import build_bundle, list_releases, load_manifest, release_folder, verify

from .conftest import Publisher


@pytest.fixture
def built(publisher: Publisher) -> tuple[Home, str, Path]:
    release_id = publisher.publish(1).manifest.release_id
    return publisher.home, release_id, release_folder(publisher.home, "tiny-a", release_id)


def test_a_release_holds_a_manifest_with_the_hash_of_every_file(built: tuple[Home, str, Path]) -> None:
    home, release_id, folder = built
    manifest = verify(home, "tiny-a", release_id)
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {"manifest.json"}
    assert set(manifest.files) == names
    assert all(sha256_file(folder / name) == entry.sha256 for name, entry in manifest.files.items())
    assert manifest.run_id == "run-1" and len(manifest.code_version) == 12


def test_a_release_names_its_parts_and_offers_the_modes_that_they_are_enough_for(built: tuple[Home, str, Path]) -> None:
    manifest = load_manifest(built[0], "tiny-a", built[1])
    assert [part.name for part in manifest.parts] == ["reader", "world_model", "calibration"]
    assert {"off", "rerank", "repair"} <= set(modes_offered(manifest))


def test_a_part_that_is_absent_is_a_mode_that_is_not_offered_and_says_what_would_give_it(publisher: Publisher) -> None:
    reader, world_model, _ = describe_parts(publisher.sources(1))
    content = Content(
        llm_tag="tiny-a",
        dataset="v1.0.0",
        dataset_hash="d" * 64,
        student_fingerprint="s" * 64,
        parts=(reader, world_model),
    )
    assert modes_offered(content) == ("off",)
    with pytest.raises(InvalidInputError, match="calibration") as refused:
        content.require(MODES["rerank"].parts, "mode rerank")
    assert "score_calibration" in refused.value.cure


def test_a_release_of_an_earlier_format_says_what_to_do(built: tuple[Home, str, Path]) -> None:
    home, release_id, folder = built
    write_json(folder / "manifest.json", {"format": 1, "release_id": release_id, "figures": {}})
    with pytest.raises(CorruptError, match="format 1") as error:
        verify(home, "tiny-a", release_id)
    assert "materialise the release asset again" in error.value.cure


def test_equal_content_is_one_release(publisher: Publisher) -> None:
    first = publisher.publish(1).manifest.release_id
    publisher.publish(2)
    assert publisher.publish(1).manifest.release_id == first
    assert len(list_releases(publisher.home, "tiny-a")) == 2


def test_a_broken_copy_is_not_taken_for_the_content_it_should_hold(built: tuple[Home, str, Path], publisher: Publisher):
    home, release_id, folder = built
    (folder / "calibration.json").write_text("{}")
    again = build_bundle(home, "tiny-a", "v1.0.0", publisher.sources(1), publisher.facts())
    verify(home, "tiny-a", again)


def test_a_missing_source_is_named(publisher: Publisher, tmp_path: Path) -> None:
    reader, world_model, _ = publisher.sources(1)
    calibration = PartSource("calibration", "score_calibration", {"calibration.json": tmp_path / "calibration.json"})
    sources = (reader, world_model, calibration)
    with pytest.raises(NotFoundError, match=r"calibration\.json"):
        build_bundle(publisher.home, "tiny-a", "v1.0.0", sources, publisher.facts())


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ["model.safetensors", "normalizer.safetensors", "config.json", "calibration.json"])
def test_a_pickle_is_refused_under_any_name(publisher: Publisher, protocol: int, name: str) -> None:
    sources = publisher.sources(1)
    paths = {path.name: path for source in sources for path in source.files.values()}
    paths[name].write_bytes(pickle.dumps({"weight": [1.0]}, protocol=protocol))
    with pytest.raises(CorruptError, match="does not hold"):
        build_bundle(publisher.home, "tiny-a", "v1.0.0", sources, publisher.facts())
    assert list_releases(publisher.home, "tiny-a") == []


def flip(folder: Path) -> None:
    data = bytearray((folder / "model/model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model/model.safetensors").write_bytes(data)


def link_file(folder: Path) -> None:
    target = folder.parent.parent / "elsewhere.json"
    (folder / "calibration.json").replace(target)
    (folder / "calibration.json").symlink_to(target)


def link_folder(folder: Path) -> None:
    target = folder.parent.parent / "elsewhere"
    (folder / "model").rename(target)
    (folder / "model").symlink_to(target)


def change_manifest(folder: Path) -> None:
    manifest = read_json(folder / "manifest.json")
    write_json(folder / "manifest.json", manifest | {"student_fingerprint": "0" * 64})


def change_part(folder: Path) -> None:
    manifest = read_json(folder / "manifest.json")
    manifest["parts"][1]["sha256"] = "0" * 64
    write_json(folder / "manifest.json", manifest)


def climb(folder: Path) -> None:
    manifest = read_json(folder / "manifest.json")
    files = manifest["parts"][2]["files"]
    files["../../../secret.json"] = files["calibration.json"]
    write_json(folder / "manifest.json", manifest)


DAMAGE = {
    "wrong hash": flip,
    "wrong size": lambda folder: (folder / "calibration.json").write_text("{}"),
    "missing file": lambda folder: (folder / "normalizer.safetensors").unlink(),
    "unlisted file": lambda folder: (folder / "model" / "optimizer.pt").write_bytes(b"x"),
    "linked file": link_file,
    "linked folder": link_folder,
    "fifo": lambda folder: os.mkfifo(folder / "pipe"),
    "changed manifest": change_manifest,
    "path in manifest": climb,
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "manifest not JSON": lambda folder: (folder / "manifest.json").write_text("{"),
    "manifest of another contract": lambda folder: (folder / "manifest.json").write_text("{}"),
    "changed part": change_part,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_release_is_refused_with_a_cure(built: tuple[Home, str, Path], damage: str) -> None:
    home, release_id, folder = built
    DAMAGE[damage](folder)
    with pytest.raises(CorruptError) as error:
        verify(home, "tiny-a", release_id)
    assert error.value.cure


def test_a_release_that_is_a_link_is_refused(built: tuple[Home, str, Path]) -> None:
    home, release_id, folder = built
    folder.rename(home.root / "moved")
    folder.symlink_to(home.root / "moved")
    with pytest.raises(CorruptError, match="link"):
        verify(home, "tiny-a", release_id)


@pytest.mark.parametrize(
    "release_id",
    ["", ".", "..", "../v1", "/etc", "%2e%2e", "20260101T000000Z-abc", "20260101T000000Z-aaaaaaaaaaaa/..",
     "20260101T000000Z-aaaaaaaaaaaa\n", "//host/share", "a#b", "a?b", "..\\..", "CURRENT"],
)  # fmt: skip
def test_an_id_is_never_a_path(home: Home, release_id: str) -> None:
    with pytest.raises(InvalidInputError):
        load_manifest(home, "tiny-a", release_id)


@given(st.text(max_size=40))
def test_no_text_reaches_a_file_outside_the_releases(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    home = Home(tmp_path_factory.getbasetemp())
    with pytest.raises(RjepaError):
        release_folder(home, "tiny-a", text)
