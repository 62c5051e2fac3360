"""Files are written whole or not at all, and a folder that cannot be written is told with a cure."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rjepa.errors import CorruptError, InvalidInputError, NotFoundError, StorageError
from rjepa.files import atomic_folder, atomic_path, read_json, remove_temporary, sha256_json, write_json, write_text
from rjepa.home import Home, check_tag


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "value.txt"
    write_text(target, "old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["value.txt"]


def test_a_failed_folder_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with atomic_folder(target) as temporary:
        (temporary / "a").write_text("old")
    with pytest.raises(RuntimeError), atomic_folder(target) as temporary:
        (temporary / "a").write_text("new")
        raise RuntimeError
    assert (target / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["folder"]


def test_a_writer_killed_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "value.txt"
    write_text(target, "old")
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom rjepa.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n    print('writing', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(target)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert target.read_text() == "old"
    remove_temporary(tmp_path)
    assert os.listdir(tmp_path) == ["value.txt"]


@pytest.mark.parametrize("root", ["/proc/nowhere", "a-file"])
def test_a_folder_that_cannot_be_made_is_told_with_the_variable_to_change(tmp_path: Path, root: str) -> None:
    (tmp_path / "a-file").write_text("in the way")
    with pytest.raises(StorageError, match="RJEPA_HOME"):
        write_json(tmp_path / root / "deep" / "value.json", 1)


def test_a_full_disk_is_told_and_leaves_the_old_file(tmp_path: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a tmpfs can be mounted by root only")
    try:
        write_text(tmp_path / "value.txt", "old")
        with pytest.raises(StorageError, match="full"):
            write_text(tmp_path / "value.txt", "x" * 200_000)
        assert (tmp_path / "value.txt").read_text() == "old"
        assert os.listdir(tmp_path) == ["value.txt"]
    finally:
        time.sleep(0.1)
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_json_that_is_missing_or_damaged_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_json(tmp_path / "none.json")
    (tmp_path / "half.json").write_text('{"a":')
    with pytest.raises(CorruptError, match="half.json"):
        read_json(tmp_path / "half.json")


def test_the_hash_of_a_value_ignores_the_order_of_keys() -> None:
    assert sha256_json({"a": 1, "b": 2}) == sha256_json({"b": 2, "a": 1}) != sha256_json({"a": 2, "b": 1})


@pytest.mark.parametrize("tag", ["a|b", "", "../x", "a/b", "A", ".a", "a..b", "a" * 65, "a b", "é"])
def test_a_tag_that_could_leave_its_folder_or_its_partition_is_refused(tag: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="a-z"):
        check_tag(tag)
    with pytest.raises(InvalidInputError):
        Home(tmp_path).rollouts(tag, "v1.0.0")
