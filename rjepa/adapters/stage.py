"""Fit an adapter for a target student from what lies in the home: latents of both students, the source's R-JEPA.

What is made of it on disk is `rjepa.adapters.carrying`; which fit wins is decided in `rjepa.adapters.choosing`.
"""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from rjepa.adapters.adapter import Adapter, AdapterFacts, Side
from rjepa.adapters.choosing import METHODS, Choice, Fitter, Method, choose_maps
from rjepa.adapters.pairs import match_chains, pairs_of
from rjepa.adapters.plots import draw_fits
from rjepa.errors import InvalidInputError
from rjepa.files import sha256_file
from rjepa.home import Home
from rjepa.jepa.checkpoint import MODEL_FILE, load_model
from rjepa.jepa.stage import model_folder, normalizer_file
from rjepa.latents.normalizer import load_normalizer
from rjepa.latents.shards import Extent, extent_made, latent_version, latents_share, open_latents
from rjepa.latents.shares import draw_problems
from rjepa.progress import Progress, silent


@dataclass(frozen=True)
class Fitted:
    """An adapter, with what is worth showing of how it was chosen."""

    adapter: Adapter
    texts: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, bytes] = field(default_factory=dict)


def fit_adapter(
    home: Home,
    llm_tag: str,
    dataset: str,
    source: str,
    share: float,
    progress: Progress = silent,
    *,
    methods: Collection[Method] = METHODS,
    seed: int = 0,
) -> Fitted:
    """Fit every map that can be made from `source` to the student, and make an adapter of the best.

    Args:
        share: part of the training problems whose chains' latents are looked at, of both students. The target may have
            read no more than these.
        methods: fits that are tried.
        seed: of all that is drawn; equal ones give equal adapters on one machine.

    Raises:
        NotFoundError: latents of one of the two, or the source's R-JEPA, are not made yet.
        InvalidInputError: source and target are one; the target has read a smaller share; the two read no chain in
            common, or those of too few problems; or no method can be used.
        ValueError: the share is not above 0 and at most 1.
    """
    if source == llm_tag:
        raise InvalidInputError(
            f"an adapter leads from one student to another, and {source} is both", cure="choose another source"
        )
    started = time.process_time()
    extent = extent_made(home, llm_tag, dataset)
    sides = {"source": _side(home, source, dataset, "whole"), "target": _side(home, llm_tag, dataset, extent)}
    read = latents_share(home, llm_tag, dataset)
    if not 0 < share <= 1:
        raise ValueError(f"a share is above 0 and at most 1, got {share}")
    if share > read:
        raise InvalidInputError(
            f"{llm_tag} has read a share of {read:g} of the training problems of {dataset}, and an adapter is to be "
            f"fitted on {share:g}",
            cure=f"materialise adapter with this share, or the latents of {dataset}|{llm_tag}",
        )
    model, normalizer = model_folder(home, source, dataset), normalizer_file(home, source, dataset)
    fitter = Fitter(load_model(model, "cpu"), load_normalizer(normalizer), seed=seed)
    matched = match_chains(
        open_latents(home, llm_tag, dataset, extent=extent).split("train"),
        open_latents(home, source, dataset).split("train"),
    )
    problems = draw_problems(matched.problems, share / read)
    drawn = matched.of_problems(problems)
    choice = choose_maps(drawn, fitter, methods, progress)
    facts = AdapterFacts(
        **sides,
        dataset=dataset,
        model_sha256=sha256_file(model / MODEL_FILE),
        normalizer_sha256=sha256_file(normalizer),
        method=choice.best.recipe.method,
        share=share,
        problems=len(problems),
        pairs=len(pairs_of(drawn)),
        r2=choice.best.r2,
        r2_back=choice.r2_back,
        coverage=choice.reached,
        agreement=choice.best.agreement,
        seconds=time.process_time() - started,
    )
    images = {"plot_fits": draw_fits(choice.tried, choice.best)}
    return Fitted(Adapter(facts, choice.into, choice.back), {"fits": fits_markdown(choice)}, images)


def fits_markdown(choice: Choice) -> str:
    """A table of every fit that was tried, the best one bold."""
    lines = ["| fit | R2 | agreement of energies | seconds |", "|---|---|---|---|"]
    for each in choice.tried:
        name = f"{each.recipe.method} {each.recipe.detail}".strip()
        name = f"**{name}**" if each is choice.best else name
        lines.append(f"| {name} | {each.r2:.3f} | {each.agreement:.3f} | {each.seconds:.1f} |")
    return "\n".join(lines) + "\n"


def _side(home: Home, llm_tag: str, dataset: str, extent: Extent) -> Side:
    manifest = latent_version(home, llm_tag, dataset, extent).manifest()
    return Side(llm_tag=llm_tag, fingerprint=manifest.fingerprint, width=manifest.width, poolings=manifest.poolings)
