"""How a problem or a conversation is put to a student: a plain template, or the model's own chat template.

Finding a chat template, and refusing one that changes from day to day, belongs to `rjepa.students.templates`. What
follows the prompt, the chain, has its text form in `rjepa.chains`.
"""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rjepa.errors import InvalidInputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_STATEMENT: Final = "{statement}"
_OPEN_THINKING: Final = "<think>"
_CLOSE_THINKING: Final = "</think>"
"""How Qwen3, the DeepSeek-R1 distillates and SmolLM3 enclose what they write before their answer."""

_OTHER_QUESTION: Final = "rjepa-asks-this"
"""Put in a question's place to see whether a template reads it at all: some write it in other letters."""

FIXED_DATE: Final = datetime.date(2024, 7, 26)
"""The date that a chat template reads for today's: the one Llama 3's own templates take where there is no clock."""

Role = Literal["system", "user", "assistant", "tool"]

Tools = Sequence[Mapping[str, Any]]
"""Functions that a model may call, as OpenAI's API describes them."""

TOOLS: Final = "tools"
"""What a prompt's `ignored` calls tools that are not in it, and the variable of chat templates that know them."""


class PromptFormat(BaseModel):
    """The text around a problem's statement. The default is what the bundled students were trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    template: str = Field(_STATEMENT + "\n", description="text with {statement} in it once or more")
    use_chat_template: bool = Field(False, description="wrap the text as a user message in the model's chat template")
    system: str = Field("", description="system message; without a chat template it goes before the text")
    thinking: bool | None = Field(
        None,
        description="passed to chat templates that know enable_thinking; false also closes a thinking block that a "
        "template leaves open; none leaves it to the template",
    )
    date: datetime.date = Field(
        FIXED_DATE, description="what a chat template that asks for today's date reads: the same every day"
    )

    @field_validator("template")
    @classmethod
    def _has_statement(cls, template: str) -> str:
        if _STATEMENT not in template:
            raise ValueError(f"the prompt template must contain {_STATEMENT}")
        return template


@dataclass(frozen=True)
class Message:
    """One message of a conversation, its content as plain text."""

    role: Role
    content: str


@dataclass(frozen=True)
class Prompt:
    """What a student reads for a conversation. `statement` is the last user message; `ignored` names, for people, the
    parts of the conversation that the text leaves out, and is empty where it holds all of them.
    """

    text: str
    statement: str
    ignored: tuple[str, ...] = ()


def render_prompt(tokenizer: "PreTrainedTokenizerBase", prompt_format: PromptFormat, statement: str) -> str:
    """The text that a student reads before it begins its chain.

    Raises:
        InvalidInputError: a chat template is asked for and the tokenizer has none, or it cannot be used.
    """
    return render_conversation(tokenizer, prompt_format, [Message("user", statement)]).text


def render_conversation(
    tokenizer: "PreTrainedTokenizerBase",
    prompt_format: PromptFormat,
    messages: Sequence[Message],
    tools: Tools = (),
) -> Prompt:
    """The text that a student reads before it answers the last user message of a conversation.

    With a chat template every message goes through it; the record's own system message comes before the
    conversation's, and the record's wording is put around the last user message alone. A student without a chat
    template reads that message and nothing else, and `ignored` says so. A conversation of one user message gives the
    prompt of that statement. Tools, and messages of theirs, are written where the template knows tools.

    Raises:
        InvalidInputError: the conversation does not end with a user message, a chat template is asked for and the
            tokenizer has none, or it cannot be used.
    """
    if not messages or messages[-1].role != "user":
        raise InvalidInputError(
            "the conversation does not end with a user message", cure="put the question last, as a user message"
        )
    statement = messages[-1].content
    text = prompt_format.template.replace(_STATEMENT, statement)
    if not prompt_format.use_chat_template:
        whole = f"{prompt_format.system}\n\n{text}" if prompt_format.system else text
        return Prompt(whole, statement, (*_unread(messages[:-1]), *([TOOLS] if tools else [])))
    knows_tools = _knows_tools(tokenizer)
    read = [one for one in messages if knows_tools or one.role != "tool"]
    system = [Message("system", prompt_format.system)] if prompt_format.system else []
    turns = _joined([*system, *read[:-1], Message("user", text)])
    rendered = _through_template(tokenizer, prompt_format, turns, tools if knows_tools else ())
    unread = _unread([one for one in messages if one not in read or not _is_in(one, rendered)])
    return Prompt(rendered, statement, (*unread, *([TOOLS] if tools and not knows_tools else [])))


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


def _knows_tools(tokenizer: "PreTrainedTokenizerBase") -> bool:
    from rjepa.students.templates import variables

    template = tokenizer.chat_template
    texts = template.values() if isinstance(template, dict) else [template] if template else []
    return any(TOOLS in variables(text) for text in texts)


def _through_template(
    tokenizer: "PreTrainedTokenizerBase", prompt_format: PromptFormat, turns: list[Message], tools: Tools
) -> str:
    from jinja2 import TemplateError  # with transformers, which a plain prompt does without

    from rjepa.students.templates import FAULTS, check_repeatable, with_fixed_date

    if not tokenizer.chat_template:
        raise InvalidInputError(
            f"{tokenizer.name_or_path or 'this model'} has no chat template",
            cure="set prompt.use_chat_template to false in the student's record; prompt.template holds the wording",
        )
    check_repeatable(tokenizer.chat_template)

    def rendered(messages: list[Message], *, in_parts: bool = False) -> str:
        switch: dict[str, Any] = {} if prompt_format.thinking is None else {"enable_thinking": prompt_format.thinking}
        given: list[Any] | None = [dict(tool) for tool in tools] or None
        spoken: list[Any] = [
            {"role": one.role, "content": _parts(one.content) if in_parts else one.content} for one in messages
        ]
        template, dates = with_fixed_date(tokenizer.get_chat_template(tools=given), prompt_format.date)
        return str(
            tokenizer.apply_chat_template(
                spoken,
                chat_template=template,
                tools=given,
                tokenize=False,
                add_generation_prompt=True,
                **dates,
                **switch,
            )
        )

    try:
        try:
            text = rendered(turns)
        except TemplateError:
            if turns[0].role != "system" or len(turns) == 1:
                raise
            turns = _without_system(turns)  # Gemma's and Mistral's early templates know no system message
            text = rendered(turns)
        if not _is_in(turns[-1], text) and text == rendered([*turns[:-1], Message("user", _OTHER_QUESTION)]):
            text = rendered(turns, in_parts=True)  # templates of models that see images may read nothing else
            if not _is_in(turns[-1], text):
                raise ValueError("it leaves the question out")
    except FAULTS as error:
        raise InvalidInputError(
            f"the chat template of {tokenizer.name_or_path or 'this model'} cannot be used: {error}",
            cure="mend its chat_template.jinja, or set prompt.use_chat_template to false in the student's record",
        ) from error
    if prompt_format.thinking is False and text.rstrip().endswith(_OPEN_THINKING):
        return f"{text.rstrip()}\n\n{_CLOSE_THINKING}\n\n"  # as Qwen3's own template says "without thinking"
    return text


def _parts(content: str) -> list[dict[str, str]]:
    """A message's content as OpenAI's API has it where images may be among it."""
    return [{"type": "text", "text": content}]


def _joined(messages: Sequence[Message]) -> list[Message]:
    """System messages as one at the head, and neighbours of one role as one: templates want the roles in turn."""
    system = "\n\n".join(one.content for one in messages if one.role == "system")
    turns = [Message("system", system)] if system else []
    for one in messages:
        if one.role == "system":
            continue
        if turns and turns[-1].role == one.role != "tool":
            turns[-1] = Message(one.role, f"{turns[-1].content}\n\n{one.content}")
        else:
            turns.append(one)
    return turns


def _without_system(turns: list[Message]) -> list[Message]:
    """The same conversation with its system message at the head of the first user message."""
    return _joined([Message("user", turns[0].content), *turns[1:]])


def _is_in(message: Message, rendered: str) -> bool:
    """Whether a template wrote a message. Templates trim it, and leave out what an earlier turn thought."""
    return message.content.rpartition(_CLOSE_THINKING)[2].strip() in rendered


def _unread(messages: Sequence[Message]) -> tuple[str, ...]:
    """What to call the messages that a student does not read."""
    system = sum(one.role == "system" for one in messages)
    others = len(messages) - system
    names = []
    if system:
        names.append("the system message" if system == 1 else f"{system} system messages")
    if others:
        names.append("the earlier message" if others == 1 else f"{others} earlier messages")
    return tuple(names)
