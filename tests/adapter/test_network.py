"""The networks against NumPy transcriptions, their seeds and their refusals."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from taistore.adapter.config import TrainConfig
from taistore.adapter.network import (
    START_DEVIATION,
    FeedForward,
    Network,
    NetworkShape,
    Residual,
    SeededDropout,
    build_network,
)
from taistore.errors import TrainingError
from tests.adapter.stores import prompt_vectors

PAPER = NetworkShape(network="paper", dim=6, labels=4, hidden=5, dropout=0.5)
RESIDUAL = dataclasses.replace(PAPER, network="residual", hidden=0)


def residual(shape: NetworkShape = RESIDUAL, *, shared: float = 0.0) -> Residual:
    network = build_network(shape)
    assert isinstance(network, Residual)
    perturbed_BD = torch.randn(500, 6, generator=torch.Generator().manual_seed(0))
    shared_D = torch.zeros(6)
    shared_D[0] = shared
    network.start_from(torch.from_numpy(prompt_vectors(4, 6)), shared_D, perturbed_BD, 0.25)
    return network.eval()


def test_prompts_lie_in_memory_once() -> None:
    """Of 7,186 labels with 1,024 dimensions they are 28 MiB."""
    network, prompts_ND = build_network(RESIDUAL), torch.from_numpy(prompt_vectors(4, 6))
    assert isinstance(network, Residual)
    network.start_from(prompts_ND, torch.zeros(6), torch.ones(2, 6), 0.25)
    assert network.prompts.data_ptr() == prompts_ND.data_ptr()
    assert torch.equal(network.state_dict()["prompts"], prompts_ND)


@pytest.mark.parametrize(
    ("network", "layers"), [("paper", ("first", "second", "third")), ("small", ("first", "second"))]
)
def test_layers_of_relu_and_a_linear_head(network: Network, layers: tuple[str, ...]) -> None:
    made = build_network(dataclasses.replace(PAPER, network=network)).eval()
    assert isinstance(made, FeedForward)
    vectors_BD = torch.randn(3, 6)
    values = {name: weight.detach().numpy() for name, weight in made.named_parameters()}
    hidden_BH = vectors_BD.numpy()
    for layer in layers:
        hidden_BH = np.maximum(hidden_BH @ values[f"{layer}.weight"].T + values[f"{layer}.bias"], 0)
    expected_BN = hidden_BH @ values["last.weight"].T + values["last.bias"]
    found_BN = made(vectors_BD).detach().numpy()
    np.testing.assert_allclose(found_BN, expected_BN, rtol=1e-4, atol=1e-5)
    assert len(values) == 2 * len(layers) + 2


def test_dropout_comes_after_each_layer() -> None:
    """The same masks, drawn in the order of the layers, by a plain transcription."""
    made = build_network(PAPER).train()
    assert isinstance(made, FeedForward)
    vectors_BD = torch.randn(3, 6)
    generator = torch.Generator().manual_seed(7)
    hidden_BH = vectors_BD
    for layer in (made.first, made.second, made.third):
        assert layer is not None
        hidden_BH = torch.relu(layer(hidden_BH))
        kept_BH = torch.empty_like(hidden_BH).bernoulli_(0.5, generator=generator)
        hidden_BH = hidden_BH * kept_BH / 0.5
    found_BN = made(vectors_BD, torch.Generator().manual_seed(7))
    torch.testing.assert_close(found_BN, made.last(hidden_BH))


def test_the_papers_parameters_and_flops() -> None:
    """Table 4 of arXiv:2312.04160: with the encoders 35.9 M - 25.2 M and 34.2 M - 23.5 M."""
    config = TrainConfig.paper()
    shape = NetworkShape(
        network=config.network, dim=1024, labels=80, hidden=config.hidden, dropout=config.dropout
    )
    network = build_network(shape).eval()
    weights = sum(weight.numel() for weight in network.parameters())
    assert weights == 10_655_824
    assert round(weights / 1e6, 1) == round(35.9 - 25.2, 1) == round(34.2 - 23.5, 1)
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1024))
    # Two a weight and vector, biases apart: 0.02 of Table 4's 4.0 and 10.9 GFLOPs, the rest of
    # which is the encoders'.
    biases = 3 * 2048 + 80
    assert counter.get_total_flops() == 2 * (weights - biases) == 21_299_200
    small = dataclasses.replace(
        shape, network="small", hidden=TrainConfig.paper(network="small").hidden
    )
    assert sum(weight.numel() for weight in build_network(small).parameters()) == 828_496


def test_residual_begins_with_logits_of_a_useful_size() -> None:
    network = residual()
    perturbed_BD = torch.randn(500, 6, generator=torch.Generator().manual_seed(0))
    logits_BN = network(perturbed_BD).detach()
    assert float(logits_BN.std()) == pytest.approx(START_DEVIATION, rel=1e-3)
    assert float(logits_BN.mean()) == pytest.approx(np.log(0.25 / 0.75), abs=1e-3)


@pytest.mark.parametrize("hidden", [0, 5])
def test_the_correction_does_not_see_the_shared_direction(hidden: int) -> None:
    network = residual(dataclasses.replace(RESIDUAL, hidden=hidden), shared=0.7)
    network.prompts.zero_()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    vectors_BD = torch.randn(3, 6)
    moved_BD = vectors_BD + torch.tensor([5.0, 0, 0, 0, 0, 0])
    torch.testing.assert_close(network(moved_BD), network(vectors_BD))
    other_BD = vectors_BD + torch.tensor([0, 5.0, 0, 0, 0, 0])
    assert not torch.allclose(network(other_BD), network(vectors_BD))


def test_seeds_decide_weights_and_leave_the_global_state_alone() -> None:
    state = torch.get_rng_state()
    same = [build_network(PAPER, seed=3).state_dict() for _ in range(2)]
    assert torch.equal(state, torch.get_rng_state())
    other = build_network(PAPER, seed=4).state_dict()
    assert all(torch.equal(same[0][name], same[1][name]) for name in same[0])
    assert not torch.equal(same[0]["first.weight"], other["first.weight"])


def test_dropout_is_drawn_by_the_generator_and_keeps_the_mean() -> None:
    dropout = SeededDropout(0.25)
    ones_BH = torch.ones(400, 100)
    first, second = (dropout(ones_BH, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, second)
    assert float(first.mean()) == pytest.approx(1, abs=0.02)
    assert float((first == 0).float().mean()) == pytest.approx(0.25, abs=0.02)
    assert torch.equal(dropout.eval()(ones_BH, None), ones_BH)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(TrainingError, match="network 'deep' is unknown: choose one of residual"):
        dataclasses.replace(PAPER, network="deep")  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="hidden 0 is too narrow"):
        dataclasses.replace(PAPER, hidden=0)
