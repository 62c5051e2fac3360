"""Quantised students: recognised by what their folder says, held against their record, refused with a cure where a
package is missing, and loaded where it is not."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from rjepa.errors import InvalidInputError
from rjepa.home import Home
from rjepa.students.catalog import StudentRecord
from rjepa.students.generation import sample_chains
from rjepa.students.loading import load_student, resolve_student
from rjepa.students.memory import shape_from_config, weight_bytes
from rjepa.students.quantisation import check_loadable, stored_quantisation
from rjepa.students.weights import count_parameters
from tests.students.architectures import write_model
from tests.students.tiny import STATEMENTS, record


def say(folder: Path, **quantization: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": quantization}))


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ({}, "none"),
        ({"quant_method": "awq", "bits": 4}, "awq"),
        ({"quant_method": "gptq", "bits": 4}, "gptq"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bnb4"),
        ({"load_in_8bit": True}, "bnb8"),
    ],
)
def test_a_folder_says_how_it_is_quantised(told: dict, kind: str) -> None:
    assert stored_quantisation({"quantization_config": told}, "x") == kind


def test_a_quantisation_that_students_are_not_loaded_with_is_named() -> None:
    with pytest.raises(InvalidInputError, match="quantised as fp8"):
        stored_quantisation({"quantization_config": {"quant_method": "fp8"}}, "x")


def test_a_record_that_says_otherwise_than_its_folder_is_refused_both_ways(folder: Path, home: Home) -> None:
    with pytest.raises(InvalidInputError, match="quantised as none, its record says awq.*\n.*--quantization none"):
        resolve_student(home, record(folder, quantisation="awq"))
    say(folder, quant_method="awq", bits=4)
    with pytest.raises(InvalidInputError, match="quantised as awq, its record says none.*\n.*--quantization awq"):
        resolve_student(home, record(folder))
    assert resolve_student(home, record(folder, quantisation="awq")).fingerprint


@pytest.mark.parametrize(
    ("kind", "package", "cure"),
    [
        ("awq", "gptqmodel", "--environment"),
        ("gptq", "optimum", "--environment"),
        ("bnb4", "bitsandbytes", "gpu"),
        ("bnb8", "bitsandbytes", "gpu"),
        ("gguf", "gguf", "gguf"),
    ],
)
def test_a_missing_package_is_named_with_its_cure(
    kind: str, package: str, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else found(name))
    student = StudentRecord.model_validate({"llm_tag": "x", "model": "a/b", "quantisation": kind})
    with pytest.raises(InvalidInputError, match=f"quantised as {kind}.*{package}.*cannot be imported.*\n.*{cure}"):
        check_loadable(student, "cpu")


def test_bitsandbytes_is_refused_where_it_has_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(InvalidInputError, match="no kernels for mps"):
        check_loadable(StudentRecord(llm_tag="x", model="a/b", quantisation="bnb8"), "mps")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("kind", "closeness"), [("bnb8", 0.99), ("bnb4", 0.95)])
def test_bitsandbytes_quantises_while_loading(kind: str, closeness: float, tmp_path: Path, home: Home) -> None:
    pytest.importorskip("bitsandbytes")
    wide = {"hidden_size": 128, "intermediate_size": 256, "num_key_value_heads": 4, "initializer_range": 0.02}
    folder = write_model(tmp_path / "wide", "llama", **wide)
    plain = load_student(resolve_student(home, record(folder)))
    resolved = resolve_student(home, record(folder, quantisation=kind))
    student = load_student(resolved, device="cpu")
    ids = torch.tensor([plain.tokenizer(STATEMENTS[0])["input_ids"]])
    with torch.inference_mode():
        wanted, found = plain.model(ids).logits, student.model(ids).logits
    assert torch.nn.functional.cosine_similarity(wanted.flatten(), found.flatten(), dim=0) > closeness
    config = plain.model.config.to_dict()
    shape = shape_from_config(config, count_parameters(list(resolved.weights), config))
    footprint = student.model.get_memory_footprint(return_buffers=False)
    if kind == "bnb8":  # of 4 bits, torch counts the packed weights and not their scales
        footprint += sum(m.SCB.nbytes for m in student.model.modules() if getattr(m, "SCB", None) is not None)
    assert weight_bytes(shape, kind, "float32") == pytest.approx(footprint, rel=0.12)
    chain = sample_chains(student, STATEMENTS[:1], num_candidates=1, seed=0, max_new_tokens=8)[0][0]
    assert chain.latents is not None and np.isfinite(chain.latents).all()


def test_four_bits_on_the_cpu_want_widths_of_whole_blocks(
    folder: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(InvalidInputError, match="32 and 48 wide.*multiples of 64.*\n.*bnb8"):
        load_student(resolve_student(home, record(folder, quantisation="bnb4")), device="cpu")


@pytest.mark.parametrize(("kind", "closeness"), [("F32", 1 - 1e-6), ("Q8_0", 0.99)])
def test_a_gguf_file_is_a_student(kind: str, closeness: float, tmp_path: Path, home: Home) -> None:
    pytest.importorskip("gguf")
    from rjepa.students.registering import new_record
    from tests.students.gguf_files import write_gguf

    folder = write_model(tmp_path / "model", "llama", hidden_size=64, intermediate_size=96)
    plain = load_student(resolve_student(home, record(folder)))
    assert isinstance(plain.model, LlamaForCausalLM)
    file = write_gguf(tmp_path / "tiny.gguf", plain.model, plain.tokenizer, kind)
    added = new_record("gg", str(file), changes={"dtype": "float32"})
    assert added.quantisation == "gguf"
    resolved = resolve_student(home, added)
    student = load_student(resolved)
    text = f"{STATEMENTS[0]}\nStep 1: é 漢 7"
    assert student.tokenizer(text)["input_ids"] == plain.tokenizer(text)["input_ids"]
    ids = torch.tensor([plain.tokenizer(text)["input_ids"]])
    with torch.inference_mode():
        wanted, found = plain.model(ids).logits, student.model(ids).logits
    assert torch.nn.functional.cosine_similarity(wanted.flatten(), found.flatten(), dim=0) > closeness
    assert (student.context_length, student.num_layers, student.eos_ids) == (256, 3, plain.eos_ids)
    chain = sample_chains(student, STATEMENTS[:1], num_candidates=1, seed=0, max_new_tokens=8)[0][0]
    assert chain.latents is not None and chain.latents.shape[1] == 3 * 64
    renamed = file.rename(tmp_path / "other.gguf")
    again = resolve_student(home, added.model_copy(update={"model": str(renamed)}))
    assert again.fingerprint == resolved.fingerprint


def test_a_file_that_only_calls_itself_gguf_is_refused(tmp_path: Path, home: Home) -> None:
    from rjepa.errors import CorruptError

    (tmp_path / "odd.gguf").write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(CorruptError, match="is not GGUF"):
        resolve_student(home, record(tmp_path / "odd.gguf", quantisation="gguf"))
    (tmp_path / "odd.gguf").write_bytes(b"GGUF....")
    with pytest.raises(InvalidInputError, match="is GGUF, the record .* says none"):
        resolve_student(home, record(tmp_path / "odd.gguf"))


def test_a_header_that_is_no_json_is_named(folder: Path) -> None:
    from rjepa.errors import CorruptError

    file = folder / "model.safetensors"
    file.write_bytes((9).to_bytes(8, "little") + b"{not json" + b"....")
    with pytest.raises(CorruptError, match="is not safetensors.*invalid JSON"):
        count_parameters([file], {})
