"""Keys and values of one layer: of prompts, once, and of what rows wrote themselves.

Which rows there are, and which of the slots are theirs, is `rjepa.students.decoding`.

Legend: prompts P, rows R, key heads M, prompt tokens T, head size D.
"""

from collections.abc import Sequence
from typing import Any, Final

from jaxtyping import Float, Int
from torch import Tensor
from transformers.cache_utils import CacheLayerMixin

from rjepa.arrays import Float32

_GROWTH: Final = 64
"""Token slots are held in multiples of this: few copies, little held that is not used."""


class SharedPrefixLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """One layer's keys [P, M, D, T] and values [P, M, T, D] of the prompts, once, and [R, M, D, slots] and
    [R, M, slots, D] of the rows' own tokens, of which `used` are: a product of few rows reads keys faster the way they
    lie here.
    """

    def __init__(
        self, prefix_keys: Tensor, prefix_values: Tensor, own_keys: Tensor, own_values: Tensor, used: int
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.prefix_keys, self.prefix_values = prefix_keys, prefix_values
        self.own_keys, self.own_values, self.used = own_keys, own_values, used
        self._arrays: tuple[Float32, Float32, Float32, Float32] | None = None

    @classmethod
    def after(
        cls,
        keys: Float[Tensor, "prompts heads size tokens"],
        values: Float[Tensor, "prompts heads tokens size"],
        rows: int,
    ) -> "SharedPrefixLayer":
        """The layer of `rows` rows that have written nothing, over these keys and values of their prompts."""
        _, heads, size, _ = keys.shape
        return cls(keys, values, keys.new_empty(rows, heads, size, 0), keys.new_empty(rows, heads, 0, size), 0)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        pass

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        return self.extend(key_states[:, :, 0], value_states[:, :, 0])

    @property
    def slots(self) -> int:
        """How many tokens of a row there is room for."""
        return int(self.own_keys.shape[3])

    def make_room(self, tokens: int, unused: int) -> None:
        """Have room for so many more tokens. The first `unused` slots, which hold nothing of any row, go."""
        own_keys, own_values, used = self.own_keys, self.own_values, self.used
        left = used - unused
        rows, heads, size, _ = own_keys.shape
        room = _room(left + tokens)
        self.own_keys = own_keys.new_empty(rows, heads, size, room)
        self.own_values = own_values.new_empty(rows, heads, room, size)
        self.own_keys[..., :left] = own_keys[..., unused:used]
        self.own_values[:, :, :left] = own_values[:, :, unused:used]
        self.used, self._arrays = left, None

    def arrays(self) -> tuple[Float32, Float32, Float32, Float32]:
        """As `rjepa.students.fused.LayerCache.arrays`."""
        if self._arrays is None:
            prefix = self.prefix_keys.numpy(), self.prefix_values.numpy()
            self._arrays = *prefix, self.own_keys.numpy(), self.own_values.numpy()
        return self._arrays

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """The rows' own keys and values with those of one more token, each [R, M, D]."""
        used = self.used
        self.own_keys[..., used] = keys
        self.own_values[:, :, used] = values
        self.used = used = used + 1
        return self.own_keys[..., :used], self.own_values[:, :, :used]

    def keep(self, prompts: Tensor, rows: Tensor) -> None:
        """Go on with these prompts and rows only."""
        self._arrays = None
        self.prefix_keys = self.prefix_keys[prompts]
        self.prefix_values = self.prefix_values[prompts]
        self.own_keys = self.own_keys[rows]
        self.own_values = self.own_values[rows]

    def seat(self, other: "SharedPrefixLayer", prompts: Tensor, rows: Tensor) -> None:
        """Put the prompts and rows of another layer, which holds no more tokens of either, in the place of these."""
        tokens, width, used = other.prefix_keys.shape[3], self.prefix_keys.shape[3], other.used
        self.prefix_keys[prompts, ..., width - tokens :] = other.prefix_keys
        self.prefix_values[prompts, :, width - tokens :] = other.prefix_values
        if used:
            self.own_keys[rows, ..., self.used - used : self.used] = other.own_keys[..., :used]
            self.own_values[rows, :, self.used - used : self.used] = other.own_values[:, :, :used]

    def moved(self, prompts: Tensor, rows: Tensor, slots: Int[Tensor, "rows used"]) -> "SharedPrefixLayer":
        """These rows over these prompts; slot j of a row's own tokens is what lay in `slots[row, j]`."""
        used = slots.shape[1]
        heads, size = self.own_keys.shape[1:3]
        own_keys = self.own_keys.new_empty(len(rows), heads, size, _room(used))
        own_values = self.own_values.new_empty(len(rows), heads, _room(used), size)
        if used:
            own_keys[..., :used] = self.own_keys[rows].gather(3, slots[:, None, None].expand(-1, heads, size, -1))
            wanted = slots[:, None, :, None].expand(-1, heads, -1, size)
            own_values[:, :, :used] = self.own_values[rows].gather(2, wanted)
        return SharedPrefixLayer(self.prefix_keys[prompts], self.prefix_values[prompts], own_keys, own_values, used)

    @classmethod
    def joined(cls, parts: "Sequence[SharedPrefixLayer]") -> "SharedPrefixLayer":
        """All prompts and rows of these layers, each at the right of its places."""
        used = max(part.used for part in parts)
        return cls(
            _beside([part.prefix_keys for part in parts], 3),
            _beside([part.prefix_values for part in parts], 2),
            _beside([part.own_keys[..., : part.used] for part in parts], 3, _room(used)),
            _beside([part.own_values[:, :, : part.used] for part in parts], 2, _room(used)),
            used,
        )

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        return int(self.prefix_keys.shape[3]) + self.used

    def get_max_length(self) -> int:
        return -1


def _room(tokens: int) -> int:
    return -(-max(tokens, 1) // _GROWTH) * _GROWTH


def _beside(parts: Sequence[Tensor], dim: int, room: int = 0) -> Tensor:
    """Parts one after another, each at the right of the longest's places along `dim`, of which there are `room` at
    least; zeros at the left of the shorter ones.
    """
    longest = max(part.shape[dim] for part in parts)
    shape = [sum(map(len, parts)), *parts[0].shape[1:]]
    shape[dim] = max(longest, room)
    found, first = parts[0].new_empty(shape), 0
    for part in parts:
        rows, missing = found[first : first + len(part)], longest - part.shape[dim]
        rows.narrow(dim, 0, missing).zero_()
        rows.narrow(dim, missing, part.shape[dim]).copy_(part)
        first += len(part)
    return found
