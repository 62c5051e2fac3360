"""A checkpoint that is not whole is refused by the names of what it lacks; what it holds beside the model is told."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rjepa.errors import CorruptError, InvalidInputError
from rjepa.home import Home
from tests.students.tiny import open_tiny, write_student

Tensors = dict[str, torch.Tensor]


def changed(folder: Path, change: Callable[[Tensors], Tensors]) -> Path:
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})
    return folder


def without(*names: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if name not in names}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("llama", "lm_head.weight"),
        ("llama", "model.embed_tokens.weight"),
        ("llama", "model.layers.1.mlp.up_proj.weight"),
        ("llama", "model.norm.weight"),
        ("qwen3", "model.embed_tokens.weight"),
        ("qwen3", "model.layers.2.self_attn.q_norm.weight"),
        ("gpt2", "transformer.h.0.attn.c_attn.bias"),
    ],
)
def test_a_weight_that_is_missing_is_named(kind: str, name: str, tmp_path: Path) -> None:
    folder = changed(write_student(tmp_path / "model", kind), without(name))
    with pytest.raises(InvalidInputError, match="lacks .* of the weights") as refused:
        open_tiny(Home(tmp_path / "home"), folder)
    assert name in str(refused.value)


def test_of_many_missing_weights_some_are_named_and_all_counted(tmp_path: Path) -> None:
    def only_the_first_layer(tensors: Tensors) -> Tensors:
        return {name: tensor for name, tensor in tensors.items() if ".layers.2." not in name}

    folder = changed(write_student(tmp_path / "model", "llama"), only_the_first_layer)
    with pytest.raises(InvalidInputError, match=r"lacks 9 of the weights.*model\.layers\.2\..* and 3 more"):
        open_tiny(Home(tmp_path / "home"), folder)


def test_a_tied_model_needs_no_head_of_its_own(tmp_path: Path) -> None:
    folder = changed(write_student(tmp_path / "model", "qwen3"), without("lm_head.weight"))
    assert open_tiny(Home(tmp_path / "home"), folder).unused_weights == ()


@pytest.mark.parametrize("name", ["lm_head.weight", "model.layers.0.mlp.up_proj.weight"])
def test_a_weight_of_another_shape_is_named_with_both_shapes(name: str, tmp_path: Path) -> None:
    folder = changed(
        write_student(tmp_path / "model", "llama"), lambda tensors: tensors | {name: tensors[name][:-1].clone()}
    )
    with pytest.raises(InvalidInputError, match="weights of other shapes") as refused:
        open_tiny(Home(tmp_path / "home"), folder)
    assert name in str(refused.value) and "expected" in str(refused.value)


def test_weights_that_the_model_has_no_place_for_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    more = {"model.layers.9.extra.weight": torch.zeros(2)}
    folder = changed(write_student(tmp_path / "model", "llama"), lambda tensors: tensors | more)
    with caplog.at_level(logging.WARNING, logger="rjepa"):
        student = open_tiny(Home(tmp_path / "home"), folder)
    assert student.unused_weights == tuple(more)
    assert "model.layers.9.extra.weight" in caplog.text


def test_loading_writes_nothing_to_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = write_student(tmp_path / "model", "llama")
    capfd.readouterr()
    open_tiny(Home(tmp_path / "home"), folder)
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(value: float, tmp_path: Path) -> None:
    def broken(tensors: Tensors) -> Tensors:
        tensors["model.layers.1.mlp.up_proj.weight"][0, 0] = value
        return tensors

    folder = changed(write_student(tmp_path / "model", "llama"), broken)
    with pytest.raises(InvalidInputError, match=r"NaN or infinity in 1 of its weights: model\.layers\.1\.mlp\.up_proj"):
        open_tiny(Home(tmp_path / "home"), folder)


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.self_attn.q_proj.weight_scale_inv",
        "model.layers.0.self_attn.q_proj.qzeros",
        "model.layers.0.self_attn.q_proj.lora_A.weight",
        "model.layers.0.self_attn.q_proj.lora_A.default.weight",
    ],
)
def test_scales_and_loras_that_nothing_would_use_are_refused(name: str, tmp_path: Path) -> None:
    folder = changed(write_student(tmp_path / "model", "llama"), lambda tensors: tensors | {name: torch.zeros(2)})
    with pytest.raises(InvalidInputError, match="quantization_config"):
        open_tiny(Home(tmp_path / "home"), folder)


def test_a_pointer_of_git_lfs_is_called_by_its_name(tmp_path: Path) -> None:
    folder = write_student(tmp_path / "model", "llama")
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n")
    with pytest.raises(CorruptError, match=r"pointer of Git LFS(.|\n)*git lfs pull"):
        open_tiny(Home(tmp_path / "home"), folder)
