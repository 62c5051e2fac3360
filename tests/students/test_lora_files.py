"""LoRAs on the disk: what is verified, what is refused, and that a student with one is another student."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rjepa.errors import CorruptError, InvalidInputError, NotFoundError, RjepaError
from rjepa.home import Home
from rjepa.locks import stage_lock
from rjepa.students.catalog import list_records, load_record, save_record
from rjepa.students.generation import sample_chains
from rjepa.students.loading import Student, load_student, resolve_student
from rjepa.students.lora.clearing import clear_abandoned
from rjepa.students.lora.files import list_loras, open_lora, read_lora
from rjepa.students.lora.loading import load_lora
from rjepa.students.lora.merging import write_merged
from rjepa.students.lora.registering import import_lora, remove_lora
from rjepa.students.lora.stage import LOCK
from tests.students.loras import plain_model, put_lora, with_peft, write_peft
from tests.students.tiny import STATEMENTS, open_tiny, record, write_student

IDS = torch.arange(3, 40)[None]


def _logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        logits = model(input_ids=IDS).logits
    assert isinstance(logits, torch.Tensor)
    return logits


def test_a_merged_lora_computes_what_the_lora_beside_its_base_does(
    student: Student, home: Home, tmp_path: Path
) -> None:
    base = record(student.path)
    lora, _ = put_lora(home, base, "one", tmp_path / "peft")
    beside = _logits(with_peft(student.path, tmp_path / "peft"))
    torch.testing.assert_close(_logits(load_lora(plain_model(student.path), lora.folder)), beside)
    assert torch.equal(_logits(load_lora(plain_model(student.path), lora.folder, merge=False)), beside)
    assert (_logits(plain_model(student.path)) - beside).abs().max() > 0.1


def test_peft_reads_the_folder_of_a_lora_as_it_is(qwen_folder: Path, home: Home, tmp_path: Path) -> None:
    lora, _ = put_lora(home, record(qwen_folder), "one", tmp_path / "peft")
    theirs = with_peft(qwen_folder, lora.folder)
    assert torch.equal(_logits(theirs), _logits(load_lora(plain_model(qwen_folder), lora.folder, merge=False)))


def test_a_student_with_a_lora_is_another_student(qwen_folder: Path, home: Home, tmp_path: Path) -> None:
    base = record(qwen_folder)
    _, first = put_lora(home, base, "one", tmp_path / "first", seed=1)
    _, second = put_lora(home, base, "two", tmp_path / "second", seed=2)
    found = [resolve_student(home, one) for one in (base, first, second)]
    assert first.llm_tag == "tiny-test--one"
    assert len({one.fingerprint for one in found}) == 3
    assert resolve_student(home, load_record(home, first.llm_tag)).fingerprint == found[1].fingerprint


def test_a_student_with_a_lora_is_loaded_like_any_other(qwen_folder: Path, home: Home, tmp_path: Path) -> None:
    lora, tuned = put_lora(home, record(qwen_folder), "one", tmp_path / "peft")
    student = load_student(resolve_student(home, tuned), device="cpu")
    wanted = with_peft(qwen_folder, lora.folder)
    torch.testing.assert_close(_logits(student.model), _logits(wanted), rtol=1e-4, atol=1e-4)
    with torch.inference_mode():
        states = wanted(input_ids=IDS, output_hidden_states=True).hidden_states[-2]
        read = student.encoder(input_ids=IDS).last_hidden_state
    torch.testing.assert_close(read, states, rtol=1e-4, atol=1e-4)


def test_fused_decoding_of_a_student_with_a_lora_writes_what_its_forward_writes(
    qwen_folder: Path, home: Home, tmp_path: Path
) -> None:
    lora, tuned = put_lora(home, record(qwen_folder), "one", tmp_path / "peft")
    fused = load_student(resolve_student(home, tuned), device="cpu")
    base = load_student(resolve_student(home, record(qwen_folder)), device="cpu")
    load_lora(base.model, lora.folder, merge=False)
    slow = replace(base, record=tuned, fuses=False)
    assert fused.fused is not None
    chains, expected = (
        [one.token_ids for row in sample_chains(student, STATEMENTS, num_candidates=2, seed=1) for one in row]
        for student in (fused, slow)
    )
    assert chains == expected


def test_a_changed_byte_of_a_lora_is_refused(qwen_folder: Path, home: Home, tmp_path: Path) -> None:
    lora, tuned = put_lora(home, record(qwen_folder), "one", tmp_path / "peft")
    weights = lora.folder / "adapter_model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    with pytest.raises(CorruptError, match="not the file that was sealed"):
        resolve_student(home, tuned)


def test_a_lora_of_other_weights_is_refused(folder: Path, home: Home, tmp_path: Path) -> None:
    _, tuned = put_lora(home, record(folder), "one", tmp_path / "peft")
    weights = folder / "model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    with pytest.raises(InvalidInputError, match="was made for tiny-test"):
        resolve_student(home, tuned)


def test_a_lora_of_another_architecture_is_refused(qwen_folder: Path, home: Home, tmp_path: Path) -> None:
    write_student(tmp_path / "gpt2", "gpt2")
    write_peft(tmp_path / "gpt2", tmp_path / "peft")
    save_record(home, record(qwen_folder))
    with pytest.raises(InvalidInputError, match="does not fit|not in both"):
        import_lora(home, "tiny-test", "foreign", tmp_path / "peft")
    assert list_loras(home) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type 'IA3'"),
        ({"bias": "all"}, "bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"megatron_config": {"a": 1}}, "megatron_config"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"task_type": "SEQ_CLS"}, "SEQ_CLS"),
        ({"r": 0}, "rank"),
    ],
)
def test_what_is_more_than_a_plain_lora_is_refused(
    qwen_folder: Path, home: Home, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    save_record(home, record(qwen_folder))
    write_peft(qwen_folder, tmp_path / "peft")
    path = tmp_path / "peft" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InvalidInputError, match=message):
        import_lora(home, "tiny-test", "one", tmp_path / "peft")


def test_a_lora_that_was_trained_elsewhere_is_taken_in_and_out(qwen_folder: Path, home: Home, tmp_path: Path) -> None:
    save_record(home, record(qwen_folder))
    wanted = write_peft(qwen_folder, tmp_path / "peft", use_dora=True)
    import_lora(home, "tiny-test", "one", tmp_path / "peft")
    tuned = load_record(home, "tiny-test--one")
    student = load_student(resolve_student(home, tuned), device="cpu")
    torch.testing.assert_close(_logits(student.model), _logits(wanted), rtol=1e-4, atol=1e-4)
    with pytest.raises(InvalidInputError, match="already"):
        import_lora(home, "tiny-test", "one", tmp_path / "peft")
    assert remove_lora(home, "tiny-test", "one") == "tiny-test--one"
    assert "tiny-test--one" not in {one.llm_tag for one in list_records(home)}
    with pytest.raises(NotFoundError, match="known: none"):
        open_lora(home, "tiny-test", "one")


def test_merged_weights_are_a_student_that_needs_no_lora(qwen_folder: Path, home: Home, tmp_path: Path) -> None:
    _, tuned = put_lora(home, record(qwen_folder), "one", tmp_path / "peft")
    resolved = resolve_student(home, tuned)
    write_merged(resolved, tmp_path / "merged")
    with_lora, merged = load_student(resolved, device="cpu"), open_tiny(home, tmp_path / "merged")
    assert torch.equal(_logits(with_lora.model), _logits(merged.model))
    with pytest.raises(InvalidInputError, match="is there already"):
        write_merged(resolved, tmp_path / "merged")


def test_a_folder_without_lora_json_says_how_it_is_taken_in(qwen_folder: Path, tmp_path: Path) -> None:
    write_peft(qwen_folder, tmp_path / "peft")
    with pytest.raises(RjepaError, match="rjepa lora add"):
        read_lora(tmp_path / "peft")


def test_what_an_ended_training_left_is_cleared_but_not_what_is_at_work_or_new(home: Home) -> None:
    left = {
        name: home.root / "loras" / "tiny" / name for name in (".old-0123456789ab", ".busy-0123456789ab", ".new.trial")
    }
    for folder in left.values():
        (folder / "rank-2").mkdir(parents=True)
        (folder / "rank-2" / "weights").write_bytes(b"12345")
        if folder.name != ".new.trial":
            for path in (folder / "rank-2" / "weights", folder / "rank-2", folder):
                os.utime(path, (0, 0))
    (home.root / "loras" / "tiny" / "old").mkdir()  # a LoRA itself
    with stage_lock(home, LOCK, "tiny", "busy"):
        for delete in (False, True):
            found = clear_abandoned(home, delete=delete, older_than_hours=1)
            assert [(one.base, one.name, one.size) for one in found] == [("tiny", "old", 5)]
    assert [name for name, folder in left.items() if folder.exists()] == [".busy-0123456789ab", ".new.trial"]
    assert (home.root / "loras" / "tiny" / "old").is_dir()
    assert [one.name for one in clear_abandoned(home, delete=True, older_than_hours=0)] == ["busy", "new"]
