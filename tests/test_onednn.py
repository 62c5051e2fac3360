"""oneDNN's products are `nn.Linear`'s, wherever they are used and wherever they are not."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from rjepa import onednn
from rjepa.jepa.checkpoint import load_model, save_model
from rjepa.jepa.config import EncoderConfig, JepaConfig, PredictorConfig
from rjepa.jepa.model import build_model
from rjepa.onednn import OneDnnLinear, mkl_is_slow, packed_product, use_onednn
from rjepa.precision import multiplies_bf16

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"),
    reason="this PyTorch carries no oneDNN",
)


@pytest.fixture(autouse=True)
def slow_mkl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onednn, "mkl_is_slow", lambda: True)


def _pair(columns: int, width: int, bias: bool) -> tuple[nn.Linear, OneDnnLinear]:
    """A layer, and the same one by oneDNN whatever the work."""
    torch.manual_seed(columns + width)
    plain = nn.Linear(columns, width, bias=bias)
    fast = copy.deepcopy(plain)
    use_onednn(fast, least_work=0)
    assert isinstance(fast, OneDnnLinear)
    return plain, fast


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [(0,), (1,), (15,), (16,), (2, 9), (48, 1), (3, 4, 5)])
@pytest.mark.parametrize(("columns", "width"), [(8, 3), (128, 512), (383, 1)])
def test_the_products_are_those_of_a_plain_layer(rows: tuple[int, ...], columns: int, width: int, bias: bool) -> None:
    plain, fast = _pair(columns, width, bias)
    inputs = torch.randn(*rows, columns)
    with torch.inference_mode():
        assert torch.allclose(fast(inputs), plain(inputs), rtol=1e-5, atol=1e-5)
        sliced = torch.randn(*rows, 2 * columns)[..., ::2]
        assert torch.allclose(fast(sliced), plain(sliced), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_left_to_pytorch(dtype: torch.dtype) -> None:
    plain, fast = _pair(64, 32, bias=True)
    inputs = torch.randn(19, 64, dtype=dtype)
    with torch.inference_mode():
        assert torch.equal(fast.to(dtype)(inputs), plain.to(dtype)(inputs))


def test_autocast_decides_as_ever() -> None:
    plain, fast = _pair(64, 32, bias=True)
    inputs = torch.randn(19, 64)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert fast(inputs).dtype == torch.bfloat16
        assert torch.equal(fast(inputs), plain(inputs))


def test_gradients_are_those_of_a_plain_layer() -> None:
    plain, fast = _pair(64, 32, bias=True)
    inputs = torch.randn(19, 64)
    for layer in (plain, fast):
        layer(inputs).square().sum().backward()
    assert plain.weight.grad is not None and fast.weight.grad is not None
    assert torch.equal(plain.weight.grad, fast.weight.grad)


def test_a_model_keeps_its_weights_and_says_the_same() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 8))
    before = copy.deepcopy(model)
    use_onednn(model, least_work=0)
    assert all(type(module) is OneDnnLinear for module in model if not isinstance(module, nn.GELU))
    assert model.state_dict().keys() == before.state_dict().keys()
    inputs = torch.randn(33, 64)
    with torch.inference_mode():
        assert torch.allclose(model(inputs), before(inputs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("copied", [True, False])
def test_much_work_is_onednn_s_and_little_is_not(monkeypatch: pytest.MonkeyPatch, copied: bool) -> None:
    if not copied:
        monkeypatch.setattr(onednn, "_MAX_COPIED_BYTES", 0)
    fast = nn.Linear(64, 32)
    use_onednn(fast, least_work=40 * 64 * 32)
    assert (fast.packed is not None) == copied
    rows: list[int] = []

    def watched(layer: nn.Linear, inputs: torch.Tensor) -> torch.Tensor:
        rows.append(len(inputs))
        return torch.zeros(len(inputs), 32)

    monkeypatch.setattr(nn.Linear, "forward", watched)
    with torch.inference_mode():
        assert fast(torch.randn(40, 64)).any()
        fast(torch.randn(39, 64))
    assert rows == [39]


def test_weights_that_change_are_read_anew() -> None:
    plain, fast = _pair(64, 32, bias=True)
    inputs = torch.randn(9, 64)
    for change in (
        lambda layer: layer.weight.mul_(3.0),
        lambda layer: layer.load_state_dict(nn.Linear(64, 32).state_dict()),
    ):
        with torch.inference_mode():
            fast(inputs)
        with torch.no_grad():
            torch.manual_seed(0)
            change(plain)
            torch.manual_seed(0)
            change(fast)
        with torch.inference_mode():
            assert torch.allclose(fast(inputs), plain(inputs), rtol=1e-5, atol=1e-5)


def test_a_copy_of_a_layer_that_was_used_is_a_layer_of_its_own() -> None:
    plain, fast = _pair(64, 32, bias=True)
    inputs = torch.randn(9, 64)
    with torch.inference_mode():
        fast(inputs)
        other = copy.deepcopy(fast)
        other.weight.data.zero_()
        assert torch.allclose(other(inputs), other.bias.expand(9, -1))
        assert torch.allclose(fast(inputs), plain(inputs), rtol=1e-5, atol=1e-5)
        half = copy.deepcopy(fast).bfloat16()
        assert half(inputs.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(("maker", "slow"), [("vendor_id : AuthenticAMD", True), ("vendor_id : GenuineIntel", False)])
def test_mkl_is_slow_on_one_maker_s_cpus(monkeypatch: pytest.MonkeyPatch, maker: str, slow: bool) -> None:
    monkeypatch.setattr(onednn, "_cpu_maker", lambda: maker)
    assert mkl_is_slow.__wrapped__() == (slow and torch.backends.mkl.is_available())


@pytest.mark.skipif(not multiplies_bf16("cpu"), reason="this CPU has no bfloat16")
@pytest.mark.parametrize("rows", [1, 8, 60])
def test_bfloat16_is_kept_in_order_where_there_is_room_for_it(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(onednn, "_MAX_COPIED_BYTES", 0)
    plain = nn.Linear(64, 48).bfloat16()
    size, inputs = plain.weight.nbytes, torch.randn(rows, 64).bfloat16()
    for room in (size - 1, size):
        fast = copy.deepcopy(plain)
        use_onednn(fast, bf16_room=room)
        assert isinstance(fast, OneDnnLinear) and (fast.packed is not None) == (room == size)
        with torch.inference_mode():
            assert torch.allclose(packed_product(fast, inputs), plain(inputs), rtol=1e-2, atol=1e-2)
            assert torch.equal(fast(inputs), plain(inputs)), "other products than those of few rows changed"


def test_layers_of_another_kind_stay() -> None:
    class Quantised(nn.Linear):
        pass

    model = nn.Sequential(Quantised(4, 4))
    use_onednn(model)
    assert type(model[0]) is Quantised


def test_a_loaded_rjepa_leaves_little_work_to_mkl_and_much_to_onednn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = JepaConfig(
        name="tiny", encoder=EncoderConfig(width=16, depth=1), predictor=PredictorConfig(width=8, depth=1)
    )
    save_model(tmp_path, build_model(config, 12, ("math",)))
    layers = [layer for layer in load_model(tmp_path).modules() if isinstance(layer, nn.Linear)]
    assert layers and all(isinstance(layer, OneDnnLinear) for layer in layers)
    assert all(layer.least_work > onednn.LEAST_WORK for layer in layers if isinstance(layer, OneDnnLinear))
    monkeypatch.setattr(onednn, "mkl_is_slow", lambda: False)
    assert not any(isinstance(layer, OneDnnLinear) for layer in load_model(tmp_path).modules())
