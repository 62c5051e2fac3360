"""What other people's LLMs do: outrun their context, write no steps, end in several ways, think aloud, lack tokens."""

import json
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from rjepa.errors import InvalidInputError
from rjepa.home import Home
from rjepa.reasoning.candidates import join_latents, make_candidates
from rjepa.students.extraction import extract_latents
from rjepa.students.generation import sample_chains, stream_chain
from rjepa.students.loading import Student, load_student, resolve_student
from rjepa.students.prompts import PromptFormat, encode_prompts, render_prompt
from tests.students.architectures import write_model
from tests.students.tiny import STATEMENTS, open_tiny, record, teach, tokenizer, write_student
from tests.students.tokenizers_of_kinds import of_kind

PROSE = "Mia has 3. She buys 4 more, so she has 7."
REPLIES = {
    "prose\n": PROSE,
    "prose, then an answer\n": f"{PROSE}\nAnswer: 7\n",
    "only an answer\n": "Answer: 7\n",
    "nothing\n": "",
}


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Student:
    """A student that writes no steps, in as many ways as there are."""
    root = tmp_path_factory.mktemp("free")
    return open_tiny(Home(root / "home"), teach(root / "model", REPLIES), segmentation="punctuation")


# The context.


def test_a_prompt_that_fills_the_context_is_refused_by_name(qwen: Student) -> None:
    with pytest.raises(InvalidInputError, match="the prompt of 'Mia Mia .* has .* tokens; tiny-test takes 1 to 255"):
        sample_chains(qwen, ["Mia " * 300], num_candidates=1, seed=0)
    with pytest.raises(InvalidInputError, match="shorten"):
        list(stream_chain(qwen, "Mia " * 300, seed=0))


def test_a_chain_is_cut_where_the_context_ends_and_says_that_it_did_not_finish(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "mistral", max_position_embeddings=24, eos_token_id=None)
    student = load_student(resolve_student(Home(tmp_path / "home"), record(folder)))
    prompt = len(student.tokenizer(f"{STATEMENTS[1]}\n")["input_ids"])
    rows = sample_chains(student, [STATEMENTS[1]], num_candidates=6, seed=0, max_new_tokens=500)[0]
    cut = [chain for chain in rows if not chain.finished]
    assert cut and all(prompt + len(chain.token_ids) == 24 for chain in cut)
    assert all(chain.latents is not None and len(chain.latents) >= 2 for chain in cut)


def test_a_chain_of_text_beyond_the_context_has_no_latents(qwen: Student) -> None:
    assert extract_latents(qwen, [STATEMENTS[0]], ["Step 1: " + "a b " * 300 + "\n"]) == [None]


# Steps that never come.


def test_prose_is_cut_into_its_sentences(free: Student) -> None:
    chain = sample_chains(free, ["prose"], num_candidates=1, seed=0, greedy=True)[0][0]
    assert chain.text == PROSE and chain.finished
    candidate = make_candidates([chain])[0]
    assert candidate.steps == ["Mia has 3.", "She buys 4 more, so she has 7."] and candidate.final_answer is None
    assert chain.latents is not None and chain.latents.shape == (3, free.width)


def test_prose_before_an_answer_is_steps_and_an_answer(free: Student) -> None:
    chain = sample_chains(free, ["prose, then an answer"], num_candidates=1, seed=0, greedy=True)[0][0]
    candidate = make_candidates([chain])[0]
    assert len(candidate.steps) == 2 and candidate.final_answer == "7" and chain.finished
    assert chain.latents is not None and chain.latents.shape == (4, free.width)


def test_an_answer_alone_is_one_segment_and_no_step(free: Student) -> None:
    chain = sample_chains(free, ["only an answer"], num_candidates=1, seed=0, greedy=True)[0][0]
    candidate = make_candidates([chain])[0]
    assert candidate.steps == [] and candidate.final_answer == "7"
    assert chain.latents is not None and chain.latents.shape == (2, free.width)


def test_no_text_at_all_leaves_the_prompt_alone(free: Student) -> None:
    chain = sample_chains(free, ["nothing"], num_candidates=1, seed=0, greedy=True)[0][0]
    assert chain.text == "" and chain.token_ids == [] and chain.finished and chain.self_certainty == 0.0
    assert chain.latents is not None and chain.latents.shape == (1, free.width)
    assert make_candidates([chain])[0].steps == []


def test_chains_of_all_these_kinds_are_scored_as_one_set(free: Student) -> None:
    rows = sample_chains(free, [prompt.strip() for prompt in REPLIES], num_candidates=1, seed=0, greedy=True)
    chains = [row[0] for row in rows]
    found = join_latents(chains)
    assert np.diff(found.offsets).tolist() == [3, 4, 2, 1] and np.isfinite(found.latents).all()


def test_guided_prose_is_one_step(free: Student, tmp_path: Path) -> None:
    student = open_tiny(Home(tmp_path), free.path)
    chain = sample_chains(student, ["prose"], num_candidates=1, seed=0, greedy=True)[0][0]
    assert make_candidates([chain])[0].steps == [PROSE]
    assert chain.latents is not None and len(chain.latents) == 2


def test_sampled_and_read_prose_have_the_same_segments(free: Student) -> None:
    chain = sample_chains(free, ["prose, then an answer"], num_candidates=1, seed=0, greedy=True)[0][0]
    read = extract_latents(free, ["prose, then an answer"], [chain.text])[0]
    assert read is not None and chain.latents is not None and read.latents.shape == chain.latents.shape
    np.testing.assert_allclose(read.latents, chain.latents, rtol=0.02, atol=0.02)


# Tokens.


def test_chains_are_the_same_without_a_pad_token(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    padded = open_tiny(home, write_student(tmp_path / "padded"))
    bare = open_tiny(home, write_student(tmp_path / "bare", pad=False))
    assert bare.tokenizer.pad_token_id is None
    both = [sample_chains(s, STATEMENTS, num_candidates=2, seed=3, max_new_tokens=20) for s in (padded, bare)]
    texts = [[chain.text for row in rows for chain in row] for rows in both]
    assert texts[0] == texts[1] and any(texts[0])


def test_any_of_several_end_tokens_ends_a_chain(tmp_path: Path) -> None:
    folder = teach(tmp_path / "model", {"a\n": "x = 2\n"})
    newline = tokenizer()("\n")["input_ids"]
    assert len(newline) == 1
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": [0, *newline]}))
    student = open_tiny(Home(tmp_path / "home"), folder)
    assert student.eos_ids == {0, *newline}
    chain = sample_chains(student, ["a"], num_candidates=1, seed=0, greedy=True)[0][0]
    assert chain.text == "x = 2" and chain.finished


def test_a_beginning_token_is_put_before_the_prompt_once_and_never_before_the_chain(tmp_path: Path) -> None:
    words = of_kind("replaced-spaces", bos=True)
    folder = write_model(tmp_path / "model", "mistral", words)
    student = load_student(resolve_student(Home(tmp_path / "home"), record(folder)))
    prompt = encode_prompts(student.tokenizer, student.record.prompt, ["Mia has 3.\n"])[0]
    assert prompt.count(words.bos_token_id) == 1 and prompt[0] == words.bos_token_id
    read = extract_latents(student, ["Mia has 3."], ["Step 1: a\nAnswer: 7\n"])[0]
    assert read is not None and read.latents.shape[0] == 3
    assert read.tokens == len(prompt) + len(words("Step 1: a\nAnswer: 7\n", add_special_tokens=False)["input_ids"])
    chain = sample_chains(student, ["Mia has 3."], num_candidates=1, seed=0, max_new_tokens=10)[0][0]
    assert "<s>" not in chain.text


def test_a_chat_template_that_writes_the_beginning_token_gets_no_second_one() -> None:
    words = of_kind("replaced-spaces", bos=True)
    words.chat_template = "{{ bos_token }}[INST] {{ messages[0]['content'] }} [/INST]"
    chat = PromptFormat(use_chat_template=True)
    ids = encode_prompts(words, chat, [render_prompt(words, chat, "Mia has 3.")])[0]
    assert ids.count(words.bos_token_id) == 1


# Chat templates.


def test_a_chat_template_that_is_not_there_is_said_so_before_anything_is_sampled(tmp_path: Path) -> None:
    student = open_tiny(
        Home(tmp_path / "home"), write_student(tmp_path / "model"), prompt=PromptFormat(use_chat_template=True)
    )
    with pytest.raises(InvalidInputError, match="has no chat template.*\n.*use_chat_template to false"):
        sample_chains(student, STATEMENTS[:1], num_candidates=1, seed=0)


QWEN3_LIKE = (
    "<|im_start|>user\n{{ messages[-1]['content'] }}<|im_end|>\n<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
)
R1_LIKE = "<|User|>{{ messages[-1]['content'] }}<|Assistant|><think>\n"


def rendered(template: str, thinking: bool | None) -> str:
    words: PreTrainedTokenizerFast = tokenizer()
    words.chat_template = template
    return render_prompt(words, PromptFormat(use_chat_template=True, thinking=thinking), "Mia has 3.")


def test_a_template_that_knows_the_switch_is_told() -> None:
    assert rendered(QWEN3_LIKE, False).endswith("assistant\n<think>\n\n</think>\n\n")
    assert rendered(QWEN3_LIKE, True).endswith("assistant\n") and rendered(QWEN3_LIKE, None).endswith("assistant\n")


def test_a_thinking_block_that_a_template_always_opens_is_closed_where_thinking_is_off() -> None:
    assert rendered(R1_LIKE, False).endswith("<|Assistant|><think>\n\n</think>\n\n")
    assert rendered(R1_LIKE, True).endswith("<think>") and rendered(R1_LIKE, None).endswith("<think>")
