"""The papers' attention and blocks: what may see what, the two forms of each, and the published counts."""

import pytest
import torch

from spikeline.models.attention import ChannelAttention, SpatialAttention, StepGates
from spikeline.models.causal_attention import PrefixTA, SlidingTA
from spikeline.models.gac import Encoder, GatedAttentionUnit
from spikeline.models.layers import OUTPUTS, ParametricLayer, SpikingLayer, paper_layer
from spikeline.models.masnn import ThreeLayer, ThreeLayerConfig
from spikeline.models.masnn_window import WindowNet, WindowNetConfig
from spikeline.models.neurons import neuron
from spikeline.models.plifnet import PLIFNet, PLIFNetConfig
from spikeline.models.residual import MSBlock, SEWBlock
from spikeline.models.running_attention import RunningCA, RunningSA
from spikeline.models.staa import GlobalContext, STAALayer, StepAttention
from spikeline.models.synergy import Inhibition, ORBlock
from spikeline.models.window_attention import (
    AverageTemporalAttention,
    Cascade,
    PooledChannelAttention,
    PooledSpatialAttention,
    TemporalAttention,
    cascade,
)

T, B, C, H, W = 6, 3, 8, 4, 6


def seeded(build):
    """The module `build` makes, with seeded weights and batch norm statistics, in float64, evaluating."""
    torch.manual_seed(7)
    module = build().double().eval()
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.05, 0.2)
            elif name.endswith(("running_mean", "mean_avg", "mean_max")):
                tensor.normal_(0, 0.2)
    return module


def window(*shape, spikes=False):
    generator = torch.Generator().manual_seed(11)
    x = torch.randn(*(shape or (T, B, C, H, W)), dtype=torch.float64, generator=generator)
    return (x > 0).double() if spikes else x + 0.3


def looped(module, x):
    state = module.init_state(x[0])
    outputs = []
    for frame in x:
        y, state = module.step(frame, state)
        outputs.append(y)
    return torch.stack(outputs)


def count(module):
    return sum(p.numel() for p in module.parameters())


def gates():
    return {"ca": ChannelAttention(C, 4), "sa": SpatialAttention(3)}


CAUSAL = {
    "prefix TA": lambda: PrefixTA(T, 3),
    "sliding TA": lambda: SlidingTA(4, 3),
    "running CA": lambda: RunningCA(C, 3),
    "running SA": lambda: RunningSA(3),
    "MS block": lambda: MSBlock(C, 16, 2, shortcut="pool"),
    "MS block, CSA per step": lambda: MSBlock(C, C, attention=StepGates(gates(), relu=True)),
    "MS block, attention on the sum": lambda: MSBlock(C, C, attention=StepGates(gates()), location="sum"),
    "GAC block": lambda: MSBlock(C, 16, 2, paper="gac"),
    "SEW block": lambda: SEWBlock(C, C, g="iand"),
    "SEW block, strided": lambda: SEWBlock(C, 16, 2),
    "OR block": lambda: ORBlock(C, 16),
    "STAA": lambda: STAALayer(C, T, gate="channel"),
    "STAA, one gate a step": lambda: STAALayer(C, T, context="sum"),
}
WINDOWED = {
    "TA": lambda: TemporalAttention(T, 3),
    "TA-SNN": lambda: AverageTemporalAttention(T, 3),
    "CA": lambda: PooledChannelAttention(C, 3),
    "SA": lambda: PooledSpatialAttention(3),
    "TCSA": lambda: cascade("tcs", steps=T, channels=C, t_ratio=2, c_ratio=2),
}
NO_GRAD = torch.no_grad()


@pytest.mark.parametrize("build", CAUSAL.values(), ids=CAUSAL)
@NO_GRAD
def test_a_causal_form_does_not_see_later_frames(build):
    module, x = seeded(build), window()
    changed = x.clone()
    changed[4:] = changed[4:].flip(-1) * 3 - 1
    a, b = module(x), module(changed)
    assert torch.equal(a[:4], b[:4])
    assert not torch.equal(a[4:], b[4:])


@pytest.mark.parametrize("build", CAUSAL.values(), ids=CAUSAL)
@NO_GRAD
def test_a_loop_over_steps_gives_the_window_form(build):
    module, x = seeded(build), window()
    torch.testing.assert_close(looped(module, x), module(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("build", WINDOWED.values(), ids=WINDOWED)
@NO_GRAD
def test_a_window_form_does_see_later_frames(build):
    module, x = seeded(build), window()
    changed = x.clone()
    changed[-1] *= 3
    assert not torch.equal(module(x)[0], module(changed)[0])


@pytest.mark.parametrize("build", [*WINDOWED.values(), *CAUSAL.values()], ids=[*WINDOWED, *CAUSAL])
@NO_GRAD
def test_samples_do_not_influence_each_other(build):
    module, x = seeded(build), window()
    alone = torch.cat([module(x[:, i : i + 1]) for i in range(B)], 1)
    torch.testing.assert_close(alone, module(x), rtol=1e-9, atol=1e-12)


@NO_GRAD
def test_causal_gates_reach_the_window_gate_at_the_last_step():
    x = window()
    pairs = [
        (TemporalAttention(T, 3), PrefixTA(T, 3)),
        (TemporalAttention(T, 3), SlidingTA(T, 3)),
        (PooledChannelAttention(C, 3), RunningCA(C, 3)),
        (PooledSpatialAttention(3), RunningSA(3)),
    ]
    for published, causal in pairs:
        seeded(lambda published=published: published)
        seeded(lambda causal=causal: causal).load_state_dict(published.state_dict(), strict=False)
        expected, found = published(x), causal(x)
        torch.testing.assert_close(found[-1], expected[-1], rtol=1e-12, atol=1e-12)
        assert not torch.allclose(found[0], expected[0])


@NO_GRAD
def test_prefix_gates_start_again_after_a_window():
    module, x = seeded(lambda: PrefixTA(T, 3)), window()
    twice = looped(module, torch.cat([x, x]))
    assert torch.equal(twice[:T], twice[T:])


@NO_GRAD
def test_a_mean_fill_stands_for_the_steps_to_come():
    x = window()
    avg, peak = x.mean((2, 3, 4)), x.amax((2, 3, 4))
    module = seeded(lambda: PrefixTA(T, 3))
    module.fill(avg[:, 0], peak[:, 0])  # with a sample's own statistics, its gates are the published ones
    published = TemporalAttention(T, 3).double()
    published.load_state_dict({k: v for k, v in module.state_dict().items() if k.startswith("mlp")})
    torch.testing.assert_close(module(x)[:, 0], published(x)[:, 0], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(module(x)[:, 1], published(x)[:, 1])


@NO_GRAD
def test_gates_of_one_step_take_each_step_alone():
    module, x = seeded(lambda: StepGates(gates(), relu=True)), window()
    torch.testing.assert_close(module(x), torch.stack([module.step(frame) for frame in x]))
    assert (module(x) >= 0).all()


def test_attention_costs_what_the_paper_counts():
    def three(**changes):
        return count(ThreeLayer(ThreeLayerConfig(**changes)))

    def released(**changes):
        return count(WindowNet(WindowNetConfig(**changes)))

    assert three() == released(attention="no") == 2_324_065
    assert three(attention="ca", ratio=16) - three() == 4_608  # MA-SNN Table 5
    assert three(attention="sa", kernel=7) - three() == 3 * 2 * 7**2
    assert released(attention="tcs") - released(attention="no") == 16_470
    assert released(attention="no", classes=21) == 2_326_655


def test_networks_have_their_published_sizes():
    five = {"channels": (32, 64, 128, 256, 512), "pools": (2, 2, 2, 2, 4), "grid": (128, 128)}
    assert count(WindowNet(WindowNetConfig(**five, attention="no", classes=21))) == 2_100_767
    assert count(WindowNet(WindowNetConfig(**five, attention="no", classes=10))) == 2_097_918
    network = PLIFNet(PLIFNetConfig())
    assert count(network) == 1_698_933
    assert count(PLIFNet(PLIFNetConfig(bias=False))) == 1_698_311
    shapes = [s for name, s in network.shapes.items() if name.startswith("conv")]
    assert sum(torch.Size(s).numel() for s in shapes) == 2_793_472
    assert count(GatedAttentionUnit(6, 64)) == 131_108
    assert 8 * count(TemporalAttention(32, 8)) == 4_096  # SynA d-T on Gesture: 5 MA and 3 IA
    assert count(GlobalContext(64, 16)) == 64**2 // 2 + 2.75 * 64 + 1
    assert count(StepAttention(64, 16)) == 49


@NO_GRAD
def test_plif_net_gives_the_same_either_way():
    config = PLIFNetConfig(
        classes=3, channels=4, layers=2, hidden=8, votes=2, grid=(8, 8), attention="csa", ratio=2
    )
    network, x = seeded(lambda: PLIFNet(config)), window(T, B, 2, 8, 8, spikes=True) * 2
    for name, weights in network.weights.items():
        (weights.norm if name.startswith("conv") else weights.weights).weight.mul_(8)
    votes, spikes = network.over_time(x)
    assert votes.shape == (T, B, 3) and spikes["conv1"].any() and spikes["fc1"].any()
    torch.testing.assert_close(network(x), votes, rtol=1e-12, atol=1e-12)


@NO_GRAD
def test_an_or_block_stays_binary_and_needs_its_window_with_attention():
    x = window(spikes=True)
    scores = Inhibition(TemporalAttention(T, 3))
    block = seeded(lambda: ORBlock(C, 16, attention=TemporalAttention(T, 3), inhibition=scores))
    z = block(x)
    assert set(z.unique().tolist()) == {0.0, 1.0} and z.shape == (T, B, 16, H // 2, W // 2)
    with pytest.raises(ValueError, match="needs the whole window"):
        block.step(x[0], block.init_state(x[0]))
    ms = seeded(lambda: MSBlock(C, C, attention=cascade("c", steps=T, channels=C)))
    with pytest.raises(ValueError, match="Cascade needs the whole window; wanted StepGates"):
        ms.step(x[0], ms.init_state(x[0]))


@NO_GRAD
def test_a_shortcut_that_never_spikes_can_be_pruned():
    block, x = seeded(lambda: ORBlock(C, 16)), window(spikes=True)
    block.conv3.norm.bias -= 100
    main, side = block.branches(x)
    assert not side.any() and main.any()
    assert torch.equal(block(x), main)


def test_inhibition_gates_are_binary_and_learn():
    x = window() * 4
    module = seeded(lambda: Inhibition(TemporalAttention(T, 3)))
    with torch.no_grad():
        module.scores.mlp.w1 *= 4
    score = module.scores.score(x)
    assert (score >= 2).any() and (score < 2).any()
    assert torch.equal(module.gate(x), (score >= 2).double())
    module(x).sum().backward()
    assert module.scores.mlp.w0.grad.abs().max() > 0
    in_time = seeded(lambda: Inhibition(TemporalAttention(T, 3), "lif_time"))
    assert torch.equal(in_time.gate(x), looped_lif(in_time.scores.score(x)))


def looped_lif(z):
    """LIF over the T scores by hand: v <- v + (z - v) / 2, fires at 1, hard reset."""
    v, spikes = torch.zeros_like(z[0]), []
    for value in z:
        v = v + (value - v) / 2
        spikes.append((v >= 1).double())
        v = v * (v < 1)
    return torch.stack(spikes)


@NO_GRAD
def test_gac_on_a_static_image_is_the_unit_on_a_repeated_one():
    encoder = seeded(lambda: Encoder(3, C, T))
    image = window(B, 3, H, W) * 2
    features = encoder.conv(image).expand(T, -1, -1, -1, -1)
    expected = encoder.unit(features, encoder.neurons(features))
    found = encoder(image)
    assert found.any() and ((found >= 0) & (found < 1)).all()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_a_learned_rate_starts_as_lif_and_has_a_gradient():
    x = window() * 2
    learned, fixed = ParametricLayer(2.0).double(), paper_layer("sj")
    y = learned(x)
    assert torch.equal(y, fixed(x)) and y.any()
    y.sum().backward()
    assert learned.w.grad.abs() > 0
    assert ParametricLayer(4.0).cell["rate"].item() == pytest.approx(0.25)
    with pytest.raises(ValueError, match="tau must be more than 1, got 1"):
        ParametricLayer(1.0)


@NO_GRAD
def test_analog_outputs_leave_the_state_to_the_spikes():
    x, h = window(B, C), torch.zeros(B, C, dtype=torch.float64)
    cell = neuron("lif_ma")
    found = {output: SpikingLayer(cell, output=output).step(x, h) for output in OUTPUTS}
    assert torch.equal(found["membrane"][0], x.clamp(min=0))
    assert torch.equal(found["excess"][0], (x - 0.3).clamp(min=0))
    assert all(torch.equal(carried, found["spikes"][1]) for _, carried in found.values())
    with pytest.raises(ValueError, match="output must be one of"):
        SpikingLayer(cell, output="volts")


def test_a_detached_reset_changes_the_gradient_and_nothing_else():
    grads, outputs = [], []
    for detach in (False, True):
        x = window().requires_grad_(True)
        y = SpikingLayer(neuron("lif_ms"), surrogate="atan", detach=detach)(x)
        y.sum().backward()
        grads.append(x.grad)
        outputs.append(y)
    assert torch.equal(*outputs)
    assert not torch.allclose(*grads)


@NO_GRAD
def test_discarded_frames_are_those_under_the_threshold():
    module, x = seeded(lambda: AverageTemporalAttention(T, 3)), window() * 3
    gate = module.gate(x).view(T, B)
    assert torch.equal(module.kept(x, 0.5), gate >= 0.5)
    assert torch.equal(module.kept(x, module.threshold(x, 0.5)).sum(0), torch.full((B,), 4))


@NO_GRAD
def test_staa_drops_its_attention_in_training_only():
    x = window()
    module = seeded(lambda: STAALayer(C, T, drop=1.0))
    served = module(x)
    module.train()
    state = module.init_state(x[0])
    assert torch.equal(module.potential(x[0], state), x[0])
    assert not torch.equal(module(x), served)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: cascade("ct", steps=T, channels=C), "attention must be one of no, t, c, s"),
        (lambda: cascade("t", steps=T, channels=C, t_ratio=7), "ratio must be from 1 to 6, got 7"),
        (lambda: MSBlock(C, C, shortcut="max"), "shortcut must be one of conv, pool"),
        (lambda: SEWBlock(C, C, g="xor"), "g must be one of add, and, iand, or, got 'xor'"),
        (lambda: ORBlock(C, C, place="third"), "place must be one of first, second"),
        (lambda: Inhibition(PooledSpatialAttention(3), "lif_time"), "lif_time needs a temporal score"),
        (lambda: STAALayer(C, T, gate="pixel"), "gate must be one of step, channel"),
        (lambda: GlobalContext(C, 2, "max"), "context must be one of mean, sum"),
        (lambda: paper_layer("snn"), "paper must be one of ma, ms, gac, sj"),
        (lambda: PLIFNetConfig(grid=(100, 128)), "grid must be a multiple of 32"),
    ],
)
def test_settings_that_do_not_exist_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@NO_GRAD
def test_a_cascade_feeds_each_gate_the_one_before():
    module, x = seeded(WINDOWED["TCSA"]), window()
    assert list(module.gates) == ["ta", "ca", "sa"]
    y = x
    for gate in module.gates.values():
        y = y * gate.gate(y)
    assert torch.equal(module(x), torch.relu(y))
    plain = Cascade(dict(module.gates.items()), relu=False)
    assert (plain(x) < 0).any()
