"""A hook on the layer that is read: it keeps the states that come out, and may change them on their way up.

How states become latents is `rjepa.students.pooling`; which layer it is, `rjepa.students.loading`.
"""

import threading
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from rjepa.students.sampled import Edit


class LayerTap:
    """Keeps a module's newest output while it is entered: `state` is [rows, tokens, hidden]. `edits` maps rows of the
    batch to what becomes of their last token's state.

    Only forwards of the thread that entered it count, so that a student may be used by several threads.
    """

    def __init__(self, module: nn.Module, keep: bool) -> None:
        self._module = module
        self._keep = keep
        self.edits: Mapping[int, Edit] = {}
        self.state: Tensor | None = None

    def __enter__(self) -> "LayerTap":
        self._thread = threading.get_ident()
        self._handle = self._module.register_forward_hook(self._take) if self._keep or self.edits else None
        return self

    def __exit__(self, *exception: object) -> None:
        if self._handle is not None:
            self._handle.remove()

    def see(self, states: Tensor) -> Tensor:
        """Take the states [rows, hidden] of one token a row from a forward that does not call the module; the states
        that the layers above go on from, edited where a row has an edit.
        """
        if not self._keep and not self.edits:
            return states
        shown = states[:, None]
        edited = _edited(shown, self.edits) if self.edits else shown
        self.state = edited if self._keep else None
        return edited[:, 0] if self.edits else states

    def see_prompts(self, states: Tensor) -> None:
        """Take the states [rows, tokens, hidden] of prompts from a forward that does not call the module."""
        self.state = states if self._keep else None

    def _take(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        if threading.get_ident() != self._thread:
            return None
        state: Tensor = output[0] if isinstance(output, tuple) else output
        edited = _edited(state, self.edits) if self.edits else state
        self.state = edited if self._keep else None
        if edited is state:
            return None
        return (edited, *output[1:]) if isinstance(output, tuple) else edited


def _edited(states: Tensor, edits: Mapping[int, Edit]) -> Tensor:
    states = states.clone()
    for row, edit in edits.items():
        before = states[row, -1]
        after = before + edit.to(before) if isinstance(edit, Tensor) else edit(before.clone())
        if not isinstance(after, Tensor) or after.shape != before.shape:
            found = tuple(after.shape) if isinstance(after, Tensor) else type(after).__name__
            raise ValueError(f"expected an edit to give a state of shape {tuple(before.shape)}, got {found}")
        states[row, -1] = after
    return states
