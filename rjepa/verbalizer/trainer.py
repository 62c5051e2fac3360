"""Train a decoder on right chains, with R-JEPA and the student as they are: the loop and its checkpoints.

A run is a function of its config, its data and the number of threads: killed and started again, it ends in the same
bits. A finished run is not repeated.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from rjepa.errors import InvalidInputError
from rjepa.files import remove_temporary, sha256_file, sha256_json, write_json
from rjepa.jepa.checkpoint import TrainingState, load_training, save_training
from rjepa.jepa.optimizer import Optimizers, make_optimizers, set_rates
from rjepa.jepa.runs import REPORT_FILE, UPDATES_BETWEEN_LOGS, check_finite, read_finished
from rjepa.precision import multiplies_bf16
from rjepa.progress import Progress, silent
from rjepa.verbalizer.checkpoint import DECODER_FILE, save_decoder
from rjepa.verbalizer.config import DecoderConfig
from rjepa.verbalizer.model import Decoder, TokenBatch, build_decoder
from rjepa.verbalizer.texts import Texts

_RECIPE: Final = 1
"""Raise when the objective or the loop changes, so that a checkpoint of the old one is not continued."""

_HELD_OUT_CHAINS: Final = 128
"""Validation chains that the loss is measured on while training: enough to see that it falls."""


@dataclass(frozen=True)
class DecoderReport:
    """What a run did. `curve` and `validation` hold the loss, in nats a token, by update."""

    data_version: str
    """SHA-256 of the model file: equal data, config and code give an equal one"""
    fingerprint: str
    """SHA-256 of config and data"""
    updates: int
    seconds: float
    """time spent in the loop, over all its starts"""
    parameters: int
    chains: int
    vocabulary: int
    curve: list[dict[str, float]]
    validation: list[dict[str, float]]


def train_decoder(
    config: DecoderConfig,
    texts: Texts,
    held_out: Texts,
    columns: int,
    folder: Path,
    inputs: str,
    made_for: str,
    progress: Progress = silent,
    device: torch.device | str = "cpu",
) -> DecoderReport:
    """Train, or go on training, the decoder of `folder`; the folder then holds model, last training state and report.

    Args:
        texts: right training chains.
        held_out: right validation chains.
        columns: of the latents that R-JEPA reads.
        inputs: a hash of all that the texts come from.
        made_for: names the R-JEPA whose expectations are learnt (`made.current_world_model`).

    Raises:
        InvalidInputError: too few right chains, or a loss that is not finite.
        CorruptError: the folder's checkpoint cannot be read.
    """
    chains = len(texts.tokens)
    if chains < 2:
        raise InvalidInputError(
            f"{chains} right chains to learn from, expected at least 2",
            cure="use a dataset whose train split has validated chains",
        )
    config = config.model_copy(update={"optim": config.optim.for_chains(chains)})
    fingerprint = sha256_json([_RECIPE, config.model_dump(mode="json"), inputs])
    finished = read_finished(folder, fingerprint, DECODER_FILE, DecoderReport)
    if finished is not None:
        progress(finished.updates, finished.updates, "already trained")
        return finished
    folder.mkdir(parents=True, exist_ok=True)
    remove_temporary(folder)
    decoder = build_decoder(config, texts.vocabulary, columns).to(device)
    optimizers = make_optimizers(decoder, config.optim)
    generator = torch.Generator().manual_seed(config.seed)
    state = load_training(folder, fingerprint, decoder, optimizers, generator)
    state = state or TrainingState(fingerprint, 0, 0.0, [], [], [])
    state = _loop(decoder, optimizers, generator, texts, held_out, state, folder, progress)
    save_decoder(folder, decoder, made_for)
    report = DecoderReport(
        data_version=sha256_file(folder / DECODER_FILE),
        fingerprint=fingerprint,
        updates=state.update,
        seconds=state.seconds,
        parameters=decoder.parameters_trained,
        chains=chains,
        vocabulary=len(texts.vocabulary),
        curve=state.curve,
        validation=state.validation,
    )
    write_json(folder / REPORT_FILE, asdict(report))
    return report


def _loop(
    decoder: Decoder,
    optimizers: Optimizers,
    generator: torch.Generator,
    texts: Texts,
    held_out: Texts,
    state: TrainingState,
    folder: Path,
    progress: Progress,
) -> TrainingState:
    optim, started = decoder.config.optim, time.monotonic() - state.seconds
    window, note = list(state.window), ""
    for update in range(state.update, optim.updates):
        window.append({"total": _update(decoder, optimizers, texts.batch(update), update)})
        done = update + 1
        if done % UPDATES_BETWEEN_LOGS == 0 or done == optim.updates:
            mean = float(np.mean([entry["total"] for entry in window]))
            state.curve.append({"update": done, "total": mean})
            note, window = f"loss {mean:.3f}", []
        if done % optim.checkpoint_every == 0 or done == optim.updates:
            state.validation.append({"update": done, **held_out_loss(decoder, held_out)})
            seconds = time.monotonic() - started
            state = TrainingState(state.fingerprint, done, seconds, state.curve, window, state.validation)
            save_training(folder, decoder, optimizers, generator, state)
        progress(done, optim.updates, note)
    return state


def _update(decoder: Decoder, optimizers: Optimizers, batch: TokenBatch, update: int) -> float:
    """One step of the optimiser; the loss before it."""
    optim, kind = decoder.config.optim, decoder.device.type
    with torch.autocast(kind, torch.bfloat16, enabled=optim.bf16 and multiplies_bf16(kind)):
        loss = decoder.loss(batch.to(decoder.device))
    value = float(loss.detach())
    check_finite(value, update)
    decoder.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(decoder.parameters(), optim.clip)
    set_rates(optimizers, optim, update)
    for optimizer in optimizers:
        optimizer.step()
    return value


@torch.no_grad()
def held_out_loss(decoder: Decoder, held_out: Texts) -> dict[str, float]:
    """Loss on held-out chains, from the latents that were expected of them and from those that were observed."""
    chosen = np.arange(min(len(held_out.tokens), _HELD_OUT_CHAINS))
    if not len(chosen):
        return {}
    expected = decoder.loss(held_out.of(chosen, "expected").to(decoder.device))
    observed = decoder.loss(held_out.of(chosen, "observed").to(decoder.device))
    return {"expected": float(expected), "observed": float(observed)}
