"""Make 4-bit AWQ weights of a student, calibrated on what it will read: prompts and chains of a data set's train split.

    python -m rjepa.students.quantizing --llm tiny-a --out tiny-a-awq --dataset v1.0.0

AutoAWQ does the quantising, on the CPU too. `rjepa llm quantize` runs this module in a process of its own, here or in
the environment that is named: AutoAWQ is no longer kept up and need not be installed beside the platform.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from rjepa.errors import InvalidInputError, RjepaError
from rjepa.files import atomic_folder
from rjepa.home import Home
from rjepa.processes import claim_stdout
from rjepa.students.catalog import StudentRecord, load_record
from rjepa.students.environments import REQUIREMENTS, check_environment, module_command, module_variables
from rjepa.students.registering import new_record

_MODULE: Final = "rjepa.students.quantizing"
_BITS: Final = 4
_GROUP_SIZES: Final = (128, 64, 32)
"""Columns that share a scale. 128 is what published AWQ weights have."""
_NARROW: Final = 1024
"""Columns. In a narrower layer 128 are too large a share of a row: the smallest groups are taken instead."""
_BLOCK_TOKENS: Final = 512
BLOCKS: Final = 128
"""AutoAWQ's own defaults."""
_RECIPE_FILE: Final = "recipe.json"
_SEPARATE: Final = "folder"
"""Tag of a folder that is quantised without being registered."""


def quantize_elsewhere(
    home: Home, source: str, out: Path, dataset: str, environment: str | None = None, blocks: int = BLOCKS
) -> dict[str, Any]:
    """Quantise a registered student, or the model in a folder, in a process of its own; what it reports.

    Raises:
        NotFoundError: no such student, folder, data set or environment.
        InvalidInputError: AutoAWQ is missing, or cannot quantise this model; `out` has something in it.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InvalidInputError(f"{out} has something in it", cure="name a new folder")
    record = _record(home, source)
    placed = record.model_copy(update={"environment": environment or sys.executable})
    python = check_environment(placed, [REQUIREMENTS / "quantize.txt"])
    arguments = ["--llm", source, "--out", str(out.absolute()), "--dataset", dataset]
    arguments += ["--blocks", str(blocks)]
    done = subprocess.run(
        module_command(python, _MODULE, arguments),
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **module_variables(home)},
    )
    reported = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
    if "problem" in reported:
        raise InvalidInputError(reported["problem"], cure=reported["cure"])
    if done.returncode:
        raise InvalidInputError(
            f"quantising {source} ended with code {done.returncode}", cure="what it printed above says why"
        )
    return reported


def quantize_awq(home: Home, source: str, out: Path, dataset: str, max_blocks: int = BLOCKS) -> dict[str, Any]:
    """Quantise in this process: the new folder holds weights, tokenizer and configuration. Returns what was done.

    Raises:
        NotFoundError: no such student, folder or data set.
        InvalidInputError: AutoAWQ does not know the architecture, a layer is too narrow, or there is no text.
    """
    from transformers import AutoTokenizer

    from rjepa.students.resolving import resolve_student

    record = _record(home, source)
    resolved = resolve_student(home, record)
    if resolved.lora is not None:
        raise InvalidInputError(
            f"{source} has a LoRA, which would be left out",
            cure=f"rjepa lora merge {source} --out FOLDER first",
        )
    tokenizer = AutoTokenizer.from_pretrained(resolved.path, local_files_only=True, trust_remote_code=False)
    try:
        model = import_module("awq").AutoAWQForCausalLM.from_pretrained(
            str(resolved.path), trust_remote_code=False, safetensors=True, local_files_only=True
        )
    except TypeError as error:
        raise InvalidInputError(
            f"AutoAWQ cannot quantise {source}: {error}",
            cure="quantise a model of a family that it knows (Llama, Qwen, Mistral, Gemma, ...)",
        ) from error
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None) or _BLOCK_TOKENS
    blocks = calibration_blocks(home, record, dataset, tokenizer, min(_BLOCK_TOKENS, context), max_blocks)
    settings = {"zero_point": True, "q_group_size": _group_size(model.model), "w_bit": _BITS, "version": "GEMM"}
    model.quantize(
        tokenizer,
        quant_config=settings,
        calib_data=blocks,
        max_calib_seq_len=len(blocks[0]),
        max_calib_samples=len(blocks),
        quantizer_cls=_careful_quantizer(),
    )
    with atomic_folder(out) as folder:
        model.save_quantized(str(folder), safetensors=True)
        tokenizer.save_pretrained(folder)
        if (resolved.path / _RECIPE_FILE).is_file():  # by this a folder is known to hold a student that writes our form
            shutil.copyfile(resolved.path / _RECIPE_FILE, folder / _RECIPE_FILE)
    size = sum(file.stat().st_size for file in out.glob("*.safetensors"))
    return {
        "out": str(out),
        "dataset": dataset,
        "calibration_tokens": sum(map(len, blocks)),
        "group_size": settings["q_group_size"],
        "megabytes": round(size / 1e6, 3),
        "megabytes_before": round(resolved.weight_bytes / 1e6, 3),
    }


def _careful_quantizer() -> type:
    """AutoAWQ's quantizer, mended for the CPU. While it tries scales it keeps the weights aside with `.cpu()`, which
    copies what lies on a card and nothing that lies here: the first scale it tries then stays in the weights for good
    (tiny-a: mean cosine of layer -2's latents 0.888 instead of 0.997).
    """
    base: Any = import_module("awq.quantize.quantizer").AwqQuantizer

    def copy_all(module: Any, state: dict[str, Any], prefix: str, local_metadata: Any) -> None:
        for name in state:
            state[name] = state[name].clone()

    class CarefulQuantizer(base):  # type: ignore[misc]  # a class that is imported when it is wanted
        def _compute_best_scale(self, x: Any, w_mean: Any, x_mean: Any, module2inspect: Any, *rest: Any) -> Any:
            hook = module2inspect.register_state_dict_post_hook(copy_all)
            try:
                return super()._compute_best_scale(x, w_mean, x_mean, module2inspect, *rest)
            finally:
                hook.remove()

    return CarefulQuantizer


def calibration_blocks(
    home: Home, record: StudentRecord, dataset: str, tokenizer: Any, tokens: int, max_blocks: int
) -> list[list[int]]:
    """Token ids of train problems' prompts and right chains end to end, cut into at most `max_blocks` blocks of equal
    length, at most `tokens` each. No other split is read into them.

    Raises:
        NotFoundError: no such data set, or it is not made yet.
        InvalidInputError: it has no train problem.
    """
    from rjepa.chains import render_chain
    from rjepa.datasets.reading import load_chains, load_problems
    from rjepa.students.prompts import encode_prompts, render_prompt

    chains = {chain.problem_id: chain for chain in load_chains(home, dataset, only_valid=True)}
    stream: list[int] = []
    for problem in load_problems(home, dataset, "train"):
        rendered = render_prompt(tokenizer, record.prompt, problem.statement)
        stream += encode_prompts(tokenizer, record.prompt, [rendered])[0]
        if (chain := chains.get(problem.problem_id)) is not None:
            text = render_chain(chain.steps, chain.final_answer)
            stream += tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(stream) >= max_blocks * tokens:
            break
    if not stream:
        raise InvalidInputError(
            f"dataset {dataset} has no train problem to calibrate on", cure="choose a data set with a train split"
        )
    length = min(tokens, len(stream))
    return [stream[first : first + length] for first in range(0, len(stream) - length + 1, length)][:max_blocks]


def _group_size(model: Any) -> int:
    from torch import nn

    head = model.get_output_embeddings()
    widths = {layer.in_features for layer in model.modules() if isinstance(layer, nn.Linear) and layer is not head}
    for size in _GROUP_SIZES if min(widths) >= _NARROW else _GROUP_SIZES[-1:]:
        if all(width % size == 0 for width in widths):
            return size
    raise InvalidInputError(
        f"its layers are {', '.join(map(str, sorted(widths)))} wide, which groups of {_GROUP_SIZES[-1]} do not divide",
        cure="use a model whose layers are a multiple of 32 wide",
    )


def _record(home: Home, source: str) -> StudentRecord:
    folder = Path(source).expanduser()
    return new_record(_SEPARATE, str(folder.resolve())) if folder.is_dir() else load_record(home, source)


def main(arguments: Sequence[str] | None = None) -> int:
    """Quantise as the command line says; the last line is a JSON object: what was done, or what went wrong."""
    parser = argparse.ArgumentParser(prog=f"python -m {_MODULE}")
    parser.add_argument("--llm", required=True, help="llm_tag, or folder of a model")
    parser.add_argument("--out", required=True, type=Path, help="new folder for the weights")
    parser.add_argument("--dataset", required=True, help="dataset version whose train split calibrates")
    parser.add_argument("--blocks", type=int, default=BLOCKS, help=f"blocks of {_BLOCK_TOKENS} tokens to calibrate on")
    options = parser.parse_args(arguments)
    from rjepa.settings import load_settings

    home, stdout = Home(load_settings().home), claim_stdout()
    try:
        print(
            json.dumps(quantize_awq(home, options.llm, options.out, options.dataset, options.blocks)),
            file=stdout,
            flush=True,
        )
    except RjepaError as error:
        print(json.dumps({"problem": error.problem, "cure": error.cure}), file=stdout, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
