"""A student as one GGUF file: llama.cpp's own server and transformers read back what was written."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from rjepa.errors import InvalidInputError
from rjepa.home import Home
from rjepa.problems.curriculum.generate import sample_problem
from rjepa.sampling.endpoint import EndpointSource
from rjepa.students.generation import sample_indices
from rjepa.students.gguf_writing import write_gguf
from rjepa.students.loading import Student, load_student, resolve_student
from rjepa.students.registering import new_record
from rjepa.students.rescoring import score_chains
from rjepa.students.resolving import BUNDLED
from rjepa.students.sampled import GREEDY

pytest.importorskip("gguf")


@pytest.fixture(scope="module", params=["tiny-a", "tiny-b"])
def student(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Student:
    """A Qwen3 and a Llama, in the precision in which the file holds them."""
    record = new_record(request.param, f"bundled:{request.param}").model_copy(update={"dtype": "float32"})
    return load_student(resolve_student(Home(tmp_path_factory.mktemp("home")), record), "cpu")


@pytest.fixture(scope="module")
def file(student: Student, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("gguf") / f"{student.record.llm_tag}.gguf"
    write_gguf(student.path, file, student.record.llm_tag)
    return file


def test_transformers_reads_back_every_weight(student: Student, file: Path) -> None:
    # transformers 5.23 takes 128 for the width of a Qwen3's heads, whatever the file says: it is told.
    told = {"config": student.model.config, "dtype": torch.float32}
    read = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, **told)
    own, found = student.model.state_dict(), read.state_dict()
    assert own.keys() == found.keys()
    assert all(torch.equal(own[name], found[name]) for name in own)


@pytest.mark.slow
def test_llama_cpp_writes_the_students_chains_with_its_log_probabilities(student: Student, file: Path) -> None:
    pytest.importorskip("xllamacpp")
    from tests.sampling.llama_cpp import llama_cpp

    rng = random.Random(5)
    statements = [sample_problem(rng, domain, "easy")[0].statement for domain in ("math", "code", "logic")]
    statements.append("It's 1,234.5 \u20ac for Zo\u00eb's 3 pens; how much is one, in cents?")
    own = sample_indices(student, statements, [GREEDY], seed=1, max_new_tokens=120)
    with llama_cpp(file) as url:
        served = replace(student, record=student.record.model_copy(update={"endpoint": url}))
        rows = EndpointSource(served).sample(statements, [GREEDY, 0, 1], seed=1, max_new_tokens=120)
    for statement, row, (greedy,) in zip(statements, rows, own, strict=True):
        assert row[0].text == greedy.text and row[0].token_ids == greedy.token_ids
        prompt = student.tokenizer(f"{statement}\n")["input_ids"]
        scores = score_chains(student, [prompt] * len(row), [chain.token_ids for chain in row])
        for chain, score in zip(row, scores, strict=True):
            assert sum(chain.token_logprobs) == pytest.approx(
                sum(score.logprobs), rel=0.01, abs=0.05
            )  # its cache is in 16 bits


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "neither a Llama nor a Qwen3"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1.0}}, "scaled rotary"),
        ({"attention_bias": True}, "biases"),
    ],
)
def test_what_would_mean_something_else_there_is_refused(tmp_path: Path, change: dict[str, object], words: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(BUNDLED / "tiny-b", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(InvalidInputError, match=words) as refused:
        write_gguf(folder, tmp_path / "out.gguf", "x")
    assert "convert_hf_to_gguf" in refused.value.cure and list(tmp_path.iterdir()) == [folder]


def test_a_tokenizer_that_llama_cpp_would_split_otherwise_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(BUNDLED / "tiny-b", folder)
    text = (folder / "tokenizer.json").read_text().replace("p{N}|", "p{N}{1,3}|")
    (folder / "tokenizer.json").write_text(text)
    with pytest.raises(InvalidInputError, match="not trained here"):
        write_gguf(folder, tmp_path / "out.gguf", "x")
