"""A session that computes guides by itself, for many rows at once, bends each as one that asks it token by token."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from rjepa.students.guides import GuideTables
from rjepa.students.sampled import GREEDY, PLAIN, Bias, RowRequest, SampledChain, StepEnd, TokenRules, Until
from rjepa.students.session import Session
from rjepa.verbalizer.checkpoint import load_decoder
from rjepa.verbalizer.guiding import Guidance, GuidanceSettings, Guide
from tests.verbalizer.small import Small, config


class Silent(Guide):
    """A guide that nobody may ask."""

    def __call__(self, tokens: Sequence[int]) -> torch.Tensor | None:
        raise AssertionError("it was asked token by token")


def asked(guide: Guide) -> Bias:
    """The same guide as a function of which nothing else is known."""
    return lambda tokens: guide(tokens)


def guided(
    material: Small,
    guidances: Sequence[Guidance],
    guide_of: type[Guide] = Guide,
    bias_of: Callable[[Guide], Bias] = lambda guide: guide,
    rules: TokenRules = PLAIN,
) -> list[SampledChain]:
    """Chains of rows that are guided, each step by another latent, and of one that is not."""
    width = material.world_model[1].columns_read
    with Session(material.student) as session:
        requests = [
            RowRequest(one.statement, 5, sample, 1.1, 70, rules=rules)
            for one in material.problems[:3]
            for sample in (GREEDY, 0, 1)
        ]
        rows = session.add(requests)
        guides = {
            row: guide_of(guidances[row % len(guidances)], requests[row].statement, (), labelled=row != 4)
            for row in rows[:-1]
        }

        def expect(row: int, steps: int, written: int) -> None:
            latent = torch.randn(width, generator=torch.Generator().manual_seed(100 * row + steps))
            guides[row].expect(latent, steps + 1, written, 0.5 + 0.1 * row)
            session.set_bias(row, bias_of(guides[row]))

        for row in guides:
            expect(row, 0, 0)
        for event in session.run(Until.CHAIN, tokens=False):
            if isinstance(event, StepEnd) and event.row in guides and not session.is_over(event.row):
                expect(event.row, event.steps, event.tokens)
        return session.chains(rows)


def test_a_guide_that_the_session_computes_writes_what_one_that_is_asked_writes(material: Small, trained: Path) -> None:
    guidance = Guidance(load_decoder(trained), GuidanceSettings(alpha=1.0))
    own, single = guided(material, [guidance], Silent), guided(material, [guidance], bias_of=asked)
    alone = guided(material, [guidance], bias_of=lambda guide: lambda tokens: None)
    for chain, twin in zip(own, single, strict=True):
        assert (chain.text, chain.token_ids, chain.finished) == (twin.text, twin.token_ids, twin.finished)
        np.testing.assert_allclose(chain.token_logprobs, twin.token_logprobs, atol=1e-4)
    assert [chain.text for chain in own[:-1]] != [chain.text for chain in alone[:-1]]
    assert own[-1].text == alone[-1].text


def test_guides_of_rows_with_rules_are_computed_together_too(material: Small, trained: Path) -> None:
    guidance, rules = Guidance(load_decoder(trained), GuidanceSettings(alpha=1.0)), TokenRules(top_p=0.8)
    own = guided(material, [guidance], Silent, rules=rules)
    single = guided(material, [guidance], bias_of=asked, rules=rules)
    assert [chain.token_ids for chain in own] == [chain.token_ids for chain in single]
    free = guided(material, [guidance])
    assert [chain.text for chain in own] != [chain.text for chain in free]


def test_guides_of_two_decoders_at_once_write_as_each_would(material: Small, trained: Path, tmp_path: Path) -> None:
    material.train(config(updates=20, seed=1), tmp_path)
    both = [Guidance(load_decoder(folder), GuidanceSettings(alpha=1.0)) for folder in (trained, tmp_path)]
    mixed, single = guided(material, both), guided(material, both, bias_of=asked)
    assert [chain.token_ids for chain in mixed] == [chain.token_ids for chain in single]


def test_rows_that_are_drawn_beside_a_guided_one_have_places_in_its_tables(material: Small, trained: Path) -> None:
    """Compiled drawing looks all of them up, and checks no bounds: it read, and wrote, whatever lay there."""
    guide = Guide(Guidance(load_decoder(trained), GuidanceSettings(alpha=1.0)), "", (), labelled=False)
    guide.expect(torch.zeros(material.world_model[1].columns_read), 1, 0, 0.5)
    net = guide.net
    assert net is not None
    tables = GuideTables(net)
    tables.begin(0, guide)
    arrays = tables.arrays(np.arange(40), np.zeros((40, 8), dtype=np.int64), np.zeros(40, dtype=np.int64), 1)
    assert arrays is not None
    active, first, fed, *others = arrays[1]
    assert min(len(one) for one in (active, first, fed, *others[:-2])) >= 40
    assert others[-1].shape[1] >= 40
    assert active[0] and not active[1:].any()
