"""A LoRA beside a loaded student: what peft would write, with the base's tensors held once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rjepa.errors import InvalidInputError
from rjepa.files import read_json, write_json
from rjepa.home import Home
from rjepa.students import fused
from rjepa.students.extraction import extract_latents
from rjepa.students.fused import FusedDecoder
from rjepa.students.generation import sample_indices
from rjepa.students.loading import Student
from rjepa.students.lora.beside import put_beside
from rjepa.students.lora.files import Lora, seal_lora
from rjepa.students.lora.registering import describe_lora
from rjepa.students.native_passes import NativePasses
from rjepa.students.sampled import GREEDY, SampledChain

from .architectures import write_model
from .loras import with_peft, write_peft
from .test_fused import STATEMENTS, alike
from .tiny import open_tiny


@pytest.fixture(scope="module", params=["qwen2", "qwen3"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Student:
    folder = write_model(tmp_path_factory.mktemp(request.param) / "model", request.param)
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", {**config, "sliding_window": None})
    return open_tiny(Home(tmp_path_factory.mktemp("home")), folder)


def sealed(base: Student, folder: Path, seed: int = 0, **changes: object) -> Lora:
    write_peft(base.path, folder / "peft", seed, **changes)
    return seal_lora(folder / "peft", folder / "sealed", describe_lora(base, f"night-{seed}", origin="imported"))


def beside(base: Student, lora: Lora) -> Student:
    return put_beside(base, lora, base.record.model_copy(update={"llm_tag": lora.name}), "f" * 64)


def as_peft_loads(base: Student, lora: Lora) -> Student:
    """The same by peft's own way: a model of its own, read from the files anew, and transformers' forward."""
    model: Any = with_peft(base.path, lora.folder)
    model = model.get_base_model()
    model.set_attn_implementation(base.model.config._attn_implementation)
    return replace(base, model=model, fuses=False, _encoder=[], _decoders=[])


@pytest.fixture(params=["native", "torch"])
def decoder(request: pytest.FixtureRequest, base: Student, monkeypatch: pytest.MonkeyPatch) -> type:
    if request.param == "torch":
        monkeypatch.setattr(fused, "_MOST_COPIED", 0)
    base._decoders.clear()
    return NativePasses if request.param == "native" else FusedDecoder


def chains(student: Student, seed: int = 4) -> list[SampledChain]:
    found = sample_indices(student, STATEMENTS, [GREEDY, 0, 1], seed=seed, temperature=1.2, max_new_tokens=40)
    return [chain for row in found for chain in row]


SOME: dict[str, Any] = {"target_modules": ["q_proj", "v_proj", "down_proj"], "rank_pattern": {"v_proj": 2}}


def test_it_writes_what_the_model_that_peft_loads_writes(base: Student, decoder: type, tmp_path: Path) -> None:
    more = SOME | {"use_rslora": True} if base.model.config.model_type == "qwen2" else {}
    lora = sealed(base, tmp_path, **more)
    student = beside(base, lora)
    assert student.fused is not None and type(student.fused[0]) is decoder
    plain, found = chains(base), chains(student)
    for chain, twin in zip(found, chains(as_peft_loads(base, lora)), strict=True):
        alike(chain, twin)
    assert [one.text for one in plain] != [one.text for one in found]
    assert [one.text for one in chains(base)] == [one.text for one in plain]


def test_dora_takes_pefts_own_forward(base: Student, tmp_path: Path) -> None:
    lora = sealed(base, tmp_path, use_dora=True)
    student = beside(base, lora)
    assert student.fused is None
    for chain, twin in zip(chains(student), chains(as_peft_loads(base, lora)), strict=True):
        alike(chain, twin)


def storages(*students: Student) -> dict[int, int]:
    """Bytes of every storage that these students' models and decoders hold, by its address."""
    tensors = [one for student in students for one in (*student.model.parameters(), *student.model.buffers())]
    found = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in tensors}
    for student in students:
        decoder = student.fused[0] if student.fused else None
        if isinstance(decoder, NativePasses):
            arrays = [array for layer in (*decoder.layers, *(decoder.added or ())) for array in layer]
            found |= {array.ctypes.data: array.nbytes for array in (*arrays, decoder.top[1]) if array.size}
        elif isinstance(decoder, FusedDecoder):
            products = [product for layer in decoder._layers for product in (layer.inward, layer.gate_up)]
            weights = [product._layer.weight.untyped_storage() for product in products]
            found |= {one.data_ptr(): one.nbytes() for one in weights}
    return found


def test_the_bases_tensors_are_held_once(base: Student, decoder: type, tmp_path: Path) -> None:
    loras = [sealed(base, tmp_path / str(seed), seed) for seed in (1, 2)]
    assert base.fused is not None
    alone, students = storages(base), [beside(base, lora) for lora in loras]
    for student in students:
        chains(student)
    own = {name: one for name, one in base.model.named_parameters()}
    for student in students:
        its = {name.replace(".base_layer", ""): one for name, one in student.model.named_parameters()}
        assert all(its[name] is one for name, one in own.items())
    together = storages(base, *students)
    # peft's matrices, and the same in the order that a decoder wants.
    added = sum(together.values()) - sum(alone.values())
    assert 0 < added <= 4 * 4 * sum(lora.parameters for lora in loras)


def test_a_lora_of_another_base_is_refused_and_the_base_stays_as_it_is(base: Student, tmp_path: Path) -> None:
    lora = sealed(base, tmp_path)
    before = [one.text for one in chains(base)]
    with pytest.raises(InvalidInputError, match="was made for student"):
        beside(replace(base, fingerprint="e" * 64), lora)
    assert [one.text for one in chains(base)] == before
    assert not any("base_layer" in name for name, _ in base.model.named_parameters())


def test_the_latents_that_it_reads_are_its_own(base: Student, tmp_path: Path) -> None:
    lora = sealed(base, tmp_path)
    written = sample_indices(beside(base, lora), STATEMENTS[:1], [GREEDY], seed=4, max_new_tokens=20)[0][0]
    peft = as_peft_loads(base, lora)
    read = [extract_latents(one, STATEMENTS[:1], [written.text])[0] for one in (beside(base, lora), peft, base)]
    found, expected, plain = (one.latents.astype(float) for one in read if one is not None)
    np.testing.assert_allclose(found, expected, atol=8e-3, rtol=2e-3)
    assert np.abs(found - plain).max() > 0.05
