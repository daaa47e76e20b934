"""TA-SNN's discarded frames: dropped ones are zeros, kept ones are as they were."""

import pytest
import torch

from spikeline.models.registry import build

SMALL = {"classes": 3, "steps": 6, "channels": (4, 6, 6), "hidden": (8,), "grid": (8, 8), "t_ratio": 2}


def networks(form="window", **hard):
    """The network that discards, and the same weights with a soft gate and without one."""
    torch.manual_seed(2)
    hard_one = build("tasnn", form=form, input_attention=True, **hard, **SMALL).eval().double()
    soft = build("tasnn", form=form, input_attention=True, **SMALL).eval().double()
    soft.load_state_dict(hard_one.state_dict())
    plain = build("tasnn", form=form, **SMALL).eval().double()
    plain.load_state_dict({k: v for k, v in hard_one.state_dict().items() if "input_ta" not in k})
    return hard_one, soft, plain


def frames(batch=4):
    rates = torch.linspace(0.1, 3, 6, dtype=torch.float64)[torch.randperm(6)].view(6, 1, 1, 1, 1)
    return torch.poisson(rates.expand(6, batch, 2, 8, 8))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_share_of_each_window_is_dropped(share):
    hard, soft, plain = networks(input_discard=share)
    x = frames()
    with torch.no_grad():
        gates = soft.values(x)["input_ta"].sum((2, 3, 4)) / x.sum((2, 3, 4))  # (T, B)
        kept = hard.values(x)["input_ta"].sum((2, 3, 4)) > 0
        assert torch.equal(hard(x), plain(x * kept[:, :, None, None, None]))
    dropped = int(share * 5)  # the quantile lies between frames: no more than the share
    assert (kept.sum(0) == 6 - dropped).all()
    for b in range(x.shape[1]):
        assert gates[~kept[:, b], b].max() <= gates[kept[:, b], b].min()


@pytest.mark.parametrize("form", ["window", "sliding", "prefix"])
def test_a_threshold_drops_what_lies_under_it(form):
    _, soft, _ = networks(form)
    x = frames()
    with torch.no_grad():
        gates = soft.values(x)["input_ta"].sum((2, 3, 4)) / x.sum((2, 3, 4))
        threshold = float(gates.median())
        hard, _, plain = networks(form, input_threshold=threshold)
        kept = hard.values(x)["input_ta"].sum((2, 3, 4)) > 0
        assert 0 < kept.double().mean() < 1
        assert torch.equal(hard(x), plain(x * kept[:, :, None, None, None]))
    assert (gates[kept] >= threshold - 1e-12).all() and (gates[~kept] <= threshold + 1e-12).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input_discard": 0.5, "form": "sliding", "input_attention": True}, "share below 1 of a window"),
        ({"input_discard": 0.5}, "wanted one of them, with input_attention"),
        ({"input_discard": 0.5, "input_threshold": 0.1, "input_attention": True}, "wanted one of them"),
    ],
)
def test_discarding_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        build("tasnn", **settings, **SMALL)
