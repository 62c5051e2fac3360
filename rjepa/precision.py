"""Where bfloat16 pays: a CPU without instructions for it emulates every product, several times slower than float32."""

from functools import cache

import torch


@cache
def multiplies_bf16(device_type: str) -> bool:
    """Whether matrix products in bfloat16 are native on this kind of device ("cpu", "cuda", "mps", ...)."""
    if device_type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))
    return device_type == "cuda" and torch.cuda.is_bf16_supported()
