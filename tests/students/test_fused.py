"""A decoding step without transformers' modules writes what their forward writes, whatever is done to its rows."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rjepa.files import read_json, write_json
from rjepa.home import Home
from rjepa.students import fused, native
from rjepa.students.fused import FusedDecoder
from rjepa.students.generation import sample_indices
from rjepa.students.loading import Student
from rjepa.students.native_passes import NativePasses
from rjepa.students.rules import TokenRules
from rjepa.students.sampled import GREEDY, ChainEnd, Pass, RowRequest, SampledChain, StepEnd, Token, Until
from rjepa.students.session import Session

from .architectures import write_model
from .tiny import open_tiny, taught_pairs

STATEMENTS = [pair[0] for pair in taught_pairs()[:5]]
ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3")


@pytest.fixture(scope="module", params=ARCHITECTURES)
def reference(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Student:
    """A random student of an architecture, as transformers runs it."""
    folder = write_model(tmp_path_factory.mktemp(request.param) / "model", request.param)
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", {**config, "sliding_window": None})
    return replace(open_tiny(Home(tmp_path_factory.mktemp("home")), folder), fuses=False)


@pytest.fixture(params=["native", "torch"])
def student(request: pytest.FixtureRequest, reference: Student, monkeypatch: pytest.MonkeyPatch) -> Student:
    """The same, by compiled layers and by torch's own operations."""
    if request.param == "torch":
        monkeypatch.setattr(fused, "_MOST_COPIED", 0)
    found = replace(reference, fuses=True, _decoders=[])
    assert found.fused is not None
    assert type(found.fused[0]) is (NativePasses if request.param == "native" else FusedDecoder)
    return found


def alike(one: SampledChain, other: SampledChain) -> None:
    assert (one.text, one.token_ids, one.finished) == (other.text, other.token_ids, other.finished)
    np.testing.assert_allclose(one.token_logprobs, other.token_logprobs, atol=1e-4)
    assert one.latents is not None and other.latents is not None
    np.testing.assert_allclose(one.latents.astype(float), other.latents.astype(float), atol=8e-3, rtol=2e-3)


def test_the_same_seeds_give_the_same_chains(student: Student, reference: Student) -> None:
    found, expected = (
        sample_indices(one, STATEMENTS, [GREEDY, 0, 1], seed=4, temperature=1.3, max_new_tokens=50)
        for one in (student, reference)
    )
    for row, its in zip(found, expected, strict=True):
        for chain, twin in zip(row, its, strict=True):
            alike(chain, twin)


def played(student: Student) -> list[SampledChain]:
    """Rows that come late, fork, are cut into their prompts, bent, biased and dropped."""
    width = student.hidden_size
    shift = torch.linspace(-1, 1, width)
    bias = torch.linspace(-2, 2, len(student.model.get_output_embeddings().weight))
    with Session(student, keep_finished=True) as session:
        rows = session.add([RowRequest(STATEMENTS[0], 1, sample, 1.1, 40) for sample in range(3)])
        passes = 0
        for event in session.run(Until.CHAIN):
            passes += isinstance(event, Pass)
            if isinstance(event, Pass) and passes == 3:
                rows += session.add([RowRequest(one, 2, 0, 1.2, 40) for one in STATEMENTS[1:]])
                session.set_edit(rows[1], shift)
                session.set_bias(rows[2], bias)
            if isinstance(event, Pass) and passes == 9:
                rows.append(session.fork(rows[0], sample_index=5, keep_tokens=4))
                rows.append(session.fork(rows[3], sample_index=6, keep_tokens=0))
                session.set_edit(rows[-1], lambda state: state * 1.1)
                session.drop(rows[4])
            if isinstance(event, Pass) and passes == 12:
                rows += session.add([RowRequest(STATEMENTS[0], 9, 7, 1.0, 30, rules=TokenRules(top_logprobs=2))])
        return session.chains(rows)


def test_rows_that_come_fork_and_are_bent_do_the_same(student: Student, reference: Student) -> None:
    for chain, twin in zip(played(student), played(reference), strict=True):
        alike(chain, twin)


def stepped(student: Student, *, tokens: bool) -> tuple[list[SampledChain], int, int]:
    """Rows of which some wait for others, come late, fork and are stopped, each at the end of a step."""
    passes = generated = 0
    with Session(student, keep_finished=True) as session:
        requests = [RowRequest(STATEMENTS[0], 3, sample, 1.2, 60) for sample in range(3)]
        rows = session.add([*requests, RowRequest(STATEMENTS[1], 3, GREEDY, 1.2, 60)])
        ends = 0
        for event in session.run(Until.CHAIN, tokens=tokens):
            if isinstance(event, Pass):
                passes, generated = passes + 1, generated + event.generated
            if not isinstance(event, StepEnd):
                continue
            ends += 1
            session.hold(event.row)
            if ends == 2:
                rows += session.add([RowRequest(one, 5, 0, 0.7, 50) for one in STATEMENTS[2:4]])
            if ends == 4:
                rows.append(session.fork(event.row, sample_index=8, keep_steps=1))
            if ends % 3 == 0:
                for row in rows:
                    session.go_on(row)
        for row in rows:
            session.go_on(row)
        for event in session.run(tokens=tokens):
            generated += event.generated if isinstance(event, Pass) else 0
            passes += isinstance(event, Pass)
        counts = session.counts
        assert counts.generated == generated
        return session.chains(rows), passes, counts.passes


def test_prompts_that_are_read_in_parts_are_read_as_at_once(
    reference: Student, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = replace(reference, fuses=True, _decoders=[])
    at_once = sample_indices(found, STATEMENTS, [GREEDY, 0], seed=4, temperature=1.3, max_new_tokens=30)
    monkeypatch.setattr(native, "_MOST_READ", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    in_parts = sample_indices(found, STATEMENTS, [GREEDY, 0], seed=4, temperature=1.3, max_new_tokens=30)
    for row, its in zip(at_once, in_parts, strict=True):
        for chain, twin in zip(row, its, strict=True):
            alike(chain, twin)
            np.testing.assert_allclose(chain.sentences, twin.sentences, atol=8e-3)


def test_tokens_drawn_ahead_are_those_that_are_drawn_one_by_one(reference: Student) -> None:
    student = replace(reference, fuses=True, _decoders=[])
    (ahead, events, passes), (single, as_many, _) = (stepped(student, tokens=tokens) for tokens in (False, True))
    for chain, twin in zip(ahead, single, strict=True):
        alike(chain, twin)
    assert events < passes  # several passes an event
    assert events < as_many


def read_along(
    student: Student, *, one_by_one: bool
) -> tuple[list[SampledChain], list[list[int]], list[str], int, int]:
    """Many rows that end one after another and come in two groups: their chains, and what a reader saw of each."""
    seen: dict[int, list[int]] = {}
    texts: dict[int, str] = {}
    passes = unused = 0
    with Session(student) as session:
        rows = session.add([RowRequest(one, 3, sample, 1.1, 60) for one in STATEMENTS[:2] for sample in range(5)])
        for event in session.run(steps=False, one_by_one=one_by_one):
            if isinstance(event, Pass):
                passes += 1
                if passes == 2:
                    rows += session.add([RowRequest(STATEMENTS[2], 3, sample, 0.9, 30) for sample in (GREEDY, 1)])
                continue
            assert isinstance(event, Token | ChainEnd)
            texts[event.row] = texts.get(event.row, "") + event.text
            if isinstance(event, Token):
                seen.setdefault(event.row, []).append(event.token)
            else:
                unused += event.unused
        generated = sum(len(tokens) for tokens in seen.values())
        assert session.counts.generated == generated
        return session.chains(rows), [seen[row] for row in rows], [texts[row] for row in rows], passes, unused


def test_a_reader_of_many_rows_sees_the_same_tokens_when_some_come_together(reference: Student) -> None:
    ends = frozenset(range(0, len(reference.pieces.pieces), 12))
    student = replace(reference, fuses=True, eos_ids=ends, _decoders=[])
    (chains, tokens, texts, passes, unused), single = (
        read_along(student, one_by_one=one_by_one) for one_by_one in (False, True)
    )
    for chain, twin in zip(chains, single[0], strict=True):
        alike(chain, twin)
    assert (tokens, texts) == (single[1], single[2])
    assert texts == [chain.text for chain in chains]
    assert len({len(one) for one in tokens}) > 4, "rows end at different times"
    assert 2 * passes < single[3] and unused > single[4] == 0


def test_bfloat16_takes_torchs_operations_and_writes_nearly_the_same(reference: Student) -> None:
    model = type(reference.model)(reference.model.config).eval().requires_grad_(False)
    model.load_state_dict(reference.model.state_dict())
    model = model.bfloat16()
    model.set_attn_implementation(reference.model.config._attn_implementation)
    student = replace(reference, model=model, fuses=True, _encoder=[], _decoders=[])
    assert student.fused is not None and type(student.fused[0]) is FusedDecoder
    (found,), (expected,) = (
        sample_indices(one, STATEMENTS[:1], [GREEDY], seed=4, max_new_tokens=12)
        for one in (student, replace(student, fuses=False))
    )
    np.testing.assert_allclose(found[0].token_logprobs[:3], expected[0].token_logprobs[:3], atol=0.1)


def test_several_rows_of_a_model_with_large_products_take_torchs_operations(
    reference: Student, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "SMALL", 0)
    student = replace(reference, fuses=True, _decoders=[])
    assert student.fused is not None
    decoder = student.fused[0]
    assert isinstance(decoder, NativePasses) and decoder.draws(1) and not decoder.draws(2)
    for chain, twin in zip(played(student), played(reference), strict=True):
        alike(chain, twin)
    for one, other in zip(written_alone(student), written_alone(reference), strict=True):
        alike(one, other)


def written_alone(student: Student) -> list[SampledChain]:
    return [row[0] for row in sample_indices(student, STATEMENTS[:1], [0], seed=4, temperature=1.3, max_new_tokens=30)]


def test_where_numba_is_missing_torchs_operations_do(reference: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rjepa.students.native_passes", None)
    student = replace(reference, fuses=True, _decoders=[])
    assert student.fused is not None and type(student.fused[0]) is FusedDecoder


@pytest.mark.parametrize(
    "change",
    [
        lambda config: setattr(config, "hidden_act", "gelu"),
        lambda config: setattr(config, "model_type", "llama4"),
        lambda config: config.rope_parameters.update(rope_type="dynamic"),
    ],
)
def test_what_is_not_known_to_the_last_operation_takes_transformers_forward(
    reference: Student, change: Callable[[object], None]
) -> None:
    model = type(reference.model)(type(reference.model.config).from_dict(reference.model.config.to_dict()))
    change(model.config)
    assert fused.make_decoder(model) is None


def test_a_model_larger_than_its_copy_may_be_shares_its_weights(reference: Student, tmp_path: Path) -> None:
    decoder = FusedDecoder(reference.model)
    layer = reference.model.model.layers[0]
    joined = decoder._layers[0].inward._layer.weight
    assert layer.self_attn.q_proj.weight.data_ptr() == joined.data_ptr()
    assert layer.self_attn.k_proj.weight.untyped_storage().data_ptr() == joined.untyped_storage().data_ptr()
