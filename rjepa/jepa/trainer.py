"""Train R-JEPA on latents: the loop and its checkpoints. What is minimised lives in `objective`.

A run is a function of its config, its data and the number of threads: killed and started again, it ends in the same
bits. A finished run is not repeated. Several processes (`distributed`) make the same model within rounding, and a run
may be continued by another number of them.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from rjepa.errors import InvalidInputError
from rjepa.ewc import Anchor
from rjepa.files import remove_temporary, sha256_file, sha256_json, write_json
from rjepa.jepa.batches import Assembler, Batch, BatchOrder
from rjepa.jepa.checkpoint import MODEL_FILE, TrainingState, load_model, load_training, save_model, save_training
from rjepa.jepa.config import JepaConfig
from rjepa.jepa.diagnostics import unmoved_parameters
from rjepa.jepa.distributed import ALONE, Processes
from rjepa.jepa.growing import Grown
from rjepa.jepa.identity import fingerprint_of
from rjepa.jepa.model import RJepa, build_model
from rjepa.jepa.objective import objective
from rjepa.jepa.optimizer import Optimizers, make_optimizers, set_rates
from rjepa.jepa.reader import Reader
from rjepa.jepa.replay import ReplayOrder
from rjepa.jepa.runs import REPORT_FILE, UPDATES_BETWEEN_LOGS, check_finite, read_finished
from rjepa.jepa.schedules import momentum
from rjepa.jepa.starting import Start, anchor_at_start, replay_order, take_over
from rjepa.jepa.tracking import Tracker, Tracking
from rjepa.latents.normalizer import Normalizer
from rjepa.latents.sets import LatentSet
from rjepa.progress import Progress, silent

_VALIDATION_CHAINS: Final = 2048


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
    new_chains: int = 0
    """of a run that goes on from a release: right chains of problems that the release has not learnt from"""
    replayed_chains: int = 0
    """the old ones that are shown again"""
    start_energy: float | None = None
    """mean energy of held-out steps before the first update, of such a run or of one that begins with a grown model"""


@dataclass(frozen=True)
class _Sampled:
    """Chains that the student sampled itself, beside the wrong ones of the training set: wrong ones as negatives; for a
    ranking head on a trained trunk, which only needs labels, right ones too.
    """

    data: Assembler
    chains: np.ndarray
    """int64, their indices"""
    wrong: int
    """how many of them are wrong: at least one"""

    @classmethod
    def find(
        cls, sampled: LatentSet | None, reader: Reader, config: JepaConfig, names: tuple[str, ...]
    ) -> "_Sampled | None":
        """None where the config uses no negatives, or the student wrote no wrong chain."""
        if sampled is None or not config.loss.uses_negatives:
            return None
        data = Assembler(sampled, reader, config, names)
        wrong = data.wrong_chains()
        chains = wrong if config.trunk is None else np.concatenate([data.right_chains(), wrong])
        return cls(data, chains, len(wrong)) if len(wrong) else None

    def draw(self, amount: int, generator: torch.Generator) -> Batch:
        """So many of them at random, as a batch."""
        return self.data.gather(self.chains[torch.randint(len(self.chains), (amount,), generator=generator).numpy()])


@dataclass(frozen=True)
class _Run:
    """What a loop works with."""

    model: RJepa
    optimizers: Optimizers
    generator: torch.Generator
    data: Assembler
    held_out: Assembler
    order: BatchOrder
    sampled_chains: _Sampled | None
    folder: Path
    processes: Processes
    anchor: Anchor | None
    """what a run that goes on from a release is pulled back to"""


def train(
    config: JepaConfig,
    train: LatentSet,
    validation: LatentSet,
    normalizer: Normalizer,
    folder: Path,
    progress: Progress = silent,
    device: torch.device | str = "cpu",
    processes: Processes = ALONE,
    tracking: Tracking | None = None,
    sampled: LatentSet | None = None,
    trunk: Path | None = None,
    start: Start | None = None,
    grown: Grown | None = None,
) -> TrainReport:
    """Train, or go on training, the model of `folder`; the folder then holds model, last training state and report.

    Args:
        sampled: chains that the student wrote for training problems. Where the config uses negatives, half of them are
            wrong ones among these.
        processes: those that call this together, each with the same arguments and one folder; the first one writes.
        tracking: where curves go besides the report.
        trunk: folder of the trained model whose encoders and predictor are taken, where the config names one.
        start: the trained model that the run goes on from, where the config says so; `normalizer` is then its own.
        grown: another student's R-JEPA, which the run begins with; the config takes its shape.

    Raises:
        InvalidInputError: no right chains, no wrong ones where the config needs them, widths that do not fit, a trunk
            of another shape, processes that do not agree on what to train, or a loss that is not finite.
        NotFoundError: nothing was trained in the trunk's folder.
        CorruptError: the folder's checkpoint, or the trunk's model, cannot be read.
        ValueError: a trunk or a start for a config without one, or the other way round.
    """
    if (trunk is None) != (config.trunk is None) or (start is None) != (config.init_from is None):
        raise ValueError(
            f"config {config.name!r} has trunk {config.trunk!r} and init_from {config.init_from!r}; "
            f"{trunk} and {start and start.release} were given"
        )
    names = train.domain_names
    if grown is not None:
        config, names = grown.config_for(config), grown.domain_names(train)
    if start is not None:
        start.check(train)
        config, names = start.config_for(config), start.domain_names(train)
    reader = Reader.of(config, normalizer)
    data = Assembler(train, reader, config, names)
    held_out = Assembler(validation, reader, config, names)
    order = _order(config, train, data, reader, start)
    sampled_chains = _Sampled.find(sampled, reader, config, names)
    _check_data(config, order, sampled_chains)
    config = config.model_copy(update={"optim": config.optim.for_epoch(max(1, order.per_epoch))})
    taken = None if trunk is None else load_model(trunk)
    fingerprint = fingerprint_of(
        config,
        train,
        validation,
        normalizer,
        sampled if sampled_chains else None,
        _identity(trunk, start, grown, train),
    )
    finished = read_finished(folder, fingerprint, MODEL_FILE, TrainReport)
    processes.check_equal(fingerprint, finished.updates if finished else -1)
    if finished is not None:
        progress(finished.updates, finished.updates, "already trained")
        return finished

    folder.mkdir(parents=True, exist_ok=True)
    if processes.first:
        remove_temporary(folder)
    model = build_model(config, train.width, names).to(device)
    if taken is not None:
        _take_trunk(model, taken)
    anchor, start_energy = None, None
    if grown is not None:
        take_over(model, grown.model)
        start_energy = _mean_energy(model, held_out)
    if start is not None and config.replay is not None and isinstance(order, ReplayOrder):
        take_over(model, start.model)
        anchor = anchor_at_start(model, data, order, config.replay)
        start_energy = _mean_energy(model, held_out)
    optimizers = make_optimizers(model, config.optim)
    generator = torch.Generator().manual_seed(config.seed)
    state = load_training(folder, fingerprint, model, optimizers, generator)
    state = state or TrainingState(fingerprint, 0, 0.0, [], [], [])
    processes.check_equal(fingerprint, state.update)
    run = _Run(model, optimizers, generator, data, held_out, order, sampled_chains, folder, processes, anchor)
    tracker = (tracking or Tracking()).start(folder, fingerprint, config, enabled=processes.first)
    with tracker:
        with processes.sharing(model):
            state = _loop(run, state, progress if processes.first else silent, tracker)
        if processes.first:
            save_model(folder, model)
        processes.barrier()
        report = TrainReport(
            data_version=sha256_file(folder / MODEL_FILE),
            fingerprint=fingerprint,
            updates=state.update,
            seconds=state.seconds,
            parameters=model.parameters_trained,
            chains=len(order.right),
            wrong_chains=_wrong_chains(config, order, sampled_chains),
            curve=state.curve,
            validation=state.validation,
            unmoved=unmoved_parameters(model),
            new_chains=len(order.new) if isinstance(order, ReplayOrder) else 0,
            replayed_chains=len(order.old) if isinstance(order, ReplayOrder) else 0,
            start_energy=start_energy,
        )
        if processes.first:
            write_json(folder / REPORT_FILE, asdict(report))
    return report


def _loop(run: _Run, state: TrainingState, progress: Progress, tracker: Tracker) -> TrainingState:
    model, optim, started = run.model, run.model.config.optim, time.monotonic() - state.seconds
    window, note = list(state.window), ""
    for update in range(state.update, optim.updates):
        entry = _update(run, update)
        done = update + 1
        window.append(entry)
        if done % UPDATES_BETWEEN_LOGS == 0 or done == optim.updates:
            state.curve.append({"update": done, **_means(window)})
            tracker.log("train", state.curve[-1])
            note, window = f"loss {state.curve[-1]['total']:.3f}", []
        if done % optim.checkpoint_every == 0 or done == optim.updates:
            state.validation.append({"update": done, "energy": _mean_energy(model, run.held_out)})
            tracker.log("validation", state.validation[-1])
            state = TrainingState(
                state.fingerprint, done, time.monotonic() - started, state.curve, window, state.validation
            )
            if run.processes.first:
                save_training(run.folder, model, run.optimizers, run.generator, state)
        progress(done, optim.updates, note)
    return state


def _update(run: _Run, update: int) -> dict[str, float]:
    """One step of the optimiser and of the target; the terms of the loss before it."""
    model, optim = run.model, run.model.config.optim
    batch, negatives, owners = _draw(run, update)
    terms = objective(model, batch, negatives, owners, run.generator)
    if run.anchor is not None and model.config.replay is not None:
        terms["ewc"] = run.anchor.penalty(model)
        terms["total"] = terms["total"] + model.config.replay.ewc * terms["ewc"]
    entry = {name: float(value.detach()) for name, value in terms.items()}
    check_finite(entry["total"], update)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.zero_grad(set_to_none=True)
    run.processes.backward(terms["total"], trainable)
    norm = torch.nn.utils.clip_grad_norm_(trainable, optim.clip)
    set_rates(run.optimizers, optim, update)
    for optimizer in run.optimizers:
        optimizer.step()
    if model.config.trunk is None:
        model.update_target(momentum(optim, update))
    return {**entry, "gradient_norm": float(norm)}


def _order(config: JepaConfig, train: LatentSet, data: Assembler, reader: Reader, start: Start | None) -> BatchOrder:
    """Which chains an update sees: all right ones in turn, or new ones beside replayed ones."""
    if start is None or config.replay is None:
        return BatchOrder(train, data.problems, config.optim.batch_size, config.seed)
    return replay_order(start, train, reader, config, config.replay)


def _identity(trunk: Path | None, start: Start | None, grown: Grown | None, train: LatentSet) -> str | None:
    """Hash of what a run starts from, None where it starts from nothing."""
    if grown is not None:
        return grown.sha256()
    if start is not None:
        identity = [start.sha256, start.is_new(train).nonzero()[0].tolist()]
        return sha256_json([*identity, dict(start.weights)] if start.weights else identity)
    return None if trunk is None else sha256_file(trunk / MODEL_FILE)


def _take_trunk(model: RJepa, trained: RJepa) -> None:
    try:
        model.take_trunk(trained)
    except RuntimeError as error:
        raise InvalidInputError(
            f"config {model.config.name!r} does not have the shape of its trunk {model.config.trunk!r}",
            cure="give both runs the same encoder, predictor and `use`, and train both on the same latents",
        ) from error


def _draw(run: _Run, update: int) -> tuple[Batch, Batch | None, torch.Tensor]:
    """Right chains, wrong ones, and the rows of the former that the first of the latter share their problems with."""
    config = run.model.config
    chains = run.order.chains(update)
    if not config.loss.uses_negatives:
        return run.data.gather(chains), None, torch.empty(0, dtype=torch.int64)
    amount = config.optim.negatives
    owners, wrong = run.order.negatives(chains, amount // 2 if run.sampled_chains else amount, run.generator)
    negatives = run.data.gather(wrong) if len(wrong) else None
    if run.sampled_chains is not None:
        own = run.sampled_chains.draw(amount - len(wrong), run.generator)
        negatives = own if negatives is None else negatives.joined(own)
    return run.data.gather(chains), negatives, torch.from_numpy(owners)


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


def _wrong_chains(config: JepaConfig, order: BatchOrder, sampled_chains: _Sampled | None) -> int:
    if not config.loss.uses_negatives:
        return 0
    return len(order.wrong) + (sampled_chains.wrong if sampled_chains else 0)


def _check_data(config: JepaConfig, order: BatchOrder, sampled_chains: _Sampled | None) -> None:
    if len(order.right) < 2:
        raise InvalidInputError(
            f"{len(order.right)} right chains with a step to train on, expected at least 2",
            cure="use a dataset whose train split has validated chains",
        )
    if config.loss.uses_negatives and order.paired == 0 and sampled_chains is None:
        raise InvalidInputError(
            f"config {config.name!r} uses wrong chains as negatives, and neither does a right chain have one of its "
            "problem, nor did the student write one",
            cure="use a dataset with wrong chains, or train configs/rjepa/demo.yaml",
        )
