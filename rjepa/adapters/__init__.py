"""Carry a trained R-JEPA of one student, the source, to another, the target: maps between their latents."""

from rjepa.adapters.adapter import Adapter, AdapterFacts, Side
from rjepa.adapters.maps import LatentMap, Residual

__all__ = ["Adapter", "AdapterFacts", "LatentMap", "Residual", "Side"]
