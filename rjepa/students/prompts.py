"""How a problem is put to a student: a plain template or the model's own chat template. What follows the prompt, the
chain, has its text form in `rjepa.chains`.
"""

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rjepa.errors import InvalidInputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_STATEMENT = "{statement}"
_THINK, _THOUGHT = "<think>", "</think>"
"""How Qwen3, the DeepSeek-R1 distillates and SmolLM3 enclose what they write before their answer."""


class PromptFormat(BaseModel):
    """The text around a problem's statement. The default is what the bundled students were trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    template: str = Field(_STATEMENT + "\n", description="text with {statement} in it once or more")
    use_chat_template: bool = Field(False, description="wrap the text as a user message in the model's chat template")
    system: str = Field("", description="system message; without a chat template it goes before the text")
    thinking: bool | None = Field(
        None,
        description="told to chat templates that know enable_thinking; false also closes a thinking block that a "
        "template leaves open; none leaves it to the template",
    )

    @field_validator("template")
    @classmethod
    def _has_statement(cls, template: str) -> str:
        if _STATEMENT not in template:
            raise ValueError(f"the prompt template must contain {_STATEMENT}")
        return template


def render_prompt(tokenizer: "PreTrainedTokenizerBase", prompt_format: PromptFormat, statement: str) -> str:
    """The text a student reads before it begins its chain.

    Raises:
        InvalidInputError: a chat template is asked for and the tokenizer has none.
    """
    text = prompt_format.template.replace(_STATEMENT, statement)
    if not prompt_format.use_chat_template:
        return f"{prompt_format.system}\n\n{text}" if prompt_format.system else text
    if not tokenizer.chat_template:
        raise InvalidInputError(
            f"{tokenizer.name_or_path or 'this model'} has no chat template",
            cure="set prompt.use_chat_template to false in the student's record; prompt.template holds the wording",
        )
    messages = [{"role": "system", "content": prompt_format.system}] if prompt_format.system else []
    messages.append({"role": "user", "content": text})
    switch = {} if prompt_format.thinking is None else {"enable_thinking": prompt_format.thinking}
    rendered = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **switch))
    if prompt_format.thinking is False and rendered.rstrip().endswith(_THINK):
        return f"{rendered.rstrip()}\n\n{_THOUGHT}\n\n"  # as Qwen3's own template says "without thinking"
    return rendered


def encode_prompts(
    tokenizer: "PreTrainedTokenizerBase", prompt_format: PromptFormat, prompts: list[str]
) -> list[list[int]]:
    """Token ids of rendered prompts. A chat template writes its own special tokens; a plain prompt gets those that the
    tokenizer puts first, such as a beginning-of-sequence token.
    """
    if not prompts:
        return []
    special = not prompt_format.use_chat_template
    ids = [list(row) for row in tokenizer(prompts, add_special_tokens=special)["input_ids"]]
    if special and tokenizer.eos_token_id is not None:
        ids = [row[:-1] if row and row[-1] == tokenizer.eos_token_id else row for row in ids]
    return ids
