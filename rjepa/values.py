"""The base of this project's plain values. Which values there are is each room's own business."""

from pydantic import BaseModel, ConfigDict


class FrozenValue(BaseModel):
    """An immutable value without unknown fields, and without NaN or infinity, which JSON cannot hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
