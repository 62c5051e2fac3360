"""A student with a LoRA beside one that is loaded: the base's tensors are held once, whatever stands beside them.

Each has a tree of modules of its own, whose parameters and buffers are the very tensors of the base; peft puts its thin
matrices into that tree, and the base's stays as it is. So each is a `rjepa.students.loading.Student` like any other,
for sessions, readers and encoders alike, and no forward has to be told whose rows it feeds. Rows of several LoRAs are
fed pass by pass and never together: what that costs is measured in benchmarks/lora_serving.py. Which LoRAs are served
is `serving`'s business.
"""

import copy
import threading
from dataclasses import replace
from typing import Any, TypeVar

from torch import nn

from rjepa.errors import InvalidInputError
from rjepa.onednn import OneDnnLinear
from rjepa.students.catalog import StudentRecord
from rjepa.students.loading import Student
from rjepa.students.lora.files import Lora
from rjepa.students.lora.loading import attach_lora

Model = TypeVar("Model", bound=nn.Module)


def share_tensors(model: Model) -> Model:
    """Another tree of the same modules over the same parameters, buffers and packed weights.

    No pass of the model may run meanwhile: it has hooks then.
    """
    memo: dict[int, Any] = {id(one): one for one in (*model.parameters(), *model.buffers())}
    packed = [one.packed for one in model.modules() if isinstance(one, OneDnnLinear)]
    memo |= {id(one): one for one in packed if one is not None}
    return copy.deepcopy(model, memo)


def put_beside(base: Student, lora: Lora, record: StudentRecord, fingerprint: str, tree: Any = None) -> Student:
    """The student of `record`, which is `base` with a LoRA.

    Args:
        base: a student without a LoRA, loaded here.
        tree: what `share_tensors` gave of the base's model, where that was done at a moment of the caller's choice.

    Raises:
        InvalidInputError: the LoRA was made for other weights than the base has, or does not fit them.
    """
    if lora.manifest.base_fingerprint != base.fingerprint:
        raise InvalidInputError(
            f"the LoRA {lora.name} was made for student {lora.manifest.base_fingerprint[:12]}, "
            f"{base.record.llm_tag} is now {base.fingerprint[:12]}",
            cure="train it again on this student, or put back the weights and the record that it was made for",
        )
    model = share_tensors(base.model) if tree is None else tree
    attach_lora(model, lora)
    return replace(
        base,
        record=record,
        fingerprint=fingerprint,
        model=model.eval().requires_grad_(False),
        beside=base,
        _encoder=[],
        _decoders=[],
        _lock=threading.Lock(),
    )
