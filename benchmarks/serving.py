"""Requests a second and waits of the service, against `transformers serve` and llama.cpp's server, in one run.

`python -m benchmarks.serving [SECONDS] [--llm FILE.gguf]`. The subject is the bundled tiny-a with an untrained R-JEPA;
the others serve the same float32 weights, a GGUF file of them for llama.cpp. Each server is a process of its own on one
thread; the one that is not asked is stopped meanwhile, so that an idle loop of it disturbs nobody. All write greedily
after the same prompts, so that their answers have the same words (`same_texts` says how many do; ours ends with the
answer line, others with the end of the sequence, a token later).

In each of three rounds every server is asked for SECONDS (4 unless told) by 1, 4 and 16 clients that wait for each
answer. A figure is the median of the rounds' ratios, so that what else the machine does matters little. On a machine
that does much else, `..._by_cpu` says more: the same ratios of the servers' CPU seconds a request.

With `--llm`, a 4-bit file of a real LLM such as Qwen2.5-Coder-0.5B-Instruct, the table has its last row too: eight
chains of it, ours in bfloat16 against llama.cpp's (`benchmarks.real_llm --decoding`).

The second pass is what a candidate that llama.cpp wrote needs before it can be ranked: log-probabilities, latents,
energies.
"""

import contextlib
import itertools
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import psutil
import torch

from benchmarks import real_llm
from benchmarks.servers import Server, prepared, serve_llama_cpp, serve_ours, serve_transformers
from benchmarks.subject import report, subject_problems, temporary_folder
from rjepa.engine import Engine
from rjepa.inference.scoring import segment_energies
from rjepa.reasoning.candidates import join_latents
from tests.tiny_release import TAG

Found = TypeVar("Found")

CLIENTS: Final = (1, 4, 16)
ROUNDS: Final = 3
CANDIDATES: Final = 8
QUESTIONS: Final = 8
"""Questions whose waits are measured, one after another."""

TARGETS: Final = {
    "over_transformers_1": 4.0,
    "over_transformers_batching_16": 3.0,
    "sixteen_clients_over_one": 6.0,
    "over_llama_cpp_1": 1.0,
    "over_llama_cpp_16": 1.0,
    # 1 / 0.7: our latency is at most 0.7 of theirs.
    "llama_cpp_and_second_pass_over_rerank": 1.43,
    # 1 / 1.5, and 1 / 4.
    "answer_over_rerank": 0.667,
    "first_token_one_client_over_sixteen": 0.25,
}

_END: Final = "<|end|>"
"""The end of a sequence, as tiny-a's tokenizer writes it."""


def main() -> None:
    """Measure and report."""
    torch.set_num_threads(1)
    given = sys.argv[1:]
    file = Path(given.pop(given.index("--llm") + 1)).resolve() if "--llm" in given else None
    seconds = next((float(one) for one in given if not one.startswith("--")), 4.0)
    statements = [problem.statement for problem, _ in subject_problems(24)]
    with temporary_folder() as folder, contextlib.ExitStack() as stack:
        home = prepared(Path(folder))
        engine = Engine.load(home, TAG, "cpu")
        servers = {
            "ours": stack.enter_context(serve_ours(home)),
            "transformers": stack.enter_context(serve_transformers(Path(folder) / "model", ())),
            "transformers_batching": stack.enter_context(
                serve_transformers(Path(folder) / "model", ("--continuous-batching",))
            ),
            "llama_cpp": stack.enter_context(serve_llama_cpp(Path(folder) / "model.gguf", engine)),
        }
        for server in servers.values():
            server.process.send_signal(signal.SIGSTOP)
        figures = _rates(servers, statements, seconds)
        figures |= _waits(servers, statements)
        figures |= _reranked(servers, engine, statements[:QUESTIONS])
        figures["load_average"] = os.getloadavg()[0]
    if file is not None:
        figures |= {f"real_llm_{name}": one for name, one in real_llm.decoding(file).items()}
    more = {f"real_llm_{name}": least for name, least in real_llm.DECODING_TARGETS.items()} if file is not None else {}
    report("serving", dict(figures), TARGETS | more)


def _rates(servers: dict[str, Server], statements: list[str], seconds: float) -> dict[str, float]:
    """Requests a second by server and number of clients, and their ratios."""
    rates: dict[tuple[str, int], list[float]] = {}
    spent: dict[tuple[str, int], list[float]] = {}
    texts: dict[str, dict[str, str]] = {}
    for number in range(ROUNDS + 1):  # the first warms up
        for name, server in servers.items():
            with server.awake():
                for clients in CLIENTS:
                    rate, cpu = _rate(server, statements, clients, seconds if number else 1.0)
                    if number:
                        rates.setdefault((name, clients), []).append(rate)
                        spent.setdefault((name, clients), []).append(cpu)
                if not number:
                    connection = server.connect()
                    texts[name] = {
                        one: _answer(server.text(server.ask(connection, *server.body(one, False))), one)
                        for one in statements[:QUESTIONS]
                    }

    def ratio(one: tuple[str, int], other: tuple[str, int]) -> float:
        return statistics.median(mine / its for mine, its in zip(rates[one], rates[other], strict=True))

    def by_cpu(one: tuple[str, int], other: tuple[str, int]) -> float:
        return statistics.median(its / mine for mine, its in zip(spent[one], spent[other], strict=True))

    figures = {f"{name}_requests_{clients}": statistics.median(found) for (name, clients), found in rates.items()}
    figures |= {
        f"{name}_cpu_milliseconds_{clients}": 1000 * statistics.median(found)
        for (name, clients), found in spent.items()
    }
    for name in servers:
        same = [texts[name][one] == texts["ours"][one] for one in texts["ours"]]
        figures[f"{name}_same_texts"] = sum(same) / len(same)
        if name != "ours":
            for clients in CLIENTS:
                pair = ("ours", clients), (name, clients)
                figures |= {f"over_{name}_{clients}": ratio(*pair), f"over_{name}_{clients}_by_cpu": by_cpu(*pair)}
    figures["sixteen_clients_over_one"] = ratio(("ours", 16), ("ours", 1))
    figures["sixteen_clients_over_one_by_cpu"] = by_cpu(("ours", 16), ("ours", 1))
    return figures


def _rate(server: Server, statements: list[str], clients: int, seconds: float) -> tuple[float, float]:
    """Requests a second, of so many clients that ask one question after another for so long, and the server's CPU
    seconds a request.
    """
    numbers = itertools.count()
    process = psutil.Process(server.process.pid)
    before, started = sum(process.cpu_times()[:2]), time.perf_counter()

    def client(_: int) -> int:
        connection, answered = server.connect(), 0
        while time.perf_counter() < started + seconds:
            statement = statements[next(numbers) % len(statements)]
            server.ask(connection, *server.body(statement, False))
            answered += 1
        return answered

    answered = sum(_together(client, clients))
    seconds = time.perf_counter() - started
    return answered / seconds, (sum(process.cpu_times()[:2]) - before) / answered


def _together(client: Callable[[int], Found], count: int) -> list[Found]:
    """What `client` finds for each number below `count`, all at the same time."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(client, range(count)))


def _waits(servers: dict[str, Server], statements: list[str]) -> dict[str, float]:
    """Seconds to the first token with one client and with sixteen, ours and llama.cpp's."""
    figures: dict[str, float] = {}
    for name in ("ours", "llama_cpp"):
        server = servers[name]
        with server.awake():
            found = {clients: _first_tokens(server, statements, clients) for clients in (1, 16)}
        figures |= {f"{name}_first_token_milliseconds_{clients}": 1000 * one for clients, one in found.items()}
    ours = [figures[f"ours_first_token_milliseconds_{clients}"] for clients in (1, 16)]
    return figures | {"first_token_one_client_over_sixteen": ours[0] / ours[1]}


def _first_tokens(server: Server, statements: list[str], clients: int) -> float:
    """Median seconds from the request to the first text of its stream, with so many streams at a time."""

    def client(place: int) -> list[float]:
        firsts: list[float] = []
        for number in range(4):
            path, body = server.body(statements[(place + number * clients) % len(statements)], True)
            connection = server.connect()
            connection.connect()
            started = time.perf_counter()
            connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
            reply, seen = connection.getresponse(), False
            while line := reply.readline():
                if not seen and line.startswith(b"data: {") and server.text(json.loads(line[6:])):
                    seen = True
                    firsts.append(time.perf_counter() - started)
        return firsts

    return statistics.median(itertools.chain(*_together(client, clients)))


def _reranked(servers: dict[str, Server], engine: Engine, statements: list[str]) -> dict[str, float]:
    """Seconds of one question: an answer, a rerank of eight, and eight of llama.cpp's with our second pass."""
    ours, theirs = servers["ours"], servers["llama_cpp"]
    found: dict[str, list[float]] = {"answer": [], "rerank": [], "llama_cpp": [], "second_pass": []}
    for number in range(ROUNDS + 1):  # the first warms up
        for statement in statements:
            seconds = {}
            path, body = ours.body(statement, False)
            sampled = body | {"temperature": 0.8, "seed": 5}
            reranked = body | {"rjepa": {"mode": "rerank", "num_candidates": CANDIDATES, "seed": 5}}
            del reranked["temperature"]
            with ours.awake():
                connection = ours.connect()
                for name, wanted in (("answer", sampled), ("rerank", reranked)):
                    started = time.perf_counter()
                    ours.ask(connection, path, wanted)
                    seconds[name] = time.perf_counter() - started
            path, body = theirs.body(statement, False)
            with theirs.awake():
                started = time.perf_counter()
                texts = _eight(theirs, path, body | {"temperature": 0.8, "top_k": 0, "top_p": 1.0, "min_p": 0.0})
                seconds["llama_cpp"] = time.perf_counter() - started
            started = time.perf_counter()
            chains = engine.source.reader.chains([statement] * len(texts), texts)
            segment_energies(engine.parts.model, engine.parts.reader, join_latents(chains))
            seconds["second_pass"] = time.perf_counter() - started
            if number:
                for name, one in seconds.items():
                    found[name].append(one)
    both = [one + other for one, other in zip(found["llama_cpp"], found["second_pass"], strict=True)]
    ratios = [its / mine for its, mine in zip(both, found["rerank"], strict=True)]
    answers = [one / rerank for one, rerank in zip(found["answer"], found["rerank"], strict=True)]
    figures = {f"{name}_milliseconds": 1000 * statistics.median(one) for name, one in found.items()}
    return figures | {
        "llama_cpp_and_second_pass_over_rerank": statistics.median(ratios),
        "answer_over_rerank": statistics.median(answers),
    }


def _eight(server: Server, path: str, body: dict[str, Any]) -> list[str]:
    """Eight chains at a time: the prompt is read once, as the server keeps it."""

    def one(seed: int) -> str:
        return server.text(server.ask(server.connect(), path, body | {"seed": seed}))

    return [text for text in _together(one, CANDIDATES) if text.strip()]


def _answer(text: str, statement: str) -> str:
    """What was written, without the statement and the end of the sequence, which `transformers serve` shows."""
    return text.strip().removeprefix(statement).removesuffix(_END).strip()


if __name__ == "__main__":
    main()
