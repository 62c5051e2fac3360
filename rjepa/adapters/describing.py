"""The words for a release whose R-JEPA comes from another student, wherever a release is shown. No model is loaded."""

from rjepa.adapters.adapter import AdapterFacts


def describe_carried(facts: AdapterFacts) -> str:
    """Where a carried R-JEPA comes from, in words, wherever its release is named."""
    return f"R-JEPA carried from {facts.source.llm_tag} (adapter, {100 * facts.share:.3g} % of latents)"


def describe_origin(carried: AdapterFacts | None) -> str:
    """Whose R-JEPA it is: the LLM's own, or where it was carried from."""
    return "its own" if carried is None else describe_carried(carried)


def summarise_carried(facts: AdapterFacts) -> dict[str, str | float]:
    """Where a carried R-JEPA comes from, as JSON values for who shows a release."""
    return {
        "source": facts.source.llm_tag,
        "dataset": facts.dataset,
        "model_sha256": facts.model_sha256,
        "method": facts.method,
        "share": facts.share,
        "r2": facts.r2,
        "coverage": facts.coverage,
        "text": describe_carried(facts),
    }
