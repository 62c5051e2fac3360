"""Teachers at their rate limits: how much of the allowed rate is used, and that no minute's worth goes beyond it.

Two teachers work side by side against a scripted server on this machine that takes 0.2 s an answer: one is held by its
requests per minute, the other by its tokens per minute. The limits are high, so that half a minute answer enough.
"""

from pathlib import Path

from benchmarks.subject import report, temporary_folder
from rjepa.home import Home
from rjepa.schemas import Problem
from rjepa.teacher import JobPlan, Teacher, run_job
from tests.teacher.scripted import Answer, Request, chain, serving

RPM = 1200
TPM = 480_000
PROMPT, COMPLETION = 350, 50
"""Tokens that the server claims: more than our own count, so that the claim is what counts."""
CALLS = 700
SETTLING, WINDOW = 3.0, 30.0
"""Seconds: the first burst is left out of the share used, and counted against the limit all the same."""
TARGETS = {"share_of_requests_used": 0.95, "share_of_tokens_used": 0.95, "room_under_the_limits": 0.0}


def main() -> None:
    """Run one job and read the times at which its requests arrived."""

    def script(asked: Request) -> Answer:
        answer = chain(steps=["3 + 4 = 7"], prompt_tokens=PROMPT, completion_tokens=COMPLETION)
        return Answer(answer.body, delay=0.2)

    with serving(script) as server, temporary_folder() as folder:
        common = {"base_url": server.url, "max_tokens": 100, "concurrency": 24}
        teachers = [
            Teacher(name="by-requests", model="by-requests", rpm=RPM, **common),
            Teacher(name="by-tokens", model="by-tokens", tpm=TPM, **common),
        ]
        problems = [
            Problem(problem_id=f"p{n}", domain="math", source="benchmark", statement=f"What is {n} + 4?")
            for n in range(CALLS)
        ]
        run_job(Home(Path(folder)), "benchmark", teachers, JobPlan(chains_per_problem=1), problems, budget_usd=0)
        arrived = {who.name: [asked.at for asked in server.asked if asked.model == who.name] for who in teachers}
    per_call = PROMPT + COMPLETION
    requests, tokens = arrived["by-requests"], arrived["by-tokens"]
    allowed = {"requests": RPM * WINDOW / 60, "tokens": TPM / per_call * WINDOW / 60}
    report(
        "teachers",
        {
            "share_of_requests_used": _steady(requests) / allowed["requests"],
            "share_of_tokens_used": _steady(tokens) / allowed["tokens"],
            "room_under_the_limits": min(
                1 - _largest_sum(requests, WINDOW) / (RPM * WINDOW / 60 + RPM * 0.01),
                1 - _largest_sum(tokens, WINDOW) / (TPM * WINDOW / 60 + TPM * 0.01) * per_call,
            ),
            "calls": float(len(requests) + len(tokens)),
            "calls_repeated": float(len(requests) + len(tokens) - 2 * CALLS),
        },
        TARGETS,
    )


def _steady(arrived: list[float]) -> int:
    """Requests in the window after the first burst."""
    start = arrived[0] + SETTLING
    return sum(start <= at < start + WINDOW for at in arrived)


def _largest_sum(arrived: list[float], seconds: float) -> int:
    """The most requests in any stretch of so many seconds."""
    return max(sum(start <= at < start + seconds for at in arrived) for start in arrived)


if __name__ == "__main__":
    main()
