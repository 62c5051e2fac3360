"""Find, refuse, fingerprint and load model folders."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from rjepa.errors import CorruptError, InvalidInputError, NotFoundError
from rjepa.home import Home
from rjepa.students.catalog import StudentRecord
from rjepa.students.loading import Student, load_student, resolve_student
from rjepa.students.prompts import PromptFormat
from tests.students.tiny import STATEMENTS, open_tiny, record, write_student


@pytest.mark.parametrize("layer_idx", [-1, -2, -3, 1])
def test_the_encoder_gives_the_hidden_states_of_the_whole_model(student: Student, home: Home, layer_idx: int) -> None:
    student = open_tiny(home, student.path, layer_idx=layer_idx)
    ids = torch.tensor([student.tokenizer(STATEMENTS[0])["input_ids"]])
    with torch.inference_mode():
        whole = student.model(input_ids=ids, output_hidden_states=True).hidden_states[layer_idx]
        cut = student.encoder(input_ids=ids).last_hidden_state
    assert torch.equal(whole, cut)


def test_what_is_known_of_a_student_comes_from_its_configuration(qwen: Student) -> None:
    assert (qwen.hidden_size, qwen.num_layers, qwen.context_length, qwen.width) == (32, 3, 256, 96)
    assert qwen.eos_ids == {0}


def test_a_fingerprint_follows_everything_that_shapes_latents(folder: Path, home: Home) -> None:
    def fingerprint(**changes: object) -> str:
        return resolve_student(home, record(folder, **changes)).fingerprint

    plain = fingerprint()
    assert fingerprint(llm_tag="other-tag") == plain
    changed = [
        fingerprint(layer_idx=-3),
        fingerprint(poolings=("mean",)),
        fingerprint(dtype="bfloat16"),
        fingerprint(prompt=PromptFormat(template="Q: {statement}\n")),
    ]
    weights = folder / "model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    changed.append(fingerprint())
    assert len({plain, *changed}) == 6


def test_file_hashes_are_remembered_until_a_file_changes(folder: Path, home: Home) -> None:
    first = resolve_student(home, record(folder))
    (cache,) = (home.root / "index" / "files").iterdir()
    written = cache.stat().st_mtime_ns
    assert resolve_student(home, record(folder)).fingerprint == first.fingerprint
    assert resolve_student(home, record(folder, llm_tag="another-tag")).fingerprint == first.fingerprint
    assert cache.stat().st_mtime_ns == written
    cache.write_text("{ broken")
    assert resolve_student(home, record(folder)).fingerprint == first.fingerprint
    weights = folder / "model.safetensors"
    copy = weights.with_name("copy")
    shutil.copyfile(weights, copy)
    data = bytearray(copy.read_bytes())
    data[-1] ^= 1
    copy.write_bytes(data)
    os.utime(copy, ns=(weights.stat().st_atime_ns, weights.stat().st_mtime_ns))
    copy.replace(weights)  # the same name, size and time: another inode
    assert resolve_student(home, record(folder)).fingerprint != first.fingerprint


def test_a_missing_folder_is_named(home: Home, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="does not exist"):
        resolve_student(home, record(tmp_path / "nowhere"))


@pytest.mark.parametrize("name", ["bundled:nobody", "bundled:../bundled", "bundled:"])
def test_an_unknown_bundled_student_is_named(home: Home, name: str) -> None:
    with pytest.raises(NotFoundError, match="no student is bundled"):
        resolve_student(home, StudentRecord(llm_tag="x", model=name))


def test_a_model_that_cannot_be_fetched_says_what_to_check(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(NotFoundError, match="could be fetched.*\n.*network"):
        resolve_student(home, StudentRecord(llm_tag="x", model="nobody/no-such-model"))


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json"])
def test_a_folder_that_lacks_a_file_says_which(folder: Path, home: Home, file: str) -> None:
    (folder / file).unlink()
    with pytest.raises(InvalidInputError, match=file):
        resolve_student(home, record(folder))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_pickled_weights_are_refused_with_the_way_to_convert_them(folder: Path, home: Home, name: str) -> None:
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(InvalidInputError, match=f"only {name}.*\n.*save_pretrained"):
        resolve_student(home, record(folder))


@pytest.mark.parametrize("head", [b"PK\x03\x04 a zip of pickles", b"\x80\x02 a pickle", b""])
def test_a_pickle_that_calls_itself_safetensors_is_refused(folder: Path, home: Home, head: bytes) -> None:
    (folder / "model.safetensors").write_bytes(head)
    with pytest.raises(CorruptError, match="is not safetensors"):
        resolve_student(home, record(folder))


def test_a_folder_that_wants_its_own_code_run_is_refused(folder: Path, home: Home) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"auto_map": {"AutoModelForCausalLM": "evil.Model"}, "model_type": "evil"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InvalidInputError, match="own Python code"):
        resolve_student(home, record(folder))


def test_code_beside_a_known_architecture_is_left_unread(folder: Path, home: Home, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')\n")
    for name, classes in (
        ("config.json", {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["evil.Slow", "evil.Fast"]}),
    ):
        values = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(values | {"auto_map": classes}))
    student = load_student(resolve_student(home, record(folder)))
    assert type(student.model).__module__.startswith("transformers.") and not ran.exists()


def test_truncated_weights_and_unknown_architectures_are_refused(folder: Path, home: Home) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "nonesuch"}))
    with pytest.raises(InvalidInputError, match="cannot be loaded"):
        load_student(resolve_student(home, record(folder)))
    (folder / "config.json").write_text(json.dumps(config))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-64])
    with pytest.raises(CorruptError, match="not safetensors: it is damaged, cut short"):
        resolve_student(home, record(folder))


@pytest.mark.parametrize("layer_idx", [0, -4, 4])
def test_a_layer_the_model_does_not_have_is_refused(folder: Path, home: Home, layer_idx: int) -> None:
    with pytest.raises(InvalidInputError, match="outside the model's 3 layers"):
        load_student(resolve_student(home, record(folder, layer_idx=layer_idx)))


def test_a_tokenizer_without_a_pad_token_is_no_obstacle(tmp_path: Path, home: Home) -> None:
    student = open_tiny(home, write_student(tmp_path / "model", pad=False))
    assert student.tokenizer.pad_token_id is None
    assert student.pad_id == student.tokenizer.eos_token_id
