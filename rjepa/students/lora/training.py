"""Train one LoRA of one rank: the loop, its validation losses, its checkpoints. peft holds and writes the matrices.

Which chains are shown is `corpus`'s, which rank is kept `stage`'s. LoRA: Hu et al. 2021, arxiv.org/abs/2106.09685.
"""

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from rjepa.files import atomic_folder, read_json, write_json
from rjepa.precision import multiplies_bf16
from rjepa.progress import Progress, silent
from rjepa.schedules import warm_cosine
from rjepa.students.corpus import IGNORED
from rjepa.students.loading import Student
from rjepa.students.lora.corpus import Batch, LoraCorpus
from rjepa.students.lora.ewc import MatrixAnchor, anchor_matrices
from rjepa.students.lora.files import CONFIG, WEIGHTS
from rjepa.students.lora.recipe import LoraRecipe
from rjepa.students.whole import quiet_transformers

if TYPE_CHECKING:
    from peft import PeftModel

RESULT: Final = "lora"
_CHECKPOINT: Final = "checkpoint"
_STATE: Final = "state.safetensors"
_PROGRESS: Final = "progress.json"
_LARGEST_GRADIENT: Final = 1.0
"""Norm that gradients are cut to, as in the students' own training."""


@dataclass(frozen=True)
class Losses:
    """Nats a token of validation chains: of new ones, and of old ones (None where there are none)."""

    new: float
    old: float | None

    def weighted(self, share: float) -> float:
        """What a rank and a moment of the training are chosen by: old chains weigh what they weigh in a batch."""
        return self.new if self.old is None else (1 - share) * self.new + share * self.old


@dataclass(frozen=True)
class TrainedLora:
    """A trained LoRA in `folder` (peft's two files): the one with the lowest validation loss of all checkpoints."""

    folder: Path
    rank: int
    parameters: int
    before: Losses
    after: Losses
    best_update: int
    seconds: float


def train_lora(
    student: Student, corpus: LoraCorpus, recipe: LoraRecipe, rank: int, work: Path, progress: Progress = silent
) -> TrainedLora:
    """Train a LoRA of this rank on a student's matrices, into `work`. A run that was ended at any moment goes on where
    its last checkpoint was, and gives the same bytes on the CPU. The student's model is as before when this returns.

    Raises:
        InvalidInputError: no matrix of the model has one of the names in the recipe's targets.
    """
    if (work / RESULT).is_dir():
        return _read_result(work / RESULT)
    run = _Run(student, corpus, recipe, rank, work)
    try:
        return run.train(progress)
    finally:
        run.close()


class _Run:
    """One training while it lasts: model with LoRA, optimiser, and what has been best so far."""

    def __init__(self, student: Student, corpus: LoraCorpus, recipe: LoraRecipe, rank: int, work: Path) -> None:
        self.corpus, self.recipe, self.rank, self.work = corpus, recipe, rank, work
        self.model, self.device, self.base_model = student.model, student.device, student.record.model
        torch.manual_seed(recipe.seed)
        self.wrapped = _wrap(student, recipe, rank)
        self.parameters = [one for one in self.wrapped.parameters() if one.requires_grad]
        optim = recipe.optim
        self.optimizer = torch.optim.AdamW(self.parameters, lr=optim.learning_rate, weight_decay=optim.weight_decay)
        self.anchor = self._anchor()
        self.done, self.seconds = 0, 0.0
        self.before: Losses | None = None
        self.best: Losses | None = None
        self.best_update = 0

    def train(self, progress: Progress) -> TrainedLora:
        self._restore()
        if self.before is None:
            self.before = self._measure()
        started, optim = time.monotonic(), self.recipe.optim
        while self.done < optim.updates:
            # The draws of dropout follow from the update alone, so that a resumed run makes the same.
            torch.manual_seed((self.recipe.seed << 32) + self.done)
            loss = self._update()
            self.done += 1
            note = f"rank {self.rank}, loss {loss:.3f}" + (f", best {self.best.new:.3f}" if self.best else "")
            progress(self.done, optim.updates, note)
            if self.done % optim.checkpoint_every == 0 or self.done == optim.updates:
                self._look()
                self.seconds += time.monotonic() - started
                started = time.monotonic()
                self._checkpoint()
        return self._finish()

    def close(self) -> None:
        """Give the student its own layers back."""
        self.wrapped.unload()
        cast(Any, self.model).eval().requires_grad_(False)

    def _anchor(self) -> MatrixAnchor | None:
        if not self.recipe.ewc.weight:
            return None
        batches = self.corpus.fisher_batches(self.recipe)
        cast(Any, self.model).eval()
        return anchor_matrices(self.model, (_loss(self.model, self._here(batch)) for batch in batches))

    def _update(self) -> float:
        cast(Any, self.model).train()
        batches = self.corpus.batches(self.recipe, self.done)
        counts = [_count(batch) for batch in batches]
        total = 0.0
        for batch, count in zip(batches, counts, strict=True):
            loss = count / sum(counts) * _loss(self.model, self._here(batch))
            cast(Any, loss).backward()
            total += loss.item()
        if self.anchor is not None:
            cast(Any, self.recipe.ewc.weight * self.anchor.penalty(self.model)).backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, _LARGEST_GRADIENT)
        optim = self.recipe.optim
        rising = round(optim.warmup * optim.updates)
        rate = optim.learning_rate * warm_cosine(self.done, optim.updates, rising, 0.0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return total

    def _measure(self) -> Losses:
        new = self._mean_loss(self.corpus.validation_batches(self.recipe, old=False))
        old = self._mean_loss(self.corpus.validation_batches(self.recipe, old=True))
        assert new is not None  # read_corpus refuses a version without
        return Losses(new, old)

    def _mean_loss(self, batches: Iterable[Batch]) -> float | None:
        cast(Any, self.model).eval()
        total, tokens = 0.0, 0
        with torch.inference_mode():
            for batch in batches:
                count = _count(batch)
                total += count * _loss(self.model, self._here(batch)).item()
                tokens += count
        return total / tokens if tokens else None

    def _look(self) -> None:
        """Keep the LoRA of this moment, scaled, if it is the best so far."""
        from peft.helpers import rescale_adapter_scale

        with rescale_adapter_scale(self.wrapped, self.recipe.scale):
            found = self._measure()
        share = self.recipe.replay.share
        if self.best is None or found.weighted(share) < self.best.weighted(share):
            self.best, self.best_update = found, self.done
            with atomic_folder(self.work / "best") as folder:
                _save(self.wrapped, self.base_model, self.recipe.scale, folder)
                write_json(folder / _PROGRESS, {"update": self.done, "losses": vars(found)})

    def _checkpoint(self) -> None:
        tensors = {f"lora.{name}": tensor.detach().contiguous() for name, tensor in self._named()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adamw.{index}.{key}": torch.as_tensor(value).contiguous() for key, value in state.items()}
        with atomic_folder(self.work / _CHECKPOINT) as folder:
            save_file(tensors, folder / _STATE)
            assert self.before is not None
            write_json(folder / _PROGRESS, {"updates": self.done, "seconds": self.seconds, "before": vars(self.before)})

    def _restore(self) -> None:
        folder = self.work / _CHECKPOINT
        if not (folder / _PROGRESS).is_file():
            return
        tensors = load_file(folder / _STATE)
        state: dict[int, dict[str, Tensor]] = {}
        with torch.no_grad():
            for name, parameter in self._named():
                parameter.copy_(tensors[f"lora.{name}"])
        for name, tensor in tensors.items():
            if name.startswith("adamw."):
                _, index, key = name.split(".", 2)
                state.setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})
        kept = read_json(folder / _PROGRESS)
        self.done, self.seconds, self.before = int(kept["updates"]), float(kept["seconds"]), Losses(**kept["before"])
        # The best one is written before the checkpoint: one that is ahead of it is measured again, and found equal.
        best = read_json(self.work / "best" / _PROGRESS)
        self.best, self.best_update = Losses(**best["losses"]), int(best["update"])

    def _named(self) -> list[tuple[str, Tensor]]:
        return [(name, one) for name, one in self.wrapped.named_parameters() if one.requires_grad]

    def _finish(self) -> TrainedLora:
        assert self.before is not None
        assert self.best is not None
        figures = {
            "rank": self.rank,
            "parameters": sum(one.numel() for one in self.parameters),
            "before": vars(self.before),
            "after": vars(self.best),
            "best_update": self.best_update,
            "seconds": self.seconds,
        }
        with atomic_folder(self.work / RESULT) as folder:
            for name in (CONFIG, WEIGHTS):
                shutil.copyfile(self.work / "best" / name, folder / name)
            write_json(folder / _PROGRESS, figures)
        return _read_result(self.work / RESULT)

    def _here(self, batch: Batch) -> Batch:
        return {name: part.to(self.device) for name, part in batch.items()}


def _loss(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Mean nats a token of the chains."""
    kind = batch["input_ids"].device.type
    with torch.autocast(kind, torch.bfloat16, enabled=multiplies_bf16(kind)):
        logits = cast(Any, model)(input_ids=batch["input_ids"], use_cache=False).logits[:, :-1]
    labels = batch["labels"][:, 1:]
    chosen = labels != IGNORED
    return torch.nn.functional.cross_entropy(logits[chosen].float(), labels[chosen])


def _count(batch: Batch) -> int:
    """Tokens that are predicted."""
    return int((batch["labels"][:, 1:] != IGNORED).sum())


def _wrap(student: Student, recipe: LoraRecipe, rank: int) -> "PeftModel":
    from peft import LoraConfig, get_peft_model

    targets = recipe.targets if isinstance(recipe.targets, str) else list(recipe.targets)
    config = LoraConfig(
        r=rank,
        lora_alpha=recipe.alpha * rank,  # type: ignore[arg-type]
        lora_dropout=recipe.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    with quiet_transformers(f"no LoRA fits {student.record.llm_tag}"):
        wrapped = get_peft_model(student.model, config)
    return cast("PeftModel", wrapped)


def _save(wrapped: "PeftModel", model: str, scale: float, folder: Path) -> None:
    """Peft's two files, with the same bytes for the same LoRA on any machine: a set of names has no order of its own,
    and the base is called what its record calls it, not where it lies. `scale` goes into peft's alpha, which whoever
    reads a LoRA multiplies by.
    """
    with quiet_transformers("the LoRA cannot be written"):
        wrapped.save_pretrained(str(folder), save_embedding_layers=False)
    config = read_json(folder / CONFIG) | {"base_model_name_or_path": model}
    config["lora_alpha"] *= scale
    if isinstance(config["target_modules"], list):
        config["target_modules"] = sorted(config["target_modules"])
    write_json(folder / CONFIG, config)
    for path in folder.iterdir():
        if path.name not in (CONFIG, WEIGHTS):
            path.unlink()


def _read_result(folder: Path) -> TrainedLora:
    kept = dict(read_json(folder / _PROGRESS))
    before, after = Losses(**kept.pop("before")), Losses(**kept.pop("after"))
    return TrainedLora(folder=folder, before=before, after=after, **kept)
