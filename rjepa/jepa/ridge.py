"""Ridge regression in closed form: the trivial predictor that a world model must beat, and the classifier of probes."""

from typing import Final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

_RIDGE_STRENGTHS: Final = (1e-3, 1e-2, 1e-1, 1.0)


def ridge(
    features: Float[Tensor, "rows features"],
    truth: Float[Tensor, "rows outputs"],
    queries: Float[Tensor, "queries features"],
) -> Float[Tensor, "queries outputs"]:
    """Ridge regression of the truth on the features, applied to the queries.

    Its strength is chosen on the last fifth of the rows.
    """
    split = max(1, len(features) * 4 // 5)
    errors = []
    for strength in _RIDGE_STRENGTHS:
        guess = features[split:] @ _ridge_weights(features[:split], truth[:split], strength)
        errors.append(float((guess - truth[split:]).square().sum()))
    return queries @ _ridge_weights(features, truth, _RIDGE_STRENGTHS[int(np.argmin(errors))])


def _ridge_weights(
    features: Float[Tensor, "rows features"], truth: Float[Tensor, "rows outputs"], strength: float
) -> Float[Tensor, "features outputs"]:
    gram = (features.T @ features).double()
    gram.diagonal().add_(strength * gram.diagonal().mean())
    return torch.cholesky_solve((features.T @ truth).double(), torch.linalg.cholesky(gram)).float()
