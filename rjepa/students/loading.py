"""Load a resolved student: tokenizer, model, and what its configuration says of them.

Code inside a model folder is never run (`trust_remote_code` is always off) and weights are read from safetensors only.
Which files those are is settled in `rjepa.students.resolving`.
"""

import copy
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from rjepa.errors import InvalidInputError
from rjepa.students.catalog import StudentRecord
from rjepa.students.decoding import FAST_ATTENTION, can_share_prefix
from rjepa.students.resolving import ResolvedStudent, resolve_student
from rjepa.students.segmentation import TokenPieces, token_pieces

__all__ = ["ResolvedStudent", "Student", "load_student", "resolve_student"]

_LAYER_NAMES = ("layers", "h", "blocks")
_NORM_NAMES = ("norm", "final_layernorm", "ln_f", "final_layer_norm")
_OFFLINE: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


@dataclass(frozen=True)
class Student:
    """A loaded student. Safe to share between threads: nothing in it changes after loading."""

    record: StudentRecord
    path: Path
    fingerprint: str
    tokenizer: PreTrainedTokenizerBase = field(repr=False)
    model: PreTrainedModel = field(repr=False)
    device: torch.device
    hidden_size: int
    num_layers: int
    context_length: int
    eos_ids: frozenset[int]
    pad_id: int
    pieces: TokenPieces = field(repr=False)
    shares_prefix: bool
    _encoder: list[nn.Module] = field(default_factory=list, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def width(self) -> int:
        """Columns of a latent."""
        return len(self.record.poolings) * self.hidden_size

    @property
    def depth(self) -> int:
        """Decoder layers below the hidden state that is read: `hidden_states[depth]` counts the embeddings as 0."""
        return _depth(self.record, self.num_layers)

    @property
    def captured(self) -> nn.Module:
        """The module whose output is the hidden state that is read."""
        base = self.model.base_model
        if self.depth == self.num_layers:
            return getattr(base, _attribute(base, _NORM_NAMES))
        return getattr(base, _attribute(base, _LAYER_NAMES))[self.depth - 1]

    @property
    def encoder(self) -> nn.Module:
        """The model cut at `depth`, without head: its `last_hidden_state` is `hidden_states[depth]`. Shares weights."""
        with self._lock:
            if not self._encoder:
                self._encoder.append(_truncated(self.model.base_model, self.depth, self.num_layers))
            return self._encoder[0]


def load_student(resolved: ResolvedStudent, device: str = "auto") -> Student:
    """Load tokenizer and model in the record's precision, ready to generate and to encode.

    Raises:
        InvalidInputError: a quantisation this build cannot load, a layer the model does not have, an unknown
            architecture or kind of tokenizer.
    """
    record = resolved.record
    if record.quantisation != "none":
        raise InvalidInputError(
            f"{record.llm_tag} is quantised as {record.quantisation}, which this installation cannot load",
            cure="register the unquantised model under another tag (quantisation: none, dtype: bfloat16 halves it)",
        )
    tokenizer = _load(lambda: AutoTokenizer.from_pretrained(resolved.path, **_OFFLINE), resolved)
    config = _load(lambda: AutoConfig.from_pretrained(resolved.path, **_OFFLINE), resolved)
    text_config = config.get_text_config()
    num_layers = int(text_config.num_hidden_layers)
    _depth(record, num_layers)
    shares_prefix = can_share_prefix(text_config)
    attention = {"attn_implementation": FAST_ATTENTION} if shares_prefix else {}
    model = _load(
        lambda: AutoModelForCausalLM.from_pretrained(
            resolved.path, dtype=getattr(torch, record.dtype), use_safetensors=True, **attention, **_OFFLINE
        ),
        resolved,
    )
    chosen = _choose_device(device)
    model = model.to(chosen).eval().requires_grad_(False)
    return Student(
        record=record,
        path=resolved.path,
        fingerprint=resolved.fingerprint,
        tokenizer=tokenizer,
        model=model,
        device=chosen,
        hidden_size=int(text_config.hidden_size),
        num_layers=num_layers,
        context_length=int(getattr(text_config, "max_position_embeddings", None) or 1 << 30),
        eos_ids=_eos_ids(tokenizer, model),
        pad_id=_pad_id(tokenizer),
        pieces=token_pieces(tokenizer, model.get_output_embeddings().weight.shape[0]),
        shares_prefix=shares_prefix,
    )


def _load(read: Callable[[], Any], resolved: ResolvedStudent) -> Any:
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # the library draws none
    try:
        return read()
    except (ValueError, KeyError, OSError, RuntimeError, SafetensorError) as error:
        raise InvalidInputError(
            f"{resolved.path} cannot be loaded as the student {resolved.record.llm_tag}: {error}",
            cure="check that the folder holds a whole causal language model that this transformers knows",
        ) from error
    finally:
        if bars:
            logging.enable_progress_bar()


def _depth(record: StudentRecord, num_layers: int) -> int:
    depth = record.layer_idx if record.layer_idx >= 0 else num_layers + 1 + record.layer_idx
    if not 1 <= depth <= num_layers:
        raise InvalidInputError(
            f"layer_idx {record.layer_idx} of {record.llm_tag} is outside the model's {num_layers} layers",
            cure=f"choose from -{num_layers} to -1 (or 1 to {num_layers})",
        )
    return depth


def _attribute(base: nn.Module, names: tuple[str, ...]) -> str:
    for name in names:
        if hasattr(base, name):
            return name
    raise InvalidInputError(
        f"cannot find the decoder layers of {type(base).__name__}",
        cure="use an architecture laid out like Llama, Qwen, Mistral, Gemma, Phi, GPT-NeoX or GPT-2",
    )


def _truncated(base: PreTrainedModel, depth: int, num_layers: int) -> nn.Module:
    """A shallow copy of the base model with its first `depth` layers; the final norm only where all are kept."""
    encoder = copy.copy(base)
    encoder.__dict__["_modules"] = dict(base._modules)
    encoder.config = copy.copy(base.config)
    encoder.config.num_hidden_layers = depth
    name = _attribute(base, _LAYER_NAMES)
    setattr(encoder, name, nn.ModuleList(list(getattr(base, name))[:depth]))
    if depth < num_layers:
        setattr(encoder, _attribute(base, _NORM_NAMES), nn.Identity())
    return encoder


def _choose_device(device: str) -> torch.device:
    if device != "auto":
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _eos_ids(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> frozenset[int]:
    configured = model.generation_config.eos_token_id if model.generation_config is not None else None
    ids = configured if isinstance(configured, list) else [configured]
    return frozenset(int(index) for index in [*ids, tokenizer.eos_token_id] if index is not None)


def _pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Padding is always masked, so that any id will do for a tokenizer without one."""
    for index in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if index is not None:
            return int(index)
    return 0
