from pathlib import Path

from rjepa.files import write_json
from rjepa.home import Home
from rjepa.monitoring.storage import read_datasets, read_storage


def test_folders_are_measured_with_everything_below_them_and_links_are_not_followed(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    (home.root / "shards" / "deep").mkdir(parents=True)
    (home.root / "shards" / "deep" / "a.bin").write_bytes(b"x" * 3000)
    (home.root / "models").mkdir()
    (home.root / "models" / "b.bin").write_bytes(b"x" * 100)
    (home.root / "models" / "loop").symlink_to(home.root)
    storage = read_storage(home)
    assert [(folder.name, folder.size_bytes >= 100) for folder in storage.folders] == [
        ("shards", True),
        ("models", True),
    ]
    assert storage.folders[0].size_bytes == 3000 and storage.total < 3200
    assert 0 < storage.disk_free < storage.disk_total


def test_a_home_that_is_not_there_yet_takes_nothing(tmp_path: Path) -> None:
    storage = read_storage(Home(tmp_path / "nowhere" / "home"))
    assert storage.total == 0 and storage.disk_free > 0


def test_datasets_are_listed_with_counts_once_they_are_released(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    manifest = {
        "date": "2026-11-29",
        "counts": {"problems": 9, "by_domain_and_split": {"math": {"train": 5, "test": 4}}},
        "chains": {"total": 12},
        "validation_rate": 0.5,
    }
    write_json(home.dataset("smoke") / "manifest.json", manifest)
    write_json(home.dataset("gsm8k") / "manifest.json", {"damaged": True})
    first, *others = read_datasets(home)
    assert (first.name, first.problems, first.by_domain, first.chains) == ("smoke", 9, {"math": 9}, 12)
    assert first.size_bytes == (home.dataset("smoke") / "manifest.json").stat().st_size
    assert all(state.problems is None for state in others) and "gsm8k" in {state.name for state in others}
