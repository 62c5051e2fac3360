"""The tiny release once more, but its R-JEPA is another student's, of another width: an adapter stands before it."""

import numpy as np

from rjepa.adapters.adapter import Adapter, AdapterFacts, Side
from rjepa.adapters.maps import LatentMap
from rjepa.latents.normalizer import Normalizer, fit_normalizer
from rjepa.latents.sets import LatentSet
from tests.tiny_release import TAG

SOURCE_WIDTH = 36
"""Of a student with two poolings of 18 columns: none of the tiny student's own figures."""


def adapt(latents: LatentSet) -> Adapter:
    """Random directions into the other student's space, and the way back by their pseudo-inverse."""
    inputs = fit_normalizer(latents)
    random = np.random.default_rng(5)
    weight = (random.normal(size=(inputs.width, SOURCE_WIDTH)) / np.sqrt(inputs.width)).astype(np.float32)
    outputs = Normalizer(
        random.normal(size=SOURCE_WIDTH).astype(np.float32),
        random.uniform(0.5, 2.0, size=SOURCE_WIDTH).astype(np.float32),
    )
    back = np.linalg.pinv(weight).astype(np.float32)
    facts = AdapterFacts(
        source=Side(llm_tag="elsewhere", fingerprint="e" * 64, width=SOURCE_WIDTH, poolings=("mean", "last")),
        target=Side(llm_tag=TAG, fingerprint="0" * 64, width=inputs.width, poolings=("mean", "last", "end")),
        dataset="v1.0.0",
        model_sha256="0" * 64,
        normalizer_sha256="0" * 64,
        method="ridge",
        share=0.05,
        problems=24,
        pairs=len(latents.latents),
        r2=0.5,
        r2_back=0.4,
        agreement=0.6,
        coverage=0.9,
        seconds=0.1,
    )
    return Adapter(
        facts,
        LatentMap(inputs, outputs, weight, np.zeros(SOURCE_WIDTH, np.float32)),
        LatentMap(outputs, inputs, back, np.zeros(inputs.width, np.float32)),
    )
