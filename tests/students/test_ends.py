"""The end tokens of a student are found in every place where models name them."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from rjepa.errors import InvalidInputError
from rjepa.home import Home
from rjepa.students.prompts import PromptFormat, render_prompt
from tests.students.tiny import open_tiny, write_student

CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


def write_into(file: Path, values: dict[str, Any]) -> None:
    known = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(known | values))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("generation_config.json", {"eos_token_id": 5}),
        ("generation_config.json", {"eos_token_id": [0, 5]}),
        ("config.json", {"eos_token_id": [5]}),
        ("tokenizer_config.json", {"eos_token": {"content": '"', "__type": "AddedToken"}}),
        ("special_tokens_map.json", {"eos_token": '"'}),
        ("special_tokens_map.json", {"eos_token": {"content": '"', "lstrip": False}}),
        ("tokenizer_config.json", {"eot_token": '"'}),
    ],
)
def test_each_place_adds_its_end_tokens(name: str, values: dict[str, Any], tmp_path: Path) -> None:
    folder = write_student(tmp_path / "model", "llama")
    words = PreTrainedTokenizerFast.from_pretrained(folder)
    values = json.loads(json.dumps(values).replace(": 5", f": {_id(words)}").replace("5]", f"{_id(words)}]"))
    write_into(folder / name, values)
    assert open_tiny(Home(tmp_path / "home"), folder).eos_ids == {0, _id(words)}


def test_ids_that_the_head_cannot_draw_are_left_out(tmp_path: Path) -> None:
    folder = write_student(tmp_path / "model", "llama")
    write_into(folder / "generation_config.json", {"eos_token_id": [0, 99_999]})
    assert open_tiny(Home(tmp_path / "home"), folder).eos_ids == {0}


def test_the_token_that_a_chat_template_puts_after_an_answer_ends_it(tmp_path: Path) -> None:
    folder = write_student(tmp_path / "model", "llama")
    words = PreTrainedTokenizerFast.from_pretrained(folder)
    words.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    words.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(CHATML)
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(len(words))
    model.save_pretrained(folder)
    end = words.convert_tokens_to_ids("<|im_end|>")
    plain = open_tiny(Home(tmp_path / "home"), folder)
    chat = open_tiny(Home(tmp_path / "home"), folder, prompt=PromptFormat(use_chat_template=True))
    assert plain.eos_ids == {0} and chat.eos_ids == {0, end}


@pytest.mark.parametrize("stumbling", ["{{ 1 // 0 }}", "{{ '%(absent)s' % {} }}"])
def test_a_template_that_stumbles_tells_no_end_and_is_refused_once_a_prompt_wants_it(
    stumbling: str, tmp_path: Path
) -> None:
    folder = write_student(tmp_path / "model", "llama")
    (folder / "chat_template.jinja").write_text(stumbling)
    chat = PromptFormat(use_chat_template=True)
    student = open_tiny(Home(tmp_path / "home"), folder, prompt=chat)
    assert student.eos_ids == {0}
    with pytest.raises(InvalidInputError, match="chat template of .* cannot be used"):
        render_prompt(student.tokenizer, chat, "2 + 2?")


def test_a_template_in_the_file_of_a_processor_is_used(tmp_path: Path) -> None:
    folder = write_student(tmp_path / "model", "llama")
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": CHATML}))
    assert open_tiny(Home(tmp_path / "home"), folder).tokenizer.chat_template == CHATML


def _id(words: PreTrainedTokenizerFast) -> int:
    return int(words.convert_tokens_to_ids('"'))
