"""A conversation as a student reads it, and chat templates that would change from day to day."""

import datetime
import json
from pathlib import Path

import pytest
import transformers.utils.chat_template_utils as chat_templates

from rjepa.errors import InvalidInputError
from rjepa.students.prompts import Message, PromptFormat, render_conversation, render_prompt
from rjepa.students.templates import read_template
from tests.students.tiny import tokenizer

ALL_TURNS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
CHAT = PromptFormat(template="{statement} In steps.", use_chat_template=True)
CONVERSATION = [
    Message("system", "Be brief."),
    Message("user", "2 + 2?"),
    Message("assistant", "4"),
    Message("user", "And doubled?"),
]


def _words(template: object) -> object:
    words = tokenizer()
    words.chat_template = template
    return words


def test_all_turns_go_through_the_chat_template_and_the_wording_goes_around_the_last_question() -> None:
    prompt = render_conversation(_words(ALL_TURNS), CHAT, CONVERSATION)
    assert prompt.text == "<system>Be brief.<user>2 + 2?<assistant>4<user>And doubled? In steps.<assistant>"
    assert prompt.statement == "And doubled?" and prompt.ignored == ()


def test_the_records_system_message_comes_before_the_conversations() -> None:
    own = CHAT.model_copy(update={"system": "Think."})
    assert render_conversation(_words(ALL_TURNS), own, CONVERSATION).text.startswith(
        "<system>Think.\n\nBe brief.<user>2 + 2?"
    )


def test_neighbours_of_one_role_are_one_turn_and_late_system_messages_go_to_the_head() -> None:
    messages = [Message("user", "2 + 2?"), Message("system", "Be brief."), Message("user", "Please.")]
    text = render_conversation(_words(ALL_TURNS), CHAT, messages).text
    assert text == "<system>Be brief.<user>2 + 2?\n\nPlease. In steps.<assistant>"


def test_one_question_alone_is_the_prompt_of_its_statement() -> None:
    words = _words(ALL_TURNS)
    assert render_conversation(words, CHAT, [Message("user", "2 + 2?")]).text == render_prompt(words, CHAT, "2 + 2?")


def test_a_template_that_refuses_a_system_message_gets_it_within_the_first_question() -> None:
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + ALL_TURNS
    prompt = render_conversation(_words(strict), CHAT, CONVERSATION)
    assert prompt.text.startswith("<user>Be brief.\n\n2 + 2?<assistant>4") and prompt.ignored == ()


def test_what_a_template_leaves_out_is_named() -> None:
    only_last = _words("{{ messages[-1].content }}")
    assert render_conversation(only_last, CHAT, CONVERSATION).ignored == ("the system message", "2 earlier messages")
    assert render_conversation(only_last, CHAT, CONVERSATION[-1:]).ignored == ()


def test_what_an_earlier_turn_thought_may_be_left_out() -> None:
    forgets = ALL_TURNS.replace("m.content", "m.content.split('</think>')[-1]")
    messages = [Message("user", "2?"), Message("assistant", "<think>hm</think> 2"), Message("user", "3?")]
    assert render_conversation(_words(forgets), CHAT, messages).ignored == ()


def test_a_student_without_a_chat_template_reads_the_last_question_and_says_what_it_did_not_read() -> None:
    prompt = render_conversation(tokenizer(), PromptFormat(), CONVERSATION)
    assert prompt.text == "And doubled?\n"
    assert prompt.ignored == ("the system message", "2 earlier messages")


@pytest.mark.parametrize("messages", [[], CONVERSATION[:1], CONVERSATION[:3]])
def test_a_conversation_that_asks_nothing_is_refused(messages: list[Message]) -> None:
    with pytest.raises(InvalidInputError, match="does not end with a user message"):
        render_conversation(_words(ALL_TURNS), CHAT, messages)


@pytest.mark.parametrize(
    "asks", ["{{ strftime_now('%d %b %Y') }}", "{% set d = strftime_now('%H:%M:%S') %}{{ d }}"], ids=["date", "time"]
)
def test_a_template_that_writes_todays_date_gives_the_same_prompt_on_another_day(
    asks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = _words(asks + ALL_TURNS)
    today = render_prompt(words, CHAT, "2 + 2?")

    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Later":
            return cls(2031, 5, 6, 7, 8, 9, tzinfo=tz)

    monkeypatch.setattr(chat_templates, "datetime", Later)
    assert render_prompt(words, CHAT, "2 + 2?") == today


def test_the_date_that_a_template_reads_is_the_records() -> None:
    dated = CHAT.model_copy(update={"date": datetime.date(2025, 3, 4)})
    assert render_prompt(_words("{{ strftime_now(format='%d %b %Y') }}" + ALL_TURNS), dated, "2?").startswith(
        "04 Mar 2025<user>2?"
    )


@pytest.mark.parametrize(
    "random",
    ["{{ ['a', 'b'] | random }}", "{{ lipsum(1) }}", "{{ [['a', 'b']] | map('random') | first }}"],
)
def test_a_template_that_draws_at_random_is_refused(random: str) -> None:
    with pytest.raises(InvalidInputError, match="draws at random"):
        render_prompt(_words(random + ALL_TURNS), CHAT, "2 + 2?")


@pytest.mark.parametrize("broken", ["{% for m in", "{{ now() }}", "{{ raise_exception('never') }}"])
def test_a_template_that_cannot_be_used_is_refused_with_a_cure(broken: str) -> None:
    with pytest.raises(InvalidInputError, match="chat_template.jinja"):
        render_prompt(_words(broken), CHAT, "2 + 2?")


def test_a_template_is_found_wherever_a_folder_keeps_it(tmp_path: Path) -> None:
    assert read_template(tmp_path) is None
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "json"}))
    assert read_template(tmp_path) == "json"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": None}))
    assert read_template(tmp_path) == "json"
    named = [{"name": "default", "template": "one"}, {"name": "tool_use", "template": "two"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    assert read_template(tmp_path) == {"default": "one", "tool_use": "two"}
    (tmp_path / "chat_template.jinja").write_text("file")
    assert read_template(tmp_path) == "file"


WITH_TOOLS = "{% if tools %}<tools>{{ tools | tojson }}{% endif %}" + ALL_TURNS
ADD = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CALLED = [Message("user", "2 + 2?"), Message("tool", "4"), Message("tool", "5"), Message("user", "And doubled?")]


def test_tools_and_what_they_gave_are_written_where_the_template_knows_tools() -> None:
    prompt = render_conversation(_words(WITH_TOOLS), CHAT, CALLED, [ADD])
    assert prompt.text.startswith("<tools>[{") and '"add"' in prompt.text and prompt.ignored == ()
    assert "<user>2 + 2?<tool>4<tool>5<user>And doubled? In steps." in prompt.text
    assert render_conversation(_words(WITH_TOOLS), CHAT, CALLED[-1:]).text == "<user>And doubled? In steps.<assistant>"


@pytest.mark.parametrize("template", [ALL_TURNS, {"default": ALL_TURNS}])
def test_a_template_that_knows_no_tools_leaves_them_out_and_says_so(template: object) -> None:
    prompt = render_conversation(_words(template), CHAT, CALLED, [ADD])
    assert prompt.text == "<user>2 + 2?\n\nAnd doubled? In steps.<assistant>"
    assert prompt.ignored == ("2 earlier messages", "tools")


def test_a_template_by_name_for_tools_is_the_one_that_is_used_with_them() -> None:
    words = _words({"default": ALL_TURNS, "tool_use": WITH_TOOLS})
    assert render_conversation(words, CHAT, CALLED, [ADD]).text.startswith("<tools>")


def test_a_student_without_a_chat_template_does_not_read_tools() -> None:
    assert render_conversation(_words(None), PromptFormat(), CALLED[-1:], [ADD]).ignored == ("tools",)


def test_a_template_that_reads_messages_in_parts_alone_gets_them_in_parts() -> None:
    in_parts = "{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}<assistant>"
    assert render_prompt(_words(in_parts), CHAT, "2 + 2?") == "2 + 2? In steps.<assistant>"
    either = "{% for m in messages %}{{ m.content if m.content is string else m.content[0].text }}{% endfor %}"
    assert render_prompt(_words(either), CHAT, "2 + 2?") == "2 + 2? In steps."


@pytest.mark.parametrize("silent", ["{{ bos_token }}Hello<assistant>", "  ", "{{ messages[-1].text }}<assistant>"])
def test_a_template_that_leaves_the_question_out_is_refused(silent: str) -> None:
    with pytest.raises(InvalidInputError, match="leaves the question out"):
        render_prompt(_words(silent), CHAT, "2 + 2?")


def test_a_template_may_write_the_question_in_other_letters() -> None:
    assert "SAY" in render_prompt(_words("{{ messages[-1].content | upper }}"), CHAT, 'Say "2"?')
    assert r"\"2\"" in render_prompt(_words("{{ messages[-1] | tojson }}"), CHAT, 'Say "2"?')
