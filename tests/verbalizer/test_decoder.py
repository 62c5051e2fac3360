"""What decoders read, say and forget; small real ones."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rjepa.errors import CorruptError, NotFoundError
from rjepa.verbalizer.checkpoint import is_made_for, load_decoder, save_decoder
from rjepa.verbalizer.config import Form
from rjepa.verbalizer.model import Decoder, Memory, build_decoder, spread
from rjepa.verbalizer.speaking import Line, Speaker, label_length, speak
from rjepa.verbalizer.texts import make_batch
from rjepa.verbalizer.vocabulary import OTHER, START, Vocabulary
from tests.verbalizer.small import Small, config

FORMS: tuple[Form, ...] = ("latent", "reading", "plain")


def decoder_of(material: Small, form: Form) -> Decoder:
    texts = material.texts(config(form))
    return build_decoder(config(form), texts.vocabulary, material.latents.width).eval()


def test_places_and_text_of_tokens_and_one_place_for_all_unknown_ones() -> None:
    vocabulary = Vocabulary((3, 7, 9), (b"Step", b" \xc3\xa9", b"\n"), 12)
    assert vocabulary.places([7, 3, 4, 9, 11]).tolist() == [3, 2, OTHER, 4, OTHER]
    assert vocabulary.text([START, 2, 3, 4, OTHER]) == "Step é\n" and vocabulary.has_newline(4)
    with pytest.raises(ValueError, match="rising tokens"):
        Vocabulary((7, 3), (b"a", b"b"), 12)


@pytest.mark.parametrize("form", FORMS)
def test_a_token_at_a_time_gives_the_logits_of_the_whole_chain_at_once(material: Small, form: Form) -> None:
    decoder, texts = decoder_of(material, form), material.texts(config(form))
    observed, _ = texts.latents_of(np.array([0]))
    batch = make_batch(
        material.tokens, np.array([0]), observed, torch.zeros(len(observed), dtype=torch.int64), texts.vocabulary, form
    )
    with torch.no_grad():
        whole = decoder.logits(
            decoder(batch.tokens, spread(decoder.project(batch.latents, batch.is_expected), batch.latent_of))
        ).log_softmax(-1)
    ids, bounds = material.tokens.tokens[0].tolist(), material.tokens.bounds[0]
    prompt, chain = ids[: bounds[1]], ids[bounds[1] :]
    speaker = Speaker(decoder, prompt)
    for segment in range(len(bounds) - 2):
        first, end = int(bounds[segment + 1] - bounds[1]), int(bounds[segment + 2] - bounds[1])
        if segment:
            with torch.inference_mode():  # as of a row that waits at the end of its step, in a session's pass
                speaker.log_probs(chain[:first])
        speaker.expect(observed[segment], first, is_expected=False)
        for place in range(first, end):
            row, at = (segment, place - first) if form == "latent" else (0, len(prompt) - 1 + place)
            torch.testing.assert_close(speaker.log_probs(chain[:place]), whole[row, at], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("form", ("reading", "plain"))
def test_rows_of_different_lengths_read_nothing_of_each_other(material: Small, form: Form) -> None:
    decoder = decoder_of(material, form)
    memory = Memory(len(decoder.blocks), 2, decoder.device)
    tokens = torch.tensor([[2, 3, 4, 5], [6, 7, START, START]])
    with torch.no_grad():
        decoder(tokens, torch.zeros(2, 4, decoder.config.width), memory)
        memory.lengths = torch.tensor([4, 2])
        together = decoder(torch.tensor([[8], [9]]), torch.zeros(2, 1, decoder.config.width), memory)
        alone = decoder(torch.tensor([[6, 7, 9]]), torch.zeros(1, 3, decoder.config.width))
    torch.testing.assert_close(together[1, 0], alone[0, -1], atol=1e-5, rtol=1e-4)


def test_a_plain_language_model_does_not_see_the_latent(material: Small) -> None:
    decoder = decoder_of(material, "plain")
    latents = torch.randn(3, material.latents.width)
    assert not decoder.project(latents, torch.zeros(3, dtype=torch.int64)).any()


def test_a_trained_decoder_says_the_steps_whose_latents_it_is_given(material: Small, trained: Path) -> None:
    decoder, texts = load_decoder(trained), material.texts(config())
    chosen = np.arange(12)
    observed, _ = texts.latents_of(chosen)
    lines, wanted, first = [], [], 0
    for index in chosen.tolist():
        ids, bounds = material.tokens.tokens[index], material.tokens.bounds[index]
        step = ids[bounds[1] : bounds[2]].tolist()
        label = label_length(decoder.vocabulary, step)
        assert (
            label is not None and decoder.vocabulary.text(decoder.vocabulary.places(step[:label]).tolist()) == "Step 1:"
        )
        lines.append(Line(step[:label], observed[first][None], [False]))
        wanted.append(decoder.vocabulary.text(decoder.vocabulary.places(step).tolist()))
        first += len(bounds) - 2
    said = speak(decoder, lines)
    zeroed = speak(decoder, [Line(line.begin, torch.zeros_like(line.latents), [False]) for line in lines])
    right = sum(one == other for one, other in zip(said, wanted, strict=True))
    assert right >= 8 > 4 > sum(one == other for one, other in zip(zeroed, wanted, strict=True))


def test_a_decoder_comes_back_from_its_file_with_the_vocabulary_and_knows_its_r_jepa(
    material: Small, tmp_path: Path
) -> None:
    decoder = decoder_of(material, "latent")
    first = save_decoder(tmp_path, decoder, "one")
    again = load_decoder(tmp_path)
    assert again.vocabulary == decoder.vocabulary and again.config == decoder.config
    assert all(torch.equal(one, other) for one, other in zip(again.parameters(), decoder.parameters(), strict=True))
    assert is_made_for(tmp_path, "one") and not is_made_for(tmp_path, "two")
    assert save_decoder(tmp_path, again, "one") == first


def test_a_file_that_is_cut_short_or_missing_is_refused_with_a_cure(material: Small, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="latent_decoder"):
        load_decoder(tmp_path)
    save_decoder(tmp_path, decoder_of(material, "latent"), "one")
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(CorruptError, match="materialise it again"):
        load_decoder(tmp_path)
    assert not is_made_for(tmp_path, "one")
