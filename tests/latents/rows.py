"""A row of latents for tests that look at what lies around it."""

from typing import Any

from rjepa.latents.shards import LatentRow


def latent_row(problem_id: str, cot_id: str, llm_tag: str, **values: Any) -> LatentRow:
    """A right chain of the train split with two steps and four columns, but for `values`."""
    plain = {
        "layer_idx": -2,
        "hidden_size": 4,
        "poolings": ["mean"],
        "num_steps": 2,
        "step_boundaries": [0, 1, 2, 3],
        "tokens": 3,
        "domain": "math",
        "split": "train",
        "segments": 3,
        "first_error_segment": -1,
    }
    return LatentRow.model_validate({"problem_id": problem_id, "cot_id": cot_id, "llm_tag": llm_tag, **plain, **values})
