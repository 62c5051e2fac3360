"""What an endpoint says where it does not answer: hidden errors, used-up quotas, refused fields, requests to wait.

Bodies are as providers send them; each goes through a real job against a real server.
"""

import asyncio
import json
import time
from email.utils import formatdate
from typing import Any

import pytest

from rjepa.home import Home
from rjepa.teacher import JobPlan, run_job
from rjepa.teacher.client import Endpoint
from rjepa.teacher.errors import CallError, TeacherError
from rjepa.teacher.limits import CallUsage
from rjepa.teacher.quotas import is_used_up, seconds_to_wait
from rjepa.teacher.refusals import hidden_error, refused_field, words_of
from rjepa.teacher.settings import Teacher

from .conftest import problems, teacher
from .scripted import Answer, Request, chain, completion

ONE = JobPlan(chains_per_problem=1)
GOOD = json.dumps({"steps": ["3 + 4 = 7"], "final_answer": "7"})
WORDS = "Provider returned error"


def error(message: str, **more: Any) -> str:
    return json.dumps({"error": {"message": message, **more}})


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"id": None, "choices": None, "error": {"message": WORDS, "code": 429}}),
        json.dumps({"choices": [], "error": {"message": WORDS}}),
        json.dumps({"error": WORDS}),
        json.dumps({"error": [{"message": WORDS}]}),
        json.dumps([{"error": {"message": WORDS, "status": "UNAVAILABLE", "code": 503}}]),
        json.dumps({"errors": [{"message": WORDS}]}),
        json.dumps({"object": "error", "message": WORDS, "type": "ServerError", "code": 500}),
        json.dumps({"detail": WORDS}),
        json.dumps({"message": WORDS}),
        json.dumps({"error": {"error": {"msg": WORDS}}}),
        json.dumps({"error": {"code": 502, "metadata": {"raw": WORDS}}}),
        json.dumps({"choices": [{"finish_reason": "error", "error": {"message": WORDS}, "message": {"content": ""}}]}),
        json.dumps({"choices": [{"message": {"content": GOOD}}], "error": {"message": WORDS}}),
        json.dumps({"choices": [{"finish_reason": "stop"}], "message": WORDS}),
        f"<html><head><style>p {{}}</style></head><body><h1>{WORDS}</h1></body></html>",
        WORDS,
        json.dumps(WORDS),
    ],
)
def test_an_error_with_a_status_of_success_is_no_answer_and_is_asked_again(serve: Any, home: Home, body: str) -> None:
    server = serve(lambda asked: Answer(body))
    who = teacher(server, max_retries=0)
    first = run_job(home, "job", [who], ONE, problems(1), budget_usd=5)
    (failure,) = first.failures
    assert WORDS in failure.detail and failure.transient and first.spending.replies == 0
    server.script = lambda asked: chain()
    second = run_job(home, "job", [who], ONE, problems(1), budget_usd=5)
    assert [one.final_answer for one in second.chains] == ["7"]


@pytest.mark.parametrize(
    "body",
    ["", "  \n", "{}", "null", "[]", '{"choices": []}', '{"choices": null}', '{"choices": [null]}', '{"choices": [{}]}',
     '{"choices": [{"message": null}]}', '{"choices": {"0": {}}}', completion(GOOD)[:-9], b"\xff\xfe{}",
     'data: {"choices": []}\n\ndata: [DONE]\n'],
)  # fmt: skip
def test_what_is_no_completion_is_no_answer_and_is_told_in_words(serve: Any, home: Home, body: str | bytes) -> None:
    server = serve(lambda asked: Answer(body) if asked.times == 1 else chain())
    who = teacher(server, max_retries=0)
    first = run_job(home, "job", [who], ONE, problems(1), budget_usd=5)
    (failure,) = first.failures
    assert failure.reason == "not_a_completion" and failure.transient
    assert failure.detail and "Error" not in failure.detail, "words, and none of Python's own"
    assert first.spending.doubtful == first.spending.spent > 0, "a model may have worked all the same"
    assert len(run_job(home, "job", [who], ONE, problems(1), budget_usd=5).chains) == 1


def test_an_error_in_an_answer_is_tried_again_as_its_own_status_would_be(serve: Any, home: Home) -> None:
    busy = Answer(json.dumps({"error": {"message": WORDS, "code": 429}}), headers={"retry-after-ms": "5"})
    server = serve(lambda asked: busy if asked.times < 3 else chain())
    result = run_job(home, "job", [teacher(server)], ONE, problems(1), budget_usd=5)
    assert len(result.chains) == 1 and len(server.asked) == 3 and result.spending.doubtful == 0
    server.script = lambda asked: Answer(json.dumps({"error": {"message": "bad request", "code": 400}}))
    asked = len(server.asked)
    failed = run_job(home, "other", [teacher(server)], ONE, problems(1), budget_usd=5)
    assert failed.failures[0].reason == "http_400" and len(server.asked) == asked + 1
    server.script = lambda asked: Answer(json.dumps({"error": {"message": "no such key", "code": 401}}))
    with pytest.raises(TeacherError, match="no such key"):
        run_job(home, "third", [teacher(server)], ONE, problems(3), budget_usd=5)


USED_UP = [
    (429, error("You exceeded your current quota, please check your plan", type="insufficient_quota")),
    (429, error("You exceeded your current quota, please check your plan and billing details.")),
    (429, error("Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day")),
    (429, error("Rate limit reached for model `m` on tokens per day (TPD): Limit 100000, Used 99000. Please try again in 7m12s.")),  # noqa: E501
    (429, error("Rate limit reached for requests per day (RPD): Limit 200, Used 200")),
    (429, json.dumps([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "You exceeded your current quota",  # noqa: E501
                       "details": [{"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]},
                                   {"retryDelay": "17s"}]}}])),
    (429, error("You have reached your daily limit.")),
    (429, error("Daily token quota exhausted")),
    (429, error("Limit of 50 requests / day reached")),
    (429, error("You've hit your limit for today, come back tomorrow")),
    (429, error("Monthly usage limit reached")),
    (429, error("You have exceeded your hourly quota")),
    (429, error("Maximum of 100 calls per 24h exceeded")),
    (429, error("Rate limit of 50 per 86400s exceeded for UserByModelByDay. Please wait 30021 seconds")),
    (429, error("You are using a Trial key, which is limited to 1000 API calls / month.")),
    (429, error("Billing hard limit has been reached", code="billing_hard_limit_reached")),
    (429, error("Your account is not active, please check your billing details on our website.")),
    (429, error("Your team has either used all available credits or reached its monthly spending limit")),
    (402, error("Insufficient Balance")),
    (402, error("This request requires more credits, or fewer max_tokens. You can only afford 90")),
    (402, ""),
    (403, error("Your organization's billing is disabled")),
    (403, error("You have exceeded your monthly included credits")),
    (403, error("Key limit exceeded (daily limit)")),
    (400, error("Your credit balance is too low to access the API. Please go to Plans & Billing to purchase credits.")),
    (400, error("Access denied, please make sure your account is in good standing.", code="Arrearage")),
    (503, error("insufficient credits")),
    (200, json.dumps({"error": {"message": "Insufficient credits", "code": 402}})),
    (200, json.dumps({"choices": None, "error": {"message": "daily request limit reached", "code": 429}})),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body"), USED_UP)
def test_what_says_that_a_quota_is_used_up(status: int, body: str) -> None:
    assert is_used_up(402 if status == 200 else status, body)


@pytest.mark.parametrize(("status", "body"), [USED_UP[n] for n in (0, 3, 5, 18, 20, 21, 24, 26, 27, 28)])
def test_a_quota_that_is_used_up_ends_the_teacher_after_one_request(
    serve: Any, home: Home, status: int, body: str
) -> None:
    server = serve(lambda asked: Answer(body, status))
    with pytest.raises(TeacherError, match="quota_used_up") as caught:
        run_job(home, "job", [teacher(server, concurrency=1)], ONE, problems(6), budget_usd=5)
    assert len(server.asked) == 1
    assert "run the same job again" in caught.value.cure and (words_of(body)[:30] in caught.value.problem)


BUSY = [
    (429, error("Rate limit reached for m on requests per min. Limit: 3 / min. Please try again in 20s. You can increase your"  # noqa: E501
                " rate limit by adding a payment method to your account at https://example.com/account/billing.")),
    (429, error("Rate limit reached for m on tokens per minute (TPM): Limit 6000, Used 5900. Please try again in 4.2s. Need"  # noqa: E501
                " more tokens? Upgrade to Dev Tier today at https://example.com/settings/billing")),
    (429, error("Requests have exceeded the token rate limit of your current pricing tier. Please retry after 26 seconds. Go"  # noqa: E501
                " here: https://aka.ms/oai/quotaincrease to further increase the default rate limit.")),
    (429, json.dumps({"error": {"code": 429, "message": "You exceeded your current quota, please check your plan and billing",  # noqa: E501
                      "details": [{"violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}]},
                                  {"retryDelay": "34.07s"}]}})),
    (429, error("Quota exceeded for online prediction requests. Please retry in 12s.")),
    (429, error("This request would exceed your organization's rate limit of 50,000 input tokens per minute")),
    (429, error("You are limited to 10 API calls / minute")),
    (429, error("You exceeded your quota of 3 requests per minute")),
    (429, error("Too many concurrent requests")),
    (429, error("Rate limit of 15 per 60s exceeded for UserByModelByMinute. Please wait 45 seconds")),
    (429, "{}"),
    (503, error("The model is overloaded. Please try again later.")),
    (529, json.dumps({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body"), BUSY)
def test_a_limit_of_a_minute_is_no_used_up_quota(status: int, body: str) -> None:
    assert not is_used_up(status, body)


def test_a_busy_endpoint_is_waited_for(serve: Any, home: Home) -> None:
    busy = Answer(error("requests per min exceeded, check your plan. Please try again in 0.2s"), 429)
    server = serve(lambda asked: busy if asked.times == 1 else chain())
    result = run_job(home, "job", [teacher(server)], ONE, problems(2), budget_usd=5)
    assert len(result.chains) == 2 and len(server.asked) == 4


@pytest.mark.parametrize("headers", [{"retry-after": "7200"}, {"retry-after-ms": "7200000"}, {"retry-after": "+2h"}])
def test_a_teacher_that_asks_to_wait_for_hours_is_left_out_for_this_run(
    serve: Any, home: Home, headers: dict[str, str]
) -> None:
    if "+2h" in headers.values():
        headers = {"retry-after": formatdate(time.time() + 7200, usegmt=True)}
    server = serve(lambda asked: Answer("{}", 429, headers) if asked.model == "model-ben" else chain())
    who = [teacher(server, concurrency=1), teacher(server, "ben", concurrency=1)]
    result = run_job(home, "job", who, ONE, problems(5), budget_usd=5)
    assert len(result.chains) == 5 and sum(asked.model == "model-ben" for asked in server.asked) == 1
    assert "asks to wait" in str(result.refused["ben"]) and "run the same job again" in result.refused["ben"].cure


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        (error("Please try again in 7m12.5s."), 432.5),
        (error("try again in 350ms"), 0.35),
        (error("Please retry after 26 seconds."), 26),
        (error("Please wait 1 hour and 2 minutes"), 3720),
        (error("retry after: 3s"), 3),
        (json.dumps({"error": {"details": [{"retryDelay": "34.07s"}]}}), 34.07),
        (json.dumps({"retry_after": 5}), 5),
        (error("try again later"), None),
        ("", None),
    ],
)
def test_how_long_to_wait_is_read_from_the_body(body: str, seconds: float | None) -> None:
    assert seconds_to_wait(body) == (None if seconds is None else pytest.approx(seconds))


REFUSED_FIELDS = [
    ("temperature", 400, error("Unsupported parameter: 'temperature' is not supported with this model.", param="temperature")),  # noqa: E501
    ("temperature", 400, error("Unsupported value: 'temperature' does not support 0.7. Only the default (1) is supported.")),  # noqa: E501
    ("temperature", 400, error("`temperature` is deprecated for this model")),
    ("temperature", 400, error("`temperature` and `top_p` cannot both be specified")),
    ("temperature", 400, error("temperature: Input should be 1")),
    ("temperature", 400, error("`temperature` may only be set to 1 when thinking is enabled")),
    ("seed", 400, error("Additional properties are not allowed ('seed' was unexpected)")),
    ("seed", 400, error("Unrecognized request argument supplied: seed")),
    ("seed", 422, json.dumps({"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]})),
    ("seed", 400, json.dumps([{"error": {"message": "Invalid JSON payload received. Unknown name \"seed\": Cannot find field."}}])),  # noqa: E501
    ("seed", 400, error("property 'seed' is unsupported")),
    ("seed", 500, error("unexpected keyword argument 'seed'")),
    ("response_format", 400, error("'response_format.type' must be 'text'", param="response_format.type")),
    ("response_format", 400, error("This model does not support structured outputs")),
    ("response_format", 400, error("json_schema is not supported by this model")),
    ("response_format", 404, error("this endpoint doesn't support response_format")),
    ("response_format", 200, json.dumps({"error": {"message": "response_format is not supported", "code": 400}})),
    ("max_tokens", 400, error("Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.")),  # noqa: E501
    ("max_tokens", 400, error("nope", param="max_tokens")),
]  # fmt: skip


@pytest.mark.parametrize(("field", "status", "body"), REFUSED_FIELDS)
def test_a_field_that_a_model_refuses_is_left_out_after_one_refusal(
    serve: Any, home: Home, field: str, status: int, body: str
) -> None:
    server = serve(lambda asked: Answer(body, status) if field in asked.body else chain(steps=[f"way {asked.key}"]))
    who = teacher(server, concurrency=1, max_retries=0)
    result = run_job(home, "job", [who], ONE, problems(4), budget_usd=5)
    assert len(result.chains) == 4 and not result.failures
    assert len(server.asked) == 5, "one refusal, and then it is known"
    first, second, *_ = server.asked
    assert first.key != second.key, "another body under one idempotency key would be an error to some"
    assert {"model", "messages"} <= set(second.body) and {"max_tokens", "max_completion_tokens"} & set(second.body)
    assert set(first.body) - set(second.body) == {field}
    again = run_job(home, "job", [who], ONE, problems(4), budget_usd=5)
    assert again.chains == result.chains and len(server.asked) == 5, "the answers are those of the same calls"


def test_several_fields_may_be_refused_one_after_another(serve: Any, home: Home) -> None:
    def script(asked: Request) -> Answer:
        for field in ("seed", "temperature", "max_tokens", "response_format"):
            if field in asked.body:
                return Answer(error(f"{field} is not supported", param=field), 400)
        return chain()

    server = serve(script)
    result = run_job(home, "job", [teacher(server, concurrency=1)], ONE, problems(3), budget_usd=5)
    assert len(result.chains) == 3 and len(server.asked) == 4 + 3
    assert set(server.asked[-1].body) == {"model", "messages", "max_completion_tokens"}


def test_a_token_limit_that_is_refused_under_both_names_is_an_error_and_never_left_out(serve: Any, home: Home) -> None:
    def script(asked: Request) -> Answer:
        (field,) = {"max_tokens", "max_completion_tokens"} & set(asked.body)
        return Answer(error(f"{field} is not supported", param=field), 400)

    server = serve(script)
    result = run_job(home, "job", [teacher(server, concurrency=1)], ONE, problems(1), budget_usd=5)
    assert [(one.reason, one.detail) for one in result.failures] == [
        ("http_400", "max_completion_tokens is not supported")
    ]
    assert len(server.asked) == 2


def test_a_token_limit_that_is_only_too_large_is_told_in_the_endpoints_words(serve: Any, home: Home) -> None:
    words = "max_tokens is too large: this model supports at most 4096"
    server = serve(lambda asked: Answer(error(words, param="max_tokens"), 400))
    result = run_job(home, "job", [teacher(server, concurrency=1)], ONE, problems(1), budget_usd=5)
    assert [(one.reason, one.detail) for one in result.failures] == [("http_400", words)]
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, error("The temperature of the problem is 20 degrees and the seed grows")),
        (400, error("messages: invalid role")),
        (429, error("temperature is not supported")),
        (401, error("seed is not supported")),
        (400, "<html>Bad Request</html>"),
    ],
)
def test_a_field_is_not_left_out_where_nothing_says_that_it_is_refused(status: int, body: str) -> None:
    assert refused_field(status, body, ["temperature", "seed", "response_format", "max_tokens"]) is None


def test_a_temperature_of_none_is_not_sent(serve: Any, home: Home) -> None:
    server = serve(lambda asked: chain())
    run_job(home, "job", [teacher(server, temperature=None)], ONE, problems(1), budget_usd=5)
    assert "temperature" not in server.asked[0].body
    assert Teacher(name="a", base_url="http://localhost:1/v1", model="m", temperature="none").temperature is None


ODD = {
    "retry-after in seconds": Answer("{}", 429, {"retry-after": "0.01"}),
    "in milliseconds": Answer("{}", 429, {"retry-after-ms": "10"}),
    "at a date that is past": Answer("{}", 429, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    "nonsense": Answer("{}", 429, {"retry-after": "soon"}),
    "negative": Answer("{}", 429, {"retry-after": "-5"}),
    "not a number": Answer("{}", 429, {"retry-after": "nan"}),
    "503 in HTML": Answer("<html><body>busy</body></html>", 503, {"content-type": "text/html"}),
    "503 without a body": Answer("", 503),
    "529": Answer("{}", 529),
    "520": Answer("error code: 520", 520),
    "408": Answer("", 408),
    "500 in pieces": Answer("it broke", 500, chunks=3),
    "200 without a body": Answer(""),
    "204": Answer("", 204),
    "broken off": Answer("x" * 100, cut=60),
}


@pytest.mark.parametrize("name", ODD)
def test_a_reply_of_a_busy_server_is_waited_out(serve: Any, home: Home, name: str) -> None:
    server = serve(lambda asked: ODD[name] if asked.times == 1 else chain())
    result = run_job(home, "job", [teacher(server, max_retries=1)], ONE, problems(1), budget_usd=5)
    assert [one.final_answer for one in result.chains] == ["7"] and len(server.asked) == 2


UNUSUAL = {
    "in pieces": Answer(completion(GOOD), chunks=5),
    "in one piece": Answer(completion(GOOD), chunks=1),
    "as text": Answer(completion(GOOD), headers={"content-type": "text/plain"}),
    "as HTML": Answer(completion(GOOD), headers={"content-type": "text/html; charset=iso-8859-1"}),
    "with a byte order mark": Answer(b"\xef\xbb\xbf" + completion(GOOD).encode()),
    "after lines that keep the connection open": Answer("\n\n   \n" + completion(GOOD)),
    "with 201": Answer(completion(GOOD), 201),
    "with error null": Answer(json.dumps(json.loads(completion(GOOD)) | {"error": None})),
    "without usage": Answer(json.dumps({"choices": [{"message": {"content": GOOD}}]})),
    "with usage null": Answer(json.dumps(json.loads(completion(GOOD)) | {"usage": None})),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_an_answer_in_an_unusual_wrapping_is_an_answer(serve: Any, home: Home, name: str) -> None:
    server = serve(lambda asked: UNUSUAL[name])
    result = run_job(home, "job", [teacher(server)], ONE, problems(1), budget_usd=5)
    assert [one.final_answer for one in result.chains] == ["7"] and len(server.asked) == 1


def test_umlauts_survive_a_header_that_is_wrong_about_them(serve: Any, home: Home) -> None:
    body = json.dumps(
        {"choices": [{"message": {"content": '{"steps": ["für 3 × 4"], "final_answer": "7"}'}}]}, ensure_ascii=False
    )
    server = serve(lambda asked: Answer(body, headers={"content-type": "application/json; charset=iso-8859-1"}))
    result = run_job(home, "job", [teacher(server)], ONE, problems(1), budget_usd=5)
    assert result.chains[0].steps == ["für 3 × 4"]


def test_an_endpoint_of_whole_completions_is_held_to_the_same(serve: Any) -> None:
    """`/completions`, as students on a server are asked: its choices have a text and no message."""

    async def ask(who: Teacher) -> str:
        endpoint = Endpoint(who)
        try:
            return await endpoint.ask({"model": "m", "prompt": "p"}, "k", CallUsage(9), "/completions")
        except CallError as error:
            return str(error)
        finally:
            await endpoint.aclose()

    server = serve(lambda asked: Answer('{"choices": [{"text": ""}]}'))
    assert asyncio.run(ask(teacher(server, max_retries=0))) == '{"choices": [{"text": ""}]}'
    server.script = lambda asked: Answer('{"error": "no model is loaded"}')
    assert asyncio.run(ask(teacher(server, max_retries=0))) == "error_in_answer: no model is loaded"


@pytest.mark.parametrize(
    ("status", "body", "field"),
    [
        (404, error("No endpoints found that support the requested parameters: response_format"), "response_format"),
        (400, error("This response_format type is unavailable now"), "response_format"),
        (
            400,
            error("response_format json_schema is enabled only for api versions 2024-08-01 and later"),
            "response_format",
        ),
        (404, error("The model `x` does not exist"), None),
        (400, error("max_tokens is too large: 100000. This model supports at most 4096", param="max_tokens"), None),
        (400, error("max_tokens must be less than or equal to 8192"), None),
    ],
)
def test_which_field_an_endpoint_does_not_take(status: int, body: str, field: str | None) -> None:
    assert refused_field(status, body, ["temperature", "max_tokens", "response_format"]) == field


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"base_resp": {"status_code": 1002, "status_msg": "rate limit"}, "choices": None}, 429),
        ({"error_code": 18, "error_msg": "Open api qps request limit reached"}, 429),
        ({"statusCode": 429, "message": "Rate limit is exceeded. Try again in 10 seconds."}, 429),
        ({"success": False, "errors": [{"code": 10000, "message": "Authentication error"}]}, 401),
    ],
)
def test_the_status_that_a_vendors_error_should_have_had(body: dict[str, Any], status: int) -> None:
    found = hidden_error(json.dumps(body))
    assert found is not None
    assert found.status == status


def test_words_that_json_writes_as_numbers_are_read() -> None:
    assert is_used_up(429, json.dumps({"error": {"message": "余额不足,请充值。", "code": "1113"}}))
    assert is_used_up(403, error("Your account has been disabled due to billing."))
