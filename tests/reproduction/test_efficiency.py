"""Table 4 counted on the architectures, against the paper and against counts by hand."""

import json

import pytest
import torch
from torch import nn

from taistore.encoders.open_clip.architecture import shapes_of
from taistore.reproduction.without_data.efficiency import (
    AS_PRINTED,
    COMPLETE,
    PUBLISHED,
    STORED,
    Efficiency,
    Phases,
    count_efficiency,
)
from taistore.reproduction.without_data.network_cost import Cost, full_cost, layer_cost, weights

PROMPTS = 160

# CLIP's text tower: 12 layers of width 512 on 77 tokens.
MLP = 2 * 512 * 2048
TEXT_LAYER = 4 * 512 * 512 + 4 * 512 + MLP + 2048 + 512 + 4 * 512
TEXT_WEIGHTS = 12 * TEXT_LAYER + 49408 * 512 + 77 * 512 + 2 * 512 + 512 * 1024
TEXT_PRODUCTS = 12 * (77 * (4 * 512 * 512 + MLP) + 2 * 77 * 77 * 512) + 512 * 1024

# Three hidden layers of 2,048 and a head.
ADAPTER_PRODUCTS = 1024 * 2048 + 2 * 2048 * 2048 + 2048 * 80
ADAPTER_WEIGHTS = ADAPTER_PRODUCTS + 3 * 2048 + 80


def image_by_hand() -> dict[str, int]:
    """Weights and multiply-adds of CLIP's ResNet-50, convolution by convolution."""
    convolutions = [(3, 32, 3, 112), (32, 32, 3, 112), (32, 64, 3, 112)]
    pooled = [(64, 56)]
    width = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        inner, side = 64 << stage, 56 >> stage
        for block in range(blocks):
            # The second convolution of a strided block still has the side before it.
            before = side * 2 if stage and not block else side
            convolutions += [(width, inner, 1, before), (inner, inner, 3, before)]
            convolutions += [(inner, 4 * inner, 1, side)]
            if stage and not block:
                pooled.append((inner, side))
            if not block:
                # Its shortcut has a pool in the first stage too, of 1 x 1.
                pooled.append((width, side))
                convolutions.append((width, 4 * inner, 1, side))
            width = 4 * inner
    return {
        "layer_weights": sum(i * o * k * k + 2 * o for i, o, k, _ in convolutions),
        "convolutions": sum(i * o * k * k * side * side for i, o, k, side in convolutions),
        "normalised": sum(o * side * side for _, o, _, side in convolutions),
        "pooled": sum(channels * side * side for channels, side in pooled),
    }


IMAGE = image_by_hand()
POOL_WEIGHTS = 50 * 2048 + 3 * (2048 * 2048 + 2048) + 2048 * 1024 + 1024
# open_clip reads all 50 positions of the pool and takes the first.
POOL_PRODUCTS = 50 * (3 * 2048 * 2048 + 2048 * 1024) + 2 * 50 * 50 * 2048
IMAGE_WEIGHTS = IMAGE["layer_weights"] + POOL_WEIGHTS


@pytest.fixture(scope="module")
def counted() -> Efficiency:
    return count_efficiency()


def phases(counted: Efficiency, method: str, rule: str) -> Phases:
    (row,) = (row for row in counted.rows if (row.method, row.rule) == (method, rule))
    return row.phases


def test_the_printed_figures_come_out_but_for_one(counted: Efficiency) -> None:
    assert [list(published.cells().values()) for published in PUBLISHED.values()] == [
        ["50.4M", "624G", "97.4M", "631G"],
        ["35.9M", "4.0G", "34.2M", "10.9G"],
    ]
    assert counted.deviations == ("TaI-Adapter, training FLOPs: 3.9G here, 4.0G in the paper",)
    ours = phases(counted, "TaI-DPT", AS_PRINTED)
    assert ours.cells() == PUBLISHED["TaI-DPT"].cells()


def test_as_printed_by_hand(counted: Efficiency) -> None:
    text = Cost(parameters=12 * (MLP + 2048 + 512), flops=2 * 12 * 77 * MLP)
    image = Cost(
        parameters=IMAGE["layer_weights"],
        flops=2 * (IMAGE["convolutions"] + 4 * IMAGE["normalised"] + IMAGE["pooled"]),
    )
    # Both are what thop 0.1.1 gives on open_clip's RN50: multiply-adds, weights.
    assert (text.flops // 2, text.parameters) == (1_937_768_448, 25_196_544)
    assert (image.flops // 2, image.parameters) == (5_417_929_216, 23_527_264)
    dpt = phases(counted, "TaI-DPT", AS_PRINTED)
    assert dpt.training == Cost(parameters=2 * text.parameters, flops=161 * text.flops)
    assert dpt.inference == Cost(
        parameters=2 * (text.parameters + image.parameters), flops=160 * text.flops + image.flops
    )
    adapter = Cost(parameters=ADAPTER_WEIGHTS, flops=2 * ADAPTER_PRODUCTS)
    assert adapter.parameters == 10_655_824
    ours = phases(counted, "TaI-Adapter", AS_PRINTED)
    assert ours == Phases(training=text + adapter, inference=image + adapter)


def test_complete_and_stored_by_hand(counted: Efficiency) -> None:
    text = Cost(parameters=TEXT_WEIGHTS, flops=2 * TEXT_PRODUCTS)
    image = Cost(parameters=IMAGE_WEIGHTS, flops=2 * (IMAGE["convolutions"] + POOL_PRODUCTS))
    assert text.parameters + image.parameters + 1 == 102_007_137  # with the scale of cosines
    adapter = Cost(parameters=ADAPTER_WEIGHTS, flops=2 * ADAPTER_PRODUCTS)
    contexts = Cost(parameters=2 * 16 * 512, flops=0)
    assert phases(counted, "TaI-DPT", COMPLETE) == Phases(
        training=text.times(1 + PROMPTS) + contexts,
        inference=text.times(PROMPTS) + image + contexts,
    )
    assert phases(counted, "TaI-DPT", STORED) == Phases(
        training=text.times(PROMPTS) + contexts,
        inference=image + Cost(parameters=160 * 1024, flops=0),
    )
    inference = image + adapter
    assert phases(counted, "TaI-Adapter", COMPLETE) == Phases(
        training=text + adapter, inference=inference
    )
    assert phases(counted, "TaI-Adapter", STORED) == Phases(training=adapter, inference=inference)


def test_text_and_json(counted: Efficiency) -> None:
    value = counted.to_json()
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    assert {row["rule"] for row in value["here"]} == set(value["rules"])
    assert value["here"][0]["training"] == {"parameters": 50_393_088, "flops": 623_961_440_256}
    lines = [line.split() for line in counted.text().splitlines()]
    assert ["paper:", "TaI-Adapter", "35.9M", "4.0G", "34.2M", "10.9G"] in lines
    assert ["here:", "TaI-Adapter,", "as-printed", "35.9M", "3.9G", "34.2M", "10.9G"] in lines
    assert ["here:", "TaI-Adapter,", "stored", "10.7M", "0.02G", "49.0M", "12.2G"] in lines


def test_counting_is_the_same_where_numbers_are() -> None:
    """What lies on the meta device costs what it costs on the CPU; a layer used twice counts so."""
    torch.manual_seed(0)
    layer = nn.Linear(4, 4)
    network = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.AvgPool2d(2))
    vectors, maps = torch.ones(2, 4), torch.ones(1, 4, 6, 6)
    assert full_cost(weights(layer), lambda: layer(layer(vectors))) == Cost(
        parameters=20, flops=2 * 2 * 2 * 16
    )
    assert layer_cost(layer, lambda: layer(layer(vectors))) == Cost(
        parameters=20, flops=2 * 2 * 2 * 16
    )
    assert layer_cost(network, lambda: network(maps)).flops == 2 * (36 * 4 * 2 * 9 + 9 * 4)
    assert all(not module._forward_hooks for module in (layer, *network))
    assert {p.device.type for p in shapes_of("RN50").parameters()} == {"meta"}
