"""Load a resolved student: tokenizer, model, and what its configuration says of them.

Code inside a model folder is never run (`trust_remote_code` is always off) and weights are read from safetensors only;
GGUF is unpacked into them first (`unpacking`). Which files those are is settled in `rjepa.students.resolving`, what
quantised weights want in `quantisation`, where a student runs in `devices`, whether a checkpoint is whole in `whole`.
"""

import copy
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from rjepa.errors import InvalidInputError
from rjepa.files import read_json
from rjepa.onednn import use_onednn
from rjepa.progress import Progress, silent
from rjepa.students.catalog import StudentRecord
from rjepa.students.decoding import FAST_ATTENTION, Fused, can_share_prefix
from rjepa.students.devices import DeviceChoice, choose_device, present_devices
from rjepa.students.ends import end_ids
from rjepa.students.fused import Decoder, make_decoder
from rjepa.students.lora.loading import load_lora
from rjepa.students.memory import MemoryNeed, memory_need, shape_from_config, workload_of
from rjepa.students.quantisation import check_loadable, check_widths, loading_arguments
from rjepa.students.resolving import ResolvedStudent, resolve_student
from rjepa.students.segmentation import TokenPieces, token_pieces
from rjepa.students.templates import read_template
from rjepa.students.unpacking import unpack_gguf
from rjepa.students.weights import count_parameters, weight_files
from rjepa.students.whole import check_finite, check_whole, quiet_transformers

__all__ = ["ResolvedStudent", "Student", "load_student", "place_student", "read_config", "resolve_student"]

_LAYER_NAMES = ("layers", "h", "blocks")
_NORM_NAMES = ("norm", "final_layernorm", "ln_f", "final_layer_norm")
_COPIED_SHARE = 0.125
"""Of this machine's memory, that a second copy of bfloat16 weights may take: a 0.5 B model's where there are 8 GB. By
what the machine has and not by what is free, so that a student's products do not hang on what else runs."""
_OFFLINE: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


@dataclass(frozen=True)
class Student:
    """A loaded student. Safe to share between threads: nothing in it changes after loading. `unused_weights` names the
    tensors of its files that the model has no place for. `fuses`: whether single tokens take a fused step where the
    architecture is known (`rjepa.students.fused`), and not transformers' forward. `beside`: the student whose tensors
    this one shares (`rjepa.students.lora.beside`).
    """

    record: StudentRecord
    path: Path
    fingerprint: str
    tokenizer: PreTrainedTokenizerBase = field(repr=False)
    model: PreTrainedModel = field(repr=False)
    device: torch.device
    device_reason: str
    hidden_size: int
    num_layers: int
    context_length: int
    eos_ids: frozenset[int]
    pad_id: int
    pieces: TokenPieces = field(repr=False)
    shares_prefix: bool
    unused_weights: tuple[str, ...] = ()
    fuses: bool = True
    beside: "Student | None" = field(default=None, repr=False)
    _encoder: list[nn.Module] = field(default_factory=list, repr=False)
    _decoders: list[tuple[PreTrainedModel, Decoder | None]] = field(default_factory=list, repr=False)
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
        base = _decoder(self.model)
        if self.depth == self.num_layers:
            return cast(nn.Module, getattr(base, _attribute(base, _NORM_NAMES)))
        return cast(nn.Module, getattr(base, _attribute(base, _LAYER_NAMES))[self.depth - 1])

    @property
    def fused(self) -> Fused | None:
        """What takes the place of the model's forward for single tokens, if anything does. Shares weights."""
        if not (self.fuses and self.shares_prefix):
            return None
        with self._lock:
            if not self._decoders or self._decoders[0][0] is not self.model:
                shared = None if self.beside is None else self.beside.fused
                self._decoders[:] = [(self.model, make_decoder(self.model, None if shared is None else shared[0]))]
            decoder = self._decoders[0][1]
            return None if decoder is None else (decoder, self.depth)

    @property
    def encoder(self) -> nn.Module:
        """The model cut at `depth`, without head: its `last_hidden_state` is `hidden_states[depth]`. Shares weights."""
        with self._lock:
            if not self._encoder:
                self._encoder.append(_truncated(_decoder(self.model), self.depth, self.num_layers))
            return self._encoder[0]


def load_student(resolved: ResolvedStudent, device: str = "auto", progress: Progress = silent) -> Student:
    """Load tokenizer and model in the record's precision, ready to generate and to encode, on the record's device if no
    other is named. A GGUF file is unpacked first if that was not done yet.

    Raises:
        InvalidInputError: a quantisation this installation cannot load, a device that is not here, a layer the model
            does not have, a LoRA that does not fit it, an unknown architecture or kind of tokenizer, weights that are
            missing, no numbers, or of other shapes than the configuration says.
    """
    record = resolved.record
    folder = loadable_folder(resolved, progress)
    choice, need = place_student(resolved, device)
    check_loadable(record, choice.device)
    check_widths(record, choice.device, need.shape)
    problem = f"{folder} cannot be loaded as the student {record.llm_tag}"
    with quiet_transformers(problem):
        tokenizer = AutoTokenizer.from_pretrained(folder, **_OFFLINE)
        config = AutoConfig.from_pretrained(folder, **_OFFLINE)
    if not tokenizer.chat_template:
        tokenizer.chat_template = read_template(folder)
    text_config = config.get_text_config()
    num_layers = int(text_config.num_hidden_layers)
    _depth(record, num_layers)
    shares_prefix = can_share_prefix(text_config)
    arguments = loading_arguments(record, choice.device) | {"dtype": getattr(torch, record.dtype)}
    if shares_prefix:
        arguments["attn_implementation"] = FAST_ATTENTION
    with quiet_transformers(problem):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            **_OFFLINE,
            **arguments,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
        )
    model, info = loaded
    unused = check_whole(str(folder), info)
    check_finite(str(folder), model)
    if "device_map" not in arguments:
        model = model.to(choice.device)
    if resolved.lora is not None:
        # Merged, the student is a model like any other, with all that is fast. Quantised matrices take no sums: there
        # the LoRA stays beside them.
        model = load_lora(model, resolved.lora.folder, merge=record.quantisation in ("none", "gguf"))
    model = model.eval().requires_grad_(False)
    use_onednn(model, bf16_room=round(_COPIED_SHARE * present_devices()[-1].total))
    rows = model.get_output_embeddings().weight.shape[0]
    return Student(
        record=record,
        path=resolved.path,
        fingerprint=resolved.fingerprint,
        tokenizer=tokenizer,
        model=model,
        device=torch.device(choice.device),
        device_reason=choice.reason,
        hidden_size=int(text_config.hidden_size),
        num_layers=num_layers,
        context_length=int(getattr(text_config, "max_position_embeddings", None) or 1 << 30),
        eos_ids=end_ids(folder, tokenizer, chat=record.prompt.use_chat_template, rows=rows),
        pad_id=_pad_id(tokenizer),
        pieces=token_pieces(tokenizer, rows),
        shares_prefix=shares_prefix,
        unused_weights=unused,
    )


def loadable_folder(resolved: ResolvedStudent, progress: Progress = silent) -> Path:
    """The folder in Hugging Face layout that a student is loaded from. A GGUF file is unpacked into it the first time.

    Raises:
        InvalidInputError: the package gguf is missing, or the file cannot be unpacked.
    """
    if resolved.unpacked is None:
        return resolved.path
    if not resolved.unpacked.is_dir():
        check_loadable(resolved.record, "auto")
    return unpack_gguf(resolved.weights[0], resolved.unpacked, resolved.record.dtype, progress)


def place_student(resolved: ResolvedStudent, device: str = "auto") -> tuple[DeviceChoice, MemoryNeed]:
    """Where a student would run on this machine now, why, and what it needs there. Its files' headers are read.

    Raises:
        InvalidInputError: the device asked for is not here, or the configuration cannot be read.
    """
    record, config = resolved.record, read_config(resolved)
    shape = shape_from_config(config, count_parameters(weight_files(loadable_folder(resolved)), config))
    need = memory_need(shape, record.quantisation, record.dtype, workload_of(record.sampling))
    return choose_device(record.device if device == "auto" else device, need.total, present_devices()), need


def read_config(resolved: ResolvedStudent) -> dict[str, Any]:
    """A student's config.json.

    Raises:
        InvalidInputError: of a GGUF file that was not unpacked yet: as `loadable_folder`.
    """
    return dict(read_json(loadable_folder(resolved) / "config.json"))


def _depth(record: StudentRecord, num_layers: int) -> int:
    depth = record.layer_idx if record.layer_idx >= 0 else num_layers + 1 + record.layer_idx
    if not 1 <= depth <= num_layers:
        raise InvalidInputError(
            f"layer_idx {record.layer_idx} of {record.llm_tag} is outside the model's {num_layers} layers",
            cure=f"choose from -{num_layers} to -1 (or 1 to {num_layers})",
        )
    return depth


def _decoder(model: PreTrainedModel) -> nn.Module:
    """The stack of decoder layers: of a model that sees images too, its language part."""
    return getattr(model.base_model, "language_model", model.base_model)


def _attribute(base: nn.Module, names: tuple[str, ...]) -> str:
    for name in names:
        if hasattr(base, name):
            return name
    raise InvalidInputError(
        f"cannot find the decoder layers of {type(base).__name__}",
        cure="use an architecture laid out like Llama, Qwen, Mistral, Gemma, Phi, GPT-NeoX or GPT-2",
    )


def _truncated(base: nn.Module, depth: int, num_layers: int) -> nn.Module:
    """A shallow copy of the base model with its first `depth` layers; the final norm only where all are kept."""
    encoder: Any = copy.copy(base)
    encoder.__dict__["_modules"] = dict(base._modules)
    encoder.config = copy.copy(encoder.config)
    encoder.config.num_hidden_layers = depth
    name = _attribute(base, _LAYER_NAMES)
    setattr(encoder, name, nn.ModuleList(list(getattr(base, name))[:depth]))
    if depth < num_layers:
        setattr(encoder, _attribute(base, _NORM_NAMES), nn.Identity())
    return cast(nn.Module, encoder)


def _pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Padding is always masked, so that any id will do for a tokenizer without one."""
    for index in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if index is not None:
            return int(index)
    return 0
