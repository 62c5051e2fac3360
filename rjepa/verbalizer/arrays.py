"""A decoder's weights as the arrays that a session computes guides with (`rjepa.students.guides`)."""

import math
from typing import cast

import numpy as np
import torch
from torch import Tensor

from rjepa.arrays import Float32
from rjepa.students.guides import BlockArrays, GuideNet
from rjepa.verbalizer.model import Decoder, DecoderBlock

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 \t")


def net_of(decoder: Decoder) -> GuideNet | None:
    """The decoder as arrays; None for one that reads more than the step's latent, or that is not on the CPU."""
    if decoder.config.form != "latent" or decoder.device.type != "cpu" or decoder.bias.dtype != torch.float32:
        return None
    vocabulary = decoder.vocabulary
    plain = np.ones(vocabulary.student_size, dtype=bool)
    for token, piece in zip(vocabulary.tokens, vocabulary.pieces, strict=True):
        plain[token] = _PLAIN.issuperset(piece)
    return GuideNet(
        embedding=_array(decoder.embed.weight),
        blocks=tuple(_block(cast(DecoderBlock, block)) for block in decoder.blocks),
        norm=np.stack([_array(decoder.norm.weight), _array(decoder.norm.bias)]),
        head=_across(decoder.embed.weight / math.sqrt(decoder.config.width)),
        head_bias=_array(decoder.bias),
        places=vocabulary.places(np.arange(vocabulary.student_size)),
        tokens=np.array(vocabulary.tokens, dtype=np.int64),
        plain=plain,
        heads=decoder.config.heads,
    )


def _block(block: DecoderBlock) -> BlockArrays:
    norms = (block.norm_tokens.weight, block.norm_tokens.bias, block.norm_hidden.weight, block.norm_hidden.bias)
    layers = (block.read, block.out, block.up, block.down)
    weights = [array for layer in layers for array in (_across(layer.weight), _array(layer.bias))]
    return cast(BlockArrays, (np.stack([_array(one) for one in norms]), *weights))


def _array(tensor: Tensor) -> Float32:
    return np.ascontiguousarray(tensor.detach().numpy())


def _across(weight: Tensor) -> Float32:
    """A weight [out, in] as [in, out]."""
    return np.ascontiguousarray(weight.detach().numpy().T)
