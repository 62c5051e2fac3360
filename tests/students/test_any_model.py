"""A folder of any architecture becomes a student without a line of code: added, resolved, sampled, encoded."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from rjepa.errors import InvalidInputError
from rjepa.home import Home
from rjepa.students.catalog import save_record
from rjepa.students.extraction import extract_latents
from rjepa.students.generation import sample_chains
from rjepa.students.loading import load_student, resolve_student
from rjepa.students.registering import new_record
from rjepa.students.stage import open_student, resolve_and_record
from tests.students.architectures import ARCHITECTURES, write_model, write_seeing_model
from tests.students.tiny import STATEMENTS, record


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_folder_of_any_architecture_is_added_sampled_and_encoded(architecture: str, tmp_path: Path) -> None:
    home, folder = Home(tmp_path / "home"), write_model(tmp_path / "model", architecture)
    save_record(home, new_record("any", str(folder), changes={"layer_idx": -2, "poolings": ("mean", "last")}))
    report = resolve_and_record(home, "any")
    assert architecture.split("_")[0] in str(report.metadata["architecture"]).lower()
    assert report.metadata["device"] == "cpu" and "no accelerator" in str(report.metadata["device_reason"])
    student = open_student(home, "any")
    assert student.fingerprint == report.data_version
    chains = sample_chains(student, STATEMENTS[:2], num_candidates=2, seed=1, max_new_tokens=12)
    assert all(chain.token_ids and chain.latents is not None for row in chains for chain in row)
    text = "Step 1: 3 + 4 = 7\nStep 2: so 7\nAnswer: 7\n"
    found = extract_latents(student, [STATEMENTS[0]], [text])[0]
    assert found is not None and found.latents.shape == (4, 64)
    ids = torch.tensor([student.tokenizer(STATEMENTS[0])["input_ids"]])
    with torch.inference_mode():
        whole = student.model(input_ids=ids, output_hidden_states=True).hidden_states[-2]
        cut = student.encoder(input_ids=ids, use_cache=False).last_hidden_state
    torch.testing.assert_close(cut, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ["mistral", "gemma3_text", "gpt_neox"])
def test_latents_captured_while_sampling_are_those_of_reading_the_chain_again(
    architecture: str, tmp_path: Path
) -> None:
    student = load_student(
        resolve_student(Home(tmp_path / "home"), record(write_model(tmp_path / "model", architecture)))
    )
    chain = sample_chains(student, STATEMENTS[:1], num_candidates=1, seed=5, max_new_tokens=12)[0][0]
    prompt = student.tokenizer(student.record.prompt.template.replace("{statement}", STATEMENTS[0]))["input_ids"]
    with torch.inference_mode():
        states = student.encoder(input_ids=torch.tensor([prompt + chain.token_ids]), use_cache=False).last_hidden_state
    assert chain.latents is not None
    mean = states[0, : len(prompt)].mean(dim=0).numpy()
    np.testing.assert_allclose(chain.latents[0, :32], mean, rtol=0.01, atol=0.02)
    last = states[0, -1].numpy()
    np.testing.assert_allclose(chain.latents[-1, 64:], last, rtol=0.01, atol=0.02)


def test_of_a_model_that_sees_images_the_language_part_is_the_student(tmp_path: Path) -> None:
    student = load_student(resolve_student(Home(tmp_path / "home"), record(write_seeing_model(tmp_path / "model"))))
    assert (student.hidden_size, student.num_layers) == (32, 3)
    chain = sample_chains(student, STATEMENTS[:1], num_candidates=1, seed=0, max_new_tokens=8)[0][0]
    assert chain.latents is not None and chain.latents.shape[1] == 96
    ids = torch.tensor([student.tokenizer(STATEMENTS[0])["input_ids"]])
    with torch.inference_mode():
        whole = student.model(input_ids=ids, output_hidden_states=True).hidden_states[-2]
        assert torch.equal(student.encoder(input_ids=ids, use_cache=False).last_hidden_state, whole)


def test_sharded_weights_are_read_through_their_index(tmp_path: Path) -> None:
    home, whole = Home(tmp_path / "home"), write_model(tmp_path / "whole", "mistral")
    sharded = write_model(tmp_path / "sharded", "mistral", max_shard="20KB")
    assert len(list(sharded.glob("*.safetensors"))) > 2
    first, second = (load_student(resolve_student(home, record(folder))) for folder in (whole, sharded))
    ids = torch.tensor([first.tokenizer(STATEMENTS[0])["input_ids"]])
    with torch.inference_mode():
        assert torch.equal(first.model(ids).logits, second.model(ids).logits)
    next(sharded.glob("model-00002*")).unlink()
    with pytest.raises(InvalidInputError, match="names 1 of .* model-00002"):
        resolve_student(home, record(sharded))


def test_weights_that_no_loader_reads_are_neither_hashed_nor_counted(tmp_path: Path) -> None:
    folder, home = write_model(tmp_path / "model", "mistral"), Home(tmp_path / "home")
    before = resolve_student(home, record(folder))
    shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")  # as Mistral ships them
    after = resolve_student(home, record(folder))
    assert (after.fingerprint, after.weight_bytes) == (before.fingerprint, before.weight_bytes)


def test_tied_embeddings_are_stored_and_loaded_once(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "qwen2", tie_word_embeddings=True)
    student = load_student(resolve_student(Home(tmp_path / "home"), record(folder)))
    head = student.model.get_output_embeddings().weight
    assert head.data_ptr() == student.model.get_input_embeddings().weight.data_ptr()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_student_is_loaded_in_the_precision_of_its_record(dtype: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "mistral")
    student = load_student(resolve_student(Home(tmp_path / "home"), record(folder, dtype=dtype)))
    assert student.model.dtype == getattr(torch, dtype)
    chain = sample_chains(student, STATEMENTS[:1], num_candidates=1, seed=0, max_new_tokens=6)[0][0]
    assert chain.latents is not None and np.isfinite(chain.latents).all()


def test_a_student_does_not_change_with_its_place_or_its_tag(tmp_path: Path) -> None:
    home, folder = Home(tmp_path / "home"), write_model(tmp_path / "model", "mistral")
    copy = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    first = resolve_student(home, record(folder)).fingerprint
    assert resolve_student(home, record(copy)).fingerprint == first
    assert resolve_student(home, record(folder, llm_tag="other")).fingerprint == first
    assert resolve_student(home, record(folder, device="cpu")).fingerprint == first
    (copy / "tokenizer.json").write_text((copy / "tokenizer.json").read_text() + " ")
    assert resolve_student(home, record(copy)).fingerprint != first
    changed = [
        resolve_student(home, record(folder, **change)).fingerprint
        for change in (
            {"segmentation": "punctuation"},
            {"segmentation": "paragraph"},
            {"quantisation": "bnb4"},
            {"prompt": {"thinking": False}},
            {"prompt": {"system": "Be brief."}},
        )
    ]
    assert len({first, *changed}) == len(changed) + 1


def test_the_default_segmentation_and_prompt_leave_a_fingerprint_as_it_was(tmp_path: Path) -> None:
    """What was fingerprinted before there were modes and a switch for thinking stays bound to what was made of it."""
    from rjepa.files import sha256_file, sha256_json

    folder = write_model(tmp_path / "model", "mistral")
    names = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    before = {
        "files": {name: sha256_file(folder / name) for name in names},
        "quantisation": "none",
        "dtype": "float32",
        "layer_idx": -2,
        "poolings": ["mean", "last", "end"],
        "prompt": {"template": "{statement}\n", "use_chat_template": False, "system": ""},
    }
    assert resolve_student(Home(tmp_path / "home"), record(folder)).fingerprint == sha256_json(before)


def test_what_a_folder_says_of_itself_is_in_its_record(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "qwen2")
    plain = new_record("a", str(folder))
    assert not plain.prompt.use_chat_template and plain.quantisation == "none"
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    record = new_record("a", str(folder))
    assert record.quantisation == "gptq" and record.prompt.use_chat_template and record.prompt.thinking is False


def test_options_that_a_record_does_not_take_are_named(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "qwen2")
    with pytest.raises(InvalidInputError, match="dtype: .*; device: "):
        new_record("a", str(folder), changes={"dtype": "int3", "device": "toaster"})
    with pytest.raises(InvalidInputError, match="poolings"):
        new_record("a", str(folder), changes={"poolings": ("mean", "median")})
