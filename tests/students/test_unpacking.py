"""GGUF files are unpacked once, whatever happens meanwhile, and hold their chat template."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rjepa.errors import CorruptError, InvalidInputError
from rjepa.home import Home
from rjepa.students.gguf_files import read_gguf_header
from rjepa.students.loading import load_student, loadable_folder, resolve_student
from rjepa.students.registering import new_record
from tests.students.tiny import model, tokenizer

pytestmark = pytest.mark.slow

gguf = pytest.importorskip("gguf")

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"

STOPS_HALFWAY = """
import sys, time
from pathlib import Path
from rjepa.home import Home
from rjepa.students.loading import loadable_folder, resolve_student
from rjepa.students.registering import new_record

def halfway(done, total, what=""):
    if what.startswith("unpacking") and done == 5:
        print("halfway", flush=True)
        time.sleep(600)

home = Home(Path(sys.argv[1]))
loadable_folder(resolve_student(home, new_record("x", sys.argv[2])), halfway)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    from tests.students.gguf_files import write_gguf

    words = tokenizer()
    return write_gguf(tmp_path / "tiny.gguf", model("llama", len(words)), words, chat_template=TEMPLATE)


def test_a_file_that_holds_a_chat_template_is_registered_with_it(file: Path, tmp_path: Path) -> None:
    prompt = new_record("x", str(file)).prompt
    assert prompt.use_chat_template and prompt.thinking is False
    student = load_student(resolve_student(Home(tmp_path / "home"), new_record("x", str(file))), "cpu")
    assert student.tokenizer.chat_template == TEMPLATE


def test_the_header_says_what_the_unpacked_model_is(file: Path, tmp_path: Path) -> None:
    header = read_gguf_header(file)
    student = load_student(resolve_student(Home(tmp_path / "home"), new_record("x", str(file))), "cpu")
    config = student.model.config
    assert header.parameters == sum(one.numel() for one in student.model.parameters())
    shape = header.shape
    assert (shape.hidden_size, shape.intermediate_size) == (config.hidden_size, config.intermediate_size)
    assert (shape.num_layers, shape.kv_heads, shape.head_dim) == (3, 2, 8)
    assert (shape.vocab_size, shape.tied) == (config.vocab_size, False)


def test_a_file_is_unpacked_once_for_all_students_and_processes(file: Path, tmp_path: Path) -> None:
    home, seen = Home(tmp_path / "home"), []

    def noted(done: int, total: int, what: str = "") -> None:
        seen.append(what)

    first = load_student(resolve_student(home, new_record("x", str(file))), "cpu", noted)
    assert any(what.startswith("unpacking tiny.gguf") for what in seen)
    seen.clear()
    again = load_student(resolve_student(home, new_record("y", str(file))), "cpu", noted)
    other = [sys.executable, "-c", STOPS_HALFWAY, str(home.root), str(file)]  # would wait for ever if it unpacked
    assert subprocess.run(other, capture_output=True, text=True, timeout=120, check=True).stdout == ""
    assert not seen
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        assert torch.equal(first.model(ids).logits, again.model(ids).logits)


def test_another_precision_is_unpacked_beside_it(file: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    for dtype in ("float32", "bfloat16"):
        student = load_student(resolve_student(home, new_record("x", str(file), changes={"dtype": dtype})), "cpu")
        assert student.model.dtype == getattr(torch, dtype)
    assert len([path for path in (home.root / "unpacked").iterdir() if path.is_dir()]) == 2


def test_after_a_kill_halfway_the_next_one_goes_on(file: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    process = subprocess.Popen(
        [sys.executable, "-c", STOPS_HALFWAY, str(home.root), str(file)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "halfway\n"
    process.kill()
    process.communicate()
    folder = loadable_folder(resolve_student(home, new_record("x", str(file))))
    assert json.loads((folder / "config.json").read_text())["num_hidden_layers"] == 3
    assert not list(folder.parent.glob("*.tmp"))


def test_a_file_that_lacks_a_weight_is_refused_and_nothing_is_kept(tmp_path: Path) -> None:
    from tests.students.gguf_files import write_gguf

    words = tokenizer()
    file = write_gguf(tmp_path / "tiny.gguf", model("llama", len(words)), words, leave_out="model.layers.1.mlp.up")
    home = Home(tmp_path / "home")
    for _ in range(2):
        with pytest.raises(InvalidInputError, match=r"lacks 1 of the weights.*layers\.1\.mlp\.up_proj"):
            load_student(resolve_student(home, new_record("x", str(file))), "cpu")
    assert not [path for path in (home.root / "unpacked").iterdir() if path.is_dir()]


@pytest.mark.parametrize("size", [3, 20, 60, 400])
def test_a_header_that_is_cut_short_is_refused(size: int, file: Path) -> None:
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(CorruptError):
        new_record("x", str(file))


def test_unpacking_writes_nothing_to_the_terminal(
    file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    load_student(resolve_student(Home(tmp_path / "home"), new_record("x", str(file))), "cpu")
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")
