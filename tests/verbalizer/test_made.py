"""Which decoders go into a release: those of the R-JEPA that is there."""

from pathlib import Path

import pytest

from rjepa.errors import NotFoundError
from rjepa.home import Home
from rjepa.verbalizer.checkpoint import save_decoder
from rjepa.verbalizer.guiding import GuidanceSettings
from rjepa.verbalizer.made import current_world_model, decoder_parts, guidance_folder, verbalizer_folder
from rjepa.verbalizer.model import build_decoder
from tests.verbalizer.small import Small, config


def test_decoders_are_released_with_the_r_jepa_that_they_were_made_for_and_no_other(
    material: Small, tmp_path: Path
) -> None:
    home = Home(tmp_path)
    with pytest.raises(NotFoundError, match="does not exist") as caught:
        decoder_parts(home, "tiny-test", "v1.0.0")
    assert "rjepa_checkpoint" in caught.value.cure
    models = home.models("tiny-test", "v1.0.0")
    (models / "rjepa").mkdir(parents=True)
    (models / "rjepa" / "model.safetensors").write_bytes(b"one")
    (models / "normalizer.safetensors").write_bytes(b"scale")
    assert decoder_parts(home, "tiny-test", "v1.0.0") == ()
    decoder = build_decoder(config(), material.texts(config()).vocabulary, material.latents.width)
    name = current_world_model(home, "tiny-test", "v1.0.0")
    for folder in (verbalizer_folder(home, "tiny-test", "v1.0.0"), guidance_folder(home, "tiny-test", "v1.0.0")):
        folder.mkdir()
        save_decoder(folder, decoder, name)
    # Guidance without its settings is not finished yet.
    assert [part.name for part in decoder_parts(home, "tiny-test", "v1.0.0")] == ["verbalizer"]
    GuidanceSettings(alpha=0.6).save(guidance_folder(home, "tiny-test", "v1.0.0"))
    assert [part.name for part in decoder_parts(home, "tiny-test", "v1.0.0")] == ["verbalizer", "guidance"]
    (models / "rjepa" / "model.safetensors").write_bytes(b"another")
    assert decoder_parts(home, "tiny-test", "v1.0.0") == ()
