"""Latents and rollouts of a version without a student, for tests that look at what lies around them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rjepa.arrays import Float16, UInt8
from rjepa.home import Home
from rjepa.latents.rollouts import CandidateRow, KeptSample, rollout_version, sample_folder, sample_store
from rjepa.latents.shards import KeptChain, LatentRequest, LatentRow, latent_folder, latent_store, latent_version
from rjepa.latents.store import make_key
from rjepa.schemas import Candidate
from rjepa.tables import to_table

MADE_BY = "synthetic"
"""The fingerprint of the student that these latents and rollouts claim to be of."""


@dataclass(frozen=True)
class Prompted:
    """One chain to write: labels as in `LatentRow`; float16 [segments, width] and the sentences of its problem."""

    problem_id: str
    cot_id: str
    latents: Float16
    sentences: Float16
    types: UInt8 | None = None
    domain: str = "math"
    subdomain: str = ""
    split: str = "train"
    first_error_segment: int = -1


def write_latents(
    home: Home,
    llm_tag: str,
    dataset: str,
    chains: Sequence[Prompted],
    shard_size: int = 1000,
    fingerprint: str = MADE_BY,
    share: float = 1.0,
) -> None:
    """A version's latents as `open_latents` reads them. Chains of a problem come one after the other."""
    store = latent_store(home, llm_tag, latent_folder(fingerprint))
    width = chains[0].latents.shape[1] if chains else 4
    receipts, rows, prompt = [], [], -1
    extent = LatentRequest(dataset, share=share).extent
    with store.writing() as writer, latent_version(home, llm_tag, dataset, extent).writing() as table:
        for first in range(0, len(chains), shard_size):
            first_row = first_sentence = 0
            for place, chain in enumerate(chains[first : first + shard_size], start=first):
                prompt += place == 0 or chain.problem_id != chains[place - 1].problem_id
                where = {
                    "segments": len(chain.latents),
                    "first_row": first_row,
                    "first_sentence": first_sentence,
                    "sentences": len(chain.sentences),
                }
                boundaries = list(range(len(chain.latents) + 1))
                types = np.zeros(len(chain.latents), np.uint8) if chain.types is None else chain.types
                tokens = {"tokens": len(chain.latents), "step_boundaries": boundaries}
                kept = KeptChain(key=make_key(dataset, chain.cot_id), digest="", **tokens, **where)
                tensors = {"latents": chain.latents, "sentences": chain.sentences, "types": types}
                writer.append({name: np.ascontiguousarray(rows) for name, rows in tensors.items()}, [kept])
                labels = {
                    name: getattr(chain, name) for name in ("problem_id", "cot_id", "domain", "subdomain", "split")
                }
                rows.append(
                    LatentRow(
                        llm_tag=llm_tag,
                        layer_idx=-2,
                        hidden_size=width,
                        poolings=["mean"],
                        num_steps=len(chain.latents) - 1,
                        first_error_segment=chain.first_error_segment,
                        prompt=prompt,
                        shard=len(receipts),
                        **labels,
                        **tokens,
                        **where,
                    )
                )
                first_row, first_sentence = first_row + len(chain.latents), first_sentence + len(chain.sentences)
            receipts.append(writer.finish())
        table.append(to_table(LatentRow, rows), [[row.cot_id, row.split, row.first_error_segment] for row in rows])
        common = {"llm_tag": llm_tag, "dataset": dataset, "fingerprint": fingerprint, "width": width}
        common |= {"quantisation": "none", "layer_idx": -2, "poolings": ["mean"]}
        table.publish(
            common,
            {
                "inputs": "",
                "figures": {},
                "shards": receipts,
                "shard_folder": latent_folder(fingerprint),
                "share": share,
            },
        )


def write_rollouts(home: Home, llm_tag: str, dataset: str, candidates: Sequence[Candidate]) -> None:
    """A version's candidates, a greedy one and K a problem, with no latents, as `rjepa sql` reads them."""
    store = sample_store(home, llm_tag, sample_folder(MADE_BY))
    common: dict[str, Any] = {"llm_tag": llm_tag, "dataset": dataset, "fingerprint": MADE_BY, "width": 4}
    common |= {"splits": ["test"], "num_candidates": 1, "seed": 0, "temperature": 1.0, "max_new_tokens": 8}
    common |= {"served_model": None, "segmentation": "guided"}
    kept_names = set(KeptSample.model_fields) & set(Candidate.model_fields)
    row_names = set(CandidateRow.model_fields) & set(Candidate.model_fields)
    nowhere = {"segments": 0, "first_row": 0, "first_sentence": 0, "sentences": 0, "digest": ""}
    version = rollout_version(home, llm_tag, dataset, "rollouts")
    with store.writing() as writer, version.writing() as table:
        for place, candidate in enumerate(candidates):
            kept = candidate.model_dump(include=kept_names)
            writer.append({}, [KeptSample(key=make_key(place), **kept, **nowhere)])
            row = CandidateRow(**candidate.model_dump(include=row_names), shard=0, place=place)
            table.append(to_table(CandidateRow, [row]), [[candidate.text]])
        where = {"inputs": "", "figures": {}, "shards": [writer.finish()], "shard_folder": sample_folder(MADE_BY)}
        table.publish(common, {**where, "verdict_folder": "none", "verdict_shards": []})
