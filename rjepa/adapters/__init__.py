"""Carry a trained R-JEPA of one student, the source, to another, the target: maps between their latents."""
