import numpy as np
import pytest
import torch

from rjepa.errors import InvalidInputError
from rjepa.jepa.batches import Assembler, BatchOrder
from rjepa.jepa.config import JepaConfig
from rjepa.jepa.reader import Reader, latent_columns
from rjepa.latents.normalizer import fit_normalizer
from tests.jepa.synthetic import synthetic_set, tiny_config

DATA = synthetic_set(60, seed=0)
NORMALIZER = fit_normalizer(DATA)


def gatherer(config: JepaConfig) -> Assembler:
    return Assembler(DATA, Reader.of(config, NORMALIZER), config, DATA.domain_names)


def test_a_batch_holds_each_chain_standardised_and_padded() -> None:
    batch = gatherer(tiny_config()).gather(np.array([5, 0]))
    for row, chain in enumerate((5, 0)):
        length = int(DATA.lengths[chain])
        assert np.array_equal(batch.latents[row, :length].numpy(), NORMALIZER.apply(DATA.chain(chain)))
        assert batch.valid[row].sum() == length and not batch.latents[row, length:].any()


def test_the_poolings_in_use_choose_the_columns() -> None:
    last = gatherer(tiny_config(use=("last",))).gather(np.array([1]))
    whole = gatherer(tiny_config()).gather(np.array([1]))
    assert torch.equal(last.latents, whole.latents[:, :, 8:16])


def test_a_run_reads_the_poolings_of_its_student_in_their_order() -> None:
    config = tiny_config(use=("last",)).reading(("number", "last"))
    assert latent_columns(config, 24).tolist() == list(range(12, 24))
    assert latent_columns(tiny_config().reading(("number", "last")), 24) is None
    with pytest.raises(InvalidInputError, match="reads the pooling last"):
        config.reading(("mean", "end"))
    with pytest.raises(InvalidInputError, match="width 25"):
        latent_columns(config, 25)


def test_an_epoch_shows_right_chains_once_and_no_wrong_one() -> None:
    problems = np.arange(len(DATA)) // 2
    order = BatchOrder(DATA, problems, batch_size=8, seed=0)
    seen = np.concatenate([order.chains(update) for update in range(60 // 8)])
    assert len(set(seen.tolist())) == len(seen) == 56
    assert (DATA.first_error[seen] < 0).all()
    assert not np.array_equal(seen, np.concatenate([order.chains(update) for update in range(7, 14)]))


def test_two_batches_joined_are_their_rows_padded_to_the_longer_one() -> None:
    assembler = gatherer(tiny_config())
    short, long = np.argsort(DATA.lengths, kind="stable")[[0, -1]]
    joined = assembler.gather(np.array([short])).joined(assembler.gather(np.array([long])))
    together = assembler.gather(np.array([short, long]))
    for name in ("latents", "valid", "domains", "problems", "first_error", "sentences", "sentences_valid"):
        assert torch.equal(getattr(joined, name), getattr(together, name)), name


def test_negatives_are_wrong_chains_of_the_same_problem() -> None:
    problems = np.arange(len(DATA)) // 2
    order = BatchOrder(DATA, problems, batch_size=20, seed=0)
    chains = order.chains(0)
    rows, wrong = order.negatives(chains, 12, torch.Generator().manual_seed(0))
    assert len(rows) == len(set(rows.tolist())) == 12
    assert (problems[chains[rows]] == problems[wrong]).all()
    assert (DATA.first_error[wrong] >= 0).all()
