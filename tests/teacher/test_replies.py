"""The object of a reply in every dress, and replies without one: each with its reason, none of them guessed."""

import json
from typing import Any

import pytest

from rjepa.home import Home
from rjepa.teacher import JobPlan, JobResult, run_job
from rjepa.teacher.completion import Reply, read_completion
from rjepa.teacher.errors import CallError
from rjepa.teacher.replies import ChainReply, JudgeReply, ReplyError, read_reply

from .conftest import problems, teacher
from .scripted import Answer, completion

ONE = JobPlan(chains_per_problem=1)
GOOD = json.dumps({"steps": ["3 + 4 = 7"], "final_answer": "7"})
OTHER = json.dumps({"steps": ["3 + 4 = 8"], "final_answer": "8"})
DRAFT = '{"steps": 0}'


def solved(serve: Any, home: Home, message: Any, finish: str = "stop", **settings: Any) -> tuple[JobResult, int]:
    """The result of a job whose teacher says one thing only, and how often it was asked."""
    server = serve(lambda asked: Answer(completion(message, finish=finish)))
    return run_job(home, "job", [teacher(server, **settings)], ONE, problems(1), budget_usd=5), len(server.asked)


def read(text: str, finish: str = "stop", **more: Any) -> ChainReply:
    return read_reply(Reply(text, finish, None, None, **more), ChainReply)


@pytest.mark.parametrize(
    "text",
    [
        f"<think>\nmaybe {DRAFT}\n</think>\n\n{GOOD}",
        f"<think>perhaps {OTHER}</think>{GOOD}",
        f"<thinking>perhaps {OTHER}</thinking>\n{GOOD}",
        f"<THINK>x</THINK> {GOOD}",
        f"<reasoning>{OTHER}</reasoning>```json\n{GOOD}\n```",
        f"<thought>{OTHER}</thought>{GOOD}",
        f"[THINK]{OTHER}[/THINK]{GOOD}",
        f"◁think▷{OTHER}◁/think▷{GOOD}",
        f"<|begin_of_thought|>{OTHER}<|end_of_thought|>{GOOD}",
        f"<|channel|>analysis<|message|>{OTHER}<|end|><|start|>assistant<|channel|>final<|message|>{GOOD}",
        f"<|START_THINKING|>{OTHER}<|END_THINKING|>{GOOD}",
        f"<think>a</think>\n<think>b {OTHER}</think>\n{GOOD}",
        f"<think></think>{GOOD}",
        f"hm, {OTHER} perhaps\n</think>\n{GOOD}",
        f"<think> the tag <think> opens {OTHER} </think> {GOOD}",
        f"<think>I never close this.\n\n{GOOD}",
        f"<think>I never close this, {OTHER} no.\n\n```json\n{GOOD}\n```\n",
        f"{GOOD}<think>was that right?",
    ],
)
def test_thinking_in_any_dress_is_not_the_answer(text: str) -> None:
    assert read(text).final_answer == "7"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('{"steps": ["3 + 4 = 7"], "final_answer": 7}', "7"),
        ('{"steps": ["3 + 4 = 7"], "final_answer": 0.10}', "0.10"),
        ('{"steps": ["3 + 4 = 7"], "final_answer": 12345678901234567890.5}', "12345678901234567890.5"),
        ('{"steps": ["3 + 4 = 7",], "final_answer": "7",\n}', "7"),
        ('{"steps": ["f(1,] = [2,}"], "final_answer": "(1,]",}', "(1,]"),
    ],
)
def test_a_number_and_a_comma_too_many_say_what_they_say_elsewhere(text: str, answer: str) -> None:
    assert read(text).final_answer == answer


@pytest.mark.parametrize("wrong", ["true", "null", '["7"]', '{"a": 7}', "NaN"])
def test_an_answer_that_is_neither_text_nor_number_is_refused(wrong: str) -> None:
    with pytest.raises(ReplyError):
        read(f'{{"steps": ["3 + 4 = 7"], "final_answer": {wrong}}}')


@pytest.mark.parametrize(
    "text",
    [
        f"```json\n{GOOD}\n```",
        f"```JSON\n{GOOD}\n```",
        f"```\n{GOOD}\n```",
        f"```json\r\n{GOOD}\r\n```",
        f"```json5 {GOOD}```",
        f"````json\n{GOOD}\n````",
        f"~~~json\n{GOOD}\n~~~",
        f"`{GOOD}`",
        f"```json\n{GOOD}",
        f"  ```json\n  {GOOD}\n  ```  ",
        f"Here it is:\n\n```json\n{GOOD}\n```\n\nI hope that helps!",
        f"Sure! {GOOD}",
        f"{GOOD}\n\nDone.",
        f"The set {{1, 2}} and \\frac{{1}}{{2}} aside: {GOOD}",
        f"{GOOD}\n{GOOD}",
        f"```json\n{GOOD}\n```\nAgain: {GOOD}",
        f"An example is {DRAFT}. Mine: {GOOD}",
        "\ufeff" + GOOD,
        json.dumps(json.loads(GOOD), indent=4),
        f"[{GOOD}]",
    ],
)
def test_fences_and_words_around_the_object_are_no_matter(text: str) -> None:
    assert read(text).final_answer == "7"


def test_fences_and_tags_inside_a_string_belong_to_it() -> None:
    steps = ["```python print({'a': 1}) ```", 'say "7}" {']
    text = json.dumps({"steps": steps, "final_answer": "7"})
    assert read(text).steps == read(f"<think>hm</think>\n{text}").steps == steps
    verdict = {"verdict": "wrong", "first_wrong_step": 1, "reason": "it closes </think> and opens <think> {"}
    assert read_reply(Reply(json.dumps(verdict), "stop", None, None), JudgeReply).reason == verdict["reason"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{GOOD} or {OTHER}", "several_objects"),
        (f"```json\n{OTHER}\n```\nNo, wait:\n```json\n{GOOD}\n```", "several_objects"),
        (f"[{GOOD}, {OTHER}]", "several_objects"),
        ("<think>hm</think>", "not_json"),
        (f"<think>{GOOD}</think>", "not_json"),
        (f"<think>perhaps {GOOD}, or not, I wonder", "not_json"),
        ("the answer is 7", "not_json"),
        (f'{{"result": {GOOD}}}', "wrong_schema"),
        (GOOD[:-1], "not_json"),
        ('{"' * 50_000, "not_json"),
        ("<think>" * 20_000, "not_json"),
    ],
)
def test_a_reply_without_exactly_one_object_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ReplyError) as caught:
        read(text)
    assert caught.value.reason == reason


def test_a_teacher_that_thinks_aloud_is_paid_once(serve: Any, home: Home) -> None:
    result, times = solved(serve, home, f"<think>\nmaybe {DRAFT}\n</think>\n\n{GOOD}")
    assert [one.final_answer for one in result.chains] == ["7"] and times == 1


def test_a_student_that_thinks_before_its_steps_has_its_steps_read(serve: Any, home: Home) -> None:
    text = "<think>Step 1: no\nAnswer: 9\n</think>\nStep 1: 3 + 4 = 7\nAnswer: 7\n"
    result, _ = solved(serve, home, text, reply="steps")
    assert [(one.steps, one.final_answer) for one in result.chains] == [(["3 + 4 = 7"], "7")]


THOUGHT = {"role": "assistant", "reasoning_content": f"maybe {OTHER}, but no"}


@pytest.mark.parametrize(
    "message",
    [
        THOUGHT | {"content": GOOD},
        {"content": GOOD, "reasoning": OTHER},
        {"content": [{"type": "text", "text": GOOD}]},
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": OTHER}]},
                {"type": "text", "text": GOOD},
            ]
        },
        {"content": GOOD, "refusal": None, "tool_calls": [], "annotations": []},
        {"content": GOOD, "refusal": ""},
        {"content": None, "reasoning_content": f"It ends with the answer:\n{GOOD}"},
    ],
)
def test_thinking_in_a_field_of_its_own_is_not_the_answer(serve: Any, home: Home, message: dict[str, Any]) -> None:
    result, times = solved(serve, home, message)
    assert [one.final_answer for one in result.chains] == ["7"] and times == 1


@pytest.mark.parametrize(
    ("message", "finish", "reason", "words"),
    [
        (THOUGHT | {"content": None}, "length", "cut_off", "thinking took it up"),
        (THOUGHT | {"content": ""}, "length", "cut_off", "token limit"),
        ("", "length", "cut_off", "token limit"),
        ({"content": None, "refusal": "I cannot help with that."}, "stop", "refused", "I cannot help with that."),
        ({"content": "", "refusal": "No, sorry."}, "content_filter", "refused", "No, sorry."),
        ({"content": None}, "content_filter", "content_filter", "content_filter"),
        ("I was about to", "content_filter", "content_filter", "about to"),
        ({"content": None, "tool_calls": [{"id": "1", "type": "function"}]}, "tool_calls", "tool_calls", "tool"),
        ({"content": None, "function_call": {"name": "f"}}, "function_call", "tool_calls", "tool"),
        (THOUGHT | {"content": None}, "stop", "only_thinking", "did not answer"),
        (THOUGHT | {"content": " \n"}, "stop", "only_thinking", "did not answer"),
        ({"content": None}, "stop", "empty", "ended with stop"),
        ({"role": "assistant"}, "stop", "empty", "ended with stop"),
        ("", "stop", "empty", "ended with stop"),
    ],
)
def test_an_answer_without_text_says_why(
    serve: Any, home: Home, message: Any, finish: str, reason: str, words: str
) -> None:
    result, times = solved(serve, home, message, finish)
    assert not result.chains and {one.reason for one in result.failures} == {reason}
    assert all(words in one.detail and "Error" not in one.detail for one in result.failures)
    assert times == (2 if reason in ("refused", "content_filter") else 4), "nobody is asked to take a refusal back"
    assert not any(one.transient for one in result.failures), "it was answered, and paid for"


def test_thinking_counts_as_tokens_where_the_endpoint_claims_none(serve: Any, home: Home) -> None:
    message = {"content": GOOD, "reasoning_content": "hm " * 1000}
    server = serve(lambda asked: Answer(completion(message, None, None)))
    with_thinking = run_job(home, "a", [teacher(server)], ONE, problems(1), budget_usd=5).spending.spent
    server.script = lambda asked: Answer(completion(GOOD, None, None))
    without = run_job(home, "b", [teacher(server)], ONE, problems(1), budget_usd=5).spending.spent
    assert with_thinking - without == 750 * 20_000


@pytest.mark.parametrize(
    "body", ['{"choices": [{"message": {"content": 7}}]}', '{"choices": [{"message": "7"}]}', "[]"]
)
def test_a_body_of_another_shape_is_no_completion(body: str) -> None:
    with pytest.raises(CallError, match="not_a_completion"):
        read_completion(body)
