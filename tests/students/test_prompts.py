"""How a problem is put to a student."""

import pytest
from pydantic import ValidationError

from rjepa.errors import InvalidInputError
from rjepa.students.loading import Student
from rjepa.students.prompts import PromptFormat, encode_prompts, render_prompt
from tests.students.tiny import tokenizer


def test_the_default_prompt_is_the_statement_and_a_newline(qwen: Student) -> None:
    assert render_prompt(qwen.tokenizer, PromptFormat(), "What is {x}?") == "What is {x}?\n"


def test_a_system_text_goes_before_a_plain_prompt(qwen: Student) -> None:
    prompt = render_prompt(qwen.tokenizer, PromptFormat(system="Think."), "1 + 1?")
    assert prompt == "Think.\n\n1 + 1?\n"


def test_a_chat_template_is_used_when_asked_for() -> None:
    words = tokenizer()
    words.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
    chat = PromptFormat(template="{statement}", use_chat_template=True, system="Think.")
    assert render_prompt(words, chat, "1 + 1?") == "<system>Think.<user>1 + 1?<assistant>"


def test_asking_for_a_chat_template_that_is_not_there_says_what_to_change(qwen: Student) -> None:
    with pytest.raises(InvalidInputError, match="no chat template\n.*use_chat_template to false"):
        render_prompt(qwen.tokenizer, PromptFormat(use_chat_template=True), "1 + 1?")


def test_a_template_without_the_statement_is_refused() -> None:
    with pytest.raises(ValidationError, match="statement"):
        PromptFormat(template="Solve it.")


def test_an_encoded_prompt_decodes_to_itself(qwen: Student) -> None:
    (ids,) = encode_prompts(qwen.tokenizer, PromptFormat(), ["Où est 15 ?\n"])
    assert qwen.pieces.text(ids) == "Où est 15 ?\n"
