"""Train a bundled student from its recipe: tokenizer, model, optimiser, resumable loop, Hugging Face folder.

Muon for the hidden matrices and AdamW for the rest. Muon: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/.
"""

import contextlib
import copy
import itertools
import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from rjepa.device import best_device
from rjepa.errors import InvalidInputError
from rjepa.files import atomic_folder, read_json, sha256_json, write_json
from rjepa.muon import Muon
from rjepa.precision import multiplies_bf16
from rjepa.progress import Progress, silent
from rjepa.students.corpus import IGNORED, Corpus, batches_from
from rjepa.students.recipe import StudentRecipe, load_student_recipe
from rjepa.students.tokenizer import train_tokenizer

_TOKENIZER_TEXTS = 20_000
_ARCHITECTURES = {"qwen3": (Qwen3Config, Qwen3ForCausalLM), "llama": (LlamaConfig, LlamaForCausalLM)}
_WORK = "training"


def train_student(recipe: StudentRecipe, out: Path, progress: Progress = silent, workers: int = 0) -> Path:
    """Train the student of `recipe` into the Hugging Face folder `out`, resuming what an earlier call left there.

    A folder beside `out` holds the checkpoint while the run lasts; the finished folder holds config.json,
    model.safetensors (bfloat16), the tokenizer and recipe.json. A checkpoint of another recipe is not gone on from.
    Trains on a GPU where there is one: the same texts in the same order, and not the same bits as on a CPU.

    Args:
        workers: processes that write the texts ahead of the training; 0 writes them in this one. A GPU wants several.

    Raises:
        NotFoundError: the recipe starts from one that does not exist.
        InvalidInputError: it removes layers that are not there.
    """
    if (out / "model.safetensors").exists():
        return out
    work = out.parent / f".{out.name}-{_WORK}-{sha256_json(recipe.model_dump(mode='json'))[:12]}"
    device = best_device()
    torch.manual_seed(recipe.seed)
    if recipe.start_from is not None:
        base = train_student(load_student_recipe(recipe.start_from), work / "base", progress, workers)
        model, tokenizer = load_trained(base)
        remove_layers(model, recipe.removed_layers)
        add_layers(model, recipe.added_layers)
    else:
        tokenizer = _tokenizer(recipe, work)
        model = build_model(recipe, tokenizer)
    # On chains this short eager attention trained 1.2 times as fast as SDPA on the CPU (docs/lab-book.md).
    model.set_attn_implementation("eager" if device.type == "cpu" else "sdpa")
    cast(Any, model).to(device)
    optimizers = _optimizers(model, recipe)
    done = _restore(work / "checkpoint", model, optimizers)
    started, first = time.monotonic(), done
    model.train()
    with contextlib.closing(batches_from(recipe, tokenizer, done, workers)) as batches:
        for batch in itertools.islice(batches, recipe.updates - done):
            loss = _update(model, optimizers, recipe, {name: part.to(device) for name, part in batch.items()}, done)
            done += 1
            rate = (done - first) / (time.monotonic() - started)
            progress(done, recipe.updates, f"loss {loss:.3f}, {rate:.2f} updates/s")
            if done % recipe.checkpoint_every == 0:
                _checkpoint(work / "checkpoint", model, optimizers, done)
    with atomic_folder(out) as folder:
        cast(Any, model).to(torch.bfloat16).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        write_json(folder / "recipe.json", recipe.model_dump(mode="json"))
    shutil.rmtree(work, ignore_errors=True)
    return out


def build_model(recipe: StudentRecipe, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """A randomly initialised model of the recipe's architecture (torch's global generator)."""
    config_class, model_class = _ARCHITECTURES[recipe.architecture]
    config = config_class(
        vocab_size=len(tokenizer),
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        **recipe.model,
    )
    return cast(PreTrainedModel, model_class(config))


def add_layers(model: PreTrainedModel, count: int) -> None:
    """Put `count` decoder layers into the middle of a model. They change nothing until they are trained: what each adds
    to the residual stream starts at 0 (as in Wu et al. 2024, https://arxiv.org/abs/2401.02415).
    """
    layers, middle = list(_decoder(model).layers), len(_decoder(model).layers) // 2
    for number in range(count):
        added = copy.deepcopy(layers[middle - 1])
        torch.nn.init.zeros_(added.self_attn.o_proj.weight)
        torch.nn.init.zeros_(added.mlp.down_proj.weight)
        layers.insert(middle + number, added)
    _set_layers(model, layers)


def remove_layers(model: PreTrainedModel, removed: Sequence[int]) -> None:
    """Leave out decoder layers, counted from 0: in the middle of a trained model some can be spared, and a short
    training mends what is lost (Gromov et al. 2024, https://arxiv.org/abs/2403.17887).

    Raises:
        InvalidInputError: the model has no such layer, or would keep none.
    """
    layers = list(_decoder(model).layers)
    kept = [layer for index, layer in enumerate(layers) if index not in removed]
    if max(removed, default=0) >= len(layers) or not kept:
        raise InvalidInputError(
            f"removed_layers {tuple(removed)} do not fit a model of {len(layers)} layers",
            cure=f"name layers from 0 to {len(layers) - 1}, and keep at least one",
        )
    _set_layers(model, kept)


def _set_layers(model: PreTrainedModel, layers: list[Any]) -> None:
    for index, layer in enumerate(layers):
        layer.self_attn.layer_idx = index
    _decoder(model).layers = torch.nn.ModuleList(layers)
    model.config.num_hidden_layers = len(layers)
    if getattr(model.config, "layer_types", None):
        model.config.layer_types = [model.config.layer_types[0]] * len(layers)


def _decoder(model: PreTrainedModel) -> Any:
    """The stack of layers below the head, whose attributes torch gives no types."""
    return model.model


def _tokenizer(recipe: StudentRecipe, work: Path) -> PreTrainedTokenizerBase:
    folder = work / "tokenizer"
    if not folder.exists():
        texts = Corpus(recipe).texts(_TOKENIZER_TEXTS, "tokenizer")
        tokenizer = train_tokenizer((text.prompt + text.chain for text in texts), recipe.vocab_size)
        with atomic_folder(folder) as temporary:
            tokenizer.save_pretrained(temporary)
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _optimizers(model: torch.nn.Module, recipe: StudentRecipe) -> list[torch.optim.Optimizer]:
    hidden = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed_tokens" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed_tokens" in n]
    muon = Muon(hidden, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    adamw = torch.optim.AdamW(
        others, lr=recipe.embedding_learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True
    )
    for optimizer in (muon, adamw):
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return [muon, adamw]


def _schedule(update: int, recipe: StudentRecipe) -> float:
    """Warm-up, plateau, then a cosine fall to 0 over the last `decay_share` of the run."""
    if update < recipe.warmup_updates:
        return (update + 1) / recipe.warmup_updates
    left = (recipe.updates - update) / (recipe.updates * recipe.decay_share)
    return 1.0 if left >= 1 else 0.5 * (1 - math.cos(math.pi * left))


def _update(
    model: PreTrainedModel,
    optimizers: list[torch.optim.Optimizer],
    recipe: StudentRecipe,
    batch: dict[str, torch.Tensor],
    done: int,
) -> float:
    kind = batch["input_ids"].device.type
    with torch.autocast(kind, torch.bfloat16, enabled=multiplies_bf16(kind)):
        hidden = _decoder(model)(input_ids=batch["input_ids"]).last_hidden_state[:, :-1]
        labels = batch["labels"][:, 1:]
        chosen = labels != IGNORED
        # Prompt tokens are not predicted: the head runs on the chain's positions only.
        logits = cast(Any, model).lm_head(hidden[chosen])
    loss = torch.nn.functional.cross_entropy(logits.float(), labels[chosen])
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * _schedule(done, recipe)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss.item()


def _checkpoint(folder: Path, model: torch.nn.Module, optimizers: list[torch.optim.Optimizer], done: int) -> None:
    tensors = {f"model.{name}": tensor.contiguous() for name, tensor in model.named_parameters()}
    for number, optimizer in enumerate(optimizers):
        for index, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"optimizer.{number}.{index}.{key}"] = torch.as_tensor(value).contiguous()
    with atomic_folder(folder) as temporary:
        save_file(tensors, temporary / "state.safetensors")
        write_json(temporary / "progress.json", {"updates": done})


def _restore(folder: Path, model: torch.nn.Module, optimizers: list[torch.optim.Optimizer]) -> int:
    if not (folder / "progress.json").exists():
        return 0
    tensors = load_file(folder / "state.safetensors")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
    for number, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, torch.Tensor]] = {}
        prefix = f"optimizer.{number}."
        for name, tensor in tensors.items():
            if name.startswith(prefix):
                index, key = name.removeprefix(prefix).split(".", 1)
                state.setdefault(int(index), {})[key] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(read_json(folder / "progress.json")["updates"])


def load_trained(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A finished student's model (float32) and tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(folder, local_files_only=True)
