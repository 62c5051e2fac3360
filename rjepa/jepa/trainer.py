"""Train R-JEPA on latents: the loop, its schedules and checkpoints. What is minimised lives in `objective`.

A run is a function of its config, its data and the number of threads: killed and started again, it ends in the same
bits. A finished run is not repeated.
"""

import hashlib
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from rjepa.errors import InvalidInputError
from rjepa.files import read_json, remove_temporary, sha256_file, sha256_json, write_json
from rjepa.jepa.batches import Assembler, Batch, Sampler
from rjepa.jepa.checkpoint import MODEL_FILE, TrainingState, load_training, save_model, save_training
from rjepa.jepa.config import JepaConfig, OptimConfig
from rjepa.jepa.model import RJepa, build_model
from rjepa.jepa.objective import objective
from rjepa.jepa.schedules import learning_rate, momentum, weight_decay
from rjepa.latents.normalizer import Normalizer
from rjepa.latents.sets import LatentSet
from rjepa.progress import Progress, silent

REPORT_FILE: Final = "report.json"
_LOG_EVERY: Final = 10
_VALIDATION_CHAINS: Final = 2048
_FINGERPRINT_ROWS: Final = 4096
_RECIPE: Final = 1
"""Raise when the objective or the loop changes, so that a checkpoint of the old one is not continued."""


@dataclass(frozen=True)
class TrainReport:
    """What a run did. `curve` and `validation` hold means of the loss terms and of the energy by update."""

    data_version: str
    """SHA-256 of the model file: equal data, config and code give an equal one"""
    fingerprint: str
    """SHA-256 of config, normaliser and training data"""
    updates: int
    seconds: float
    """time spent in the loop, over all its starts"""
    parameters: int
    chains: int
    """right chains trained on"""
    wrong_chains: int
    """wrong chains within reach as negatives; 0 where the config uses none"""
    curve: list[dict[str, float]]
    validation: list[dict[str, float]]
    unmoved: list[str]
    """trainable parameters that still have their first value"""


def train(
    config: JepaConfig,
    train: LatentSet,
    validation: LatentSet,
    normalizer: Normalizer,
    folder: Path,
    progress: Progress = silent,
    device: torch.device | str = "cpu",
) -> TrainReport:
    """Train, or go on training, the model of `folder`; the folder then holds model, last training state and report.

    Raises:
        InvalidInputError: no right chains, no wrong ones where the config needs them, widths that do not fit, or a loss
            that is not finite.
        CorruptError: the folder's checkpoint cannot be read.
    """
    names = train.domain_names
    data = Assembler(train, normalizer, config, names)
    held_out = Assembler(validation, normalizer, config, names)
    sampler = Sampler(train, data.problems, config.optim.batch_size, config.seed)
    _check_data(config, sampler)
    fingerprint = _fingerprint(config, train, validation, normalizer)
    finished = _finished_report(folder, fingerprint)
    if finished is not None:
        progress(finished.updates, finished.updates, "already trained")
        return finished

    folder.mkdir(parents=True, exist_ok=True)
    remove_temporary(folder)
    model = build_model(config, train.width, names).to(device)
    optimizer = _optimizer(model, config.optim)
    generator = torch.Generator().manual_seed(config.seed)
    state = load_training(folder, fingerprint, model, optimizer, generator)
    state = state or TrainingState(fingerprint, 0, 0.0, [], [], [])
    state = _loop(model, optimizer, generator, state, data, held_out, sampler, folder, progress)

    report = TrainReport(
        data_version=save_model(folder, model),
        fingerprint=fingerprint,
        updates=state.update,
        seconds=state.seconds,
        parameters=model.parameters_trained,
        chains=len(sampler.right),
        wrong_chains=len(sampler.wrong) if config.loss.uses_negatives else 0,
        curve=state.curve,
        validation=state.validation,
        unmoved=unmoved_parameters(model),
    )
    write_json(folder / REPORT_FILE, asdict(report))
    return report


def unmoved_parameters(model: RJepa) -> list[str]:
    """Names of trainable parameters that are still what the config's seed made them (all of them after no update)."""
    fresh = build_model(model.config, model.width, model.domain_names)
    first = {name: parameter for name, parameter in fresh.named_parameters() if parameter.requires_grad}
    now = dict(model.named_parameters())
    return [name for name, parameter in first.items() if torch.equal(parameter, now[name].cpu())]


def _loop(
    model: RJepa,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    state: TrainingState,
    data: Assembler,
    held_out: Assembler,
    sampler: Sampler,
    folder: Path,
    progress: Progress,
) -> TrainingState:
    optim, started = model.config.optim, time.monotonic() - state.seconds
    window, note = list(state.window), ""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for update in range(state.update, optim.updates):
        batch, negatives, owners = _draw(model.config, data, sampler, update, generator)
        terms = objective(model, batch, negatives, owners, generator)
        terms_now = {name: float(value.detach()) for name, value in terms.items()}
        _check_finite(terms_now["total"], update)
        optimizer.zero_grad(set_to_none=True)
        terms["total"].backward()
        norm = torch.nn.utils.clip_grad_norm_(trainable, optim.clip)
        _schedule(optimizer, optim, update)
        optimizer.step()
        model.update_target(momentum(optim, update))

        done = update + 1
        window.append({**terms_now, "gradient_norm": float(norm)})
        if done % _LOG_EVERY == 0 or done == optim.updates:
            state.curve.append({"update": done, **_means(window)})
            note, window = f"loss {state.curve[-1]['total']:.3f}", []
        if done % optim.checkpoint_every == 0 or done == optim.updates:
            state.validation.append({"update": done, "energy": _mean_energy(model, held_out)})
            state = TrainingState(
                state.fingerprint, done, time.monotonic() - started, state.curve, window, state.validation
            )
            save_training(folder, model, optimizer, generator, state)
        progress(done, optim.updates, note)
    return state


def _draw(
    config: JepaConfig, data: Assembler, sampler: Sampler, update: int, generator: torch.Generator
) -> tuple[Batch, Batch | None, torch.Tensor]:
    chains = sampler.chains(update)
    if not config.loss.uses_negatives:
        return data.gather(chains), None, torch.empty(0, dtype=torch.int64)
    owners, wrong = sampler.negatives(chains, config.optim.negatives, generator)
    negatives = data.gather(wrong) if len(wrong) else None
    return data.gather(chains), negatives, torch.from_numpy(owners)


def _optimizer(model: RJepa, config: OptimConfig) -> torch.optim.Optimizer:
    """AdamW; only matrices decay (biases, norms, embeddings and the mask token do not)."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    matrices = [parameter for name, parameter in named if parameter.ndim >= 2 and "domain" not in name]
    others = [parameter for name, parameter in named if parameter.ndim < 2 or "domain" in name]
    groups = [{"params": matrices, "decays": True}, {"params": others, "decays": False}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95), fused=True)


def _schedule(optimizer: torch.optim.Optimizer, config: OptimConfig, update: int) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(config, update)
        group["weight_decay"] = weight_decay(config, update) if group["decays"] else 0.0


def _mean_energy(model: RJepa, held_out: Assembler, batch_size: int = 256) -> float:
    """Mean energy of the steps of right validation chains (at most 2048 of them); 0 if there are none."""
    right = held_out.right_chains()[:_VALIDATION_CHAINS]
    total, count = 0.0, 0
    for start in range(0, len(right), batch_size):
        batch = held_out.gather(right[start : start + batch_size]).to(model.device)
        total += float(model.energies(batch).sum(dtype=torch.float64))
        count += int(batch.valid[:, 1:].sum())
    return total / max(count, 1)


def _means(window: list[dict[str, float]]) -> dict[str, float]:
    # An update that drew no wrong chain has no such term.
    names = sorted({name for entry in window for name in entry})
    return {name: float(np.mean([entry[name] for entry in window if name in entry])) for name in names}


def _check_data(config: JepaConfig, sampler: Sampler) -> None:
    if len(sampler.right) < 2:
        raise InvalidInputError(
            f"{len(sampler.right)} right chains with a step to train on, expected at least 2",
            cure="use a dataset whose train split has validated chains",
        )
    if config.loss.uses_negatives and sampler.paired == 0:
        raise InvalidInputError(
            f"config {config.name!r} uses wrong chains as negatives, and no right chain has one of its problem",
            cure="use a dataset with wrong chains, or train configs/rjepa/demo.yaml",
        )


def _check_finite(loss: float, update: int) -> None:
    if not math.isfinite(loss):
        raise InvalidInputError(
            f"the loss is {loss} at update {update}",
            cure="lower optim.learning_rate in the run's config, or check the latents for values that are not finite",
        )


def _finished_report(folder: Path, fingerprint: str) -> TrainReport | None:
    path = folder / REPORT_FILE
    if not path.exists() or not (folder / MODEL_FILE).exists():
        return None
    values = read_json(path)
    if values.get("fingerprint") != fingerprint or sha256_file(folder / MODEL_FILE) != values.get("data_version"):
        return None
    return TrainReport(**values)


def _fingerprint(config: JepaConfig, train: LatentSet, validation: LatentSet, normalizer: Normalizer) -> str:
    """Names the run. Latents enter through evenly spread rows: sets larger than memory are not read twice."""
    parts: list[object] = [_RECIPE, config.model_dump(mode="json")]
    parts += [_digest(normalizer.location), _digest(normalizer.scale)]
    for latents in (train, validation):
        rows = latents.latents.shape[0]
        spread = np.unique(np.linspace(0, max(rows - 1, 0), min(rows, _FINGERPRINT_ROWS)).astype(np.int64))
        parts += [list(latents.domain_names), latents.width, _digest(np.asarray(latents.latents[spread]))]
        parts += [_digest(latents.offsets), _digest(latents.domains), _digest(latents.first_error)]
        parts += [latents.chain_ids, latents.problem_ids]
    return sha256_json(parts)


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
