"""Contexts: what they begin as, and the way back to them through a real tower."""

import pytest
import torch

from taistore.encoders.open_clip.encoder import load_open_clip
from taistore.encoders.prompt_tower import PromptTower, prompt_tower
from taistore.errors import TextError, TrainingError
from taistore.prompting import contexts as contexts_module
from taistore.prompting.contexts import Contexts, LabelPrompts
from taistore.prompting.prompt_config import PromptConfig
from tests.encoders import small_models

NAMES = ["red", "a green bird", "blue", "yellow car", "white"]


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> PromptTower:
    path = small_models.save("small-resnet", tmp_path_factory.mktemp("tower"))
    return prompt_tower(load_open_clip(f"open_clip:small-resnet/{path}", device="cpu"))


def contexts(tower: PromptTower, config: PromptConfig) -> Contexts:
    generator = torch.Generator().manual_seed(config.seed)
    prompts_ND = torch.eye(len(NAMES), 9)
    return Contexts(config, tower, prompts_ND=prompts_ND, generator=generator)


def test_shapes_and_seeds(tower: PromptTower) -> None:
    shared = contexts(tower, PromptConfig.of("tai-dpt", context=3))
    assert {role: tuple(t.shape) for role, t in shared.tokens.items()} == {
        "whole": (3, tower.width),
        "local": (3, tower.width),
    }
    assert not torch.equal(shared.tokens["whole"], shared.tokens["local"])
    again = contexts(tower, PromptConfig.of("tai-dpt", context=3))
    assert torch.equal(shared.tokens["whole"], again.tokens["whole"])
    other = contexts(tower, PromptConfig.of("tai-dpt", context=3, seed=1))
    assert not torch.equal(shared.tokens["whole"], other.tokens["whole"])
    specific = contexts(tower, PromptConfig.of("dualcoop", context=3))
    assert specific.tokens["positive"].shape == (len(NAMES), 3, tower.width)
    assert float(
        torch.cat([t.detach().flatten() for t in specific.tokens.values()]).std()
    ) == pytest.approx(0.02, rel=0.1)


def test_they_can_begin_as_words(tower: PromptTower) -> None:
    made = contexts(tower, PromptConfig.of("coop", shots=1, context=4, context_init="a photo of a"))
    prompts = LabelPrompts(tower, NAMES, context=4)
    plain = tower.prompts([f"a photo of a {name}." for name in NAMES])
    expected = torch.nn.functional.normalize(tower.encode(plain.embeddings_NLW, plain), dim=-1)
    assert torch.allclose(prompts.vectors(made)["whole"], expected, atol=1e-5)
    with pytest.raises(TrainingError, match="has 4 tokens, and the context 16: give context=4"):
        contexts(tower, PromptConfig.of("coop", shots=1, context_init="a photo of a"))


def test_learnt_temperatures_begin_as_published(tower: PromptTower) -> None:
    made = contexts(tower, PromptConfig.of("dualcoop", context=2)).requires_grad_(False)
    assert float(made.temperature("temperature")) == pytest.approx(49.9, rel=1e-3)
    assert float(made.temperature("spatial")) == pytest.approx(20.09, rel=1e-3)
    assert {name for name, _ in made.named_parameters()} == {
        "tokens.positive",
        "tokens.negative",
        "temperatures.temperature",
        "temperatures.spatial",
    }
    official = contexts(tower, PromptConfig.of("dualcoop", context=2, variant="official"))
    assert official.temperature("temperature") == 100.0


@pytest.mark.parametrize("method", ["tai-dpt", "dualcoop"])
def test_blocks_of_labels_have_the_values_and_gradients_of_all(
    tower: PromptTower, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PromptConfig.of(method, context=3)  # type: ignore[arg-type]
    found = []
    for at_once in (256, 2):
        monkeypatch.setattr(contexts_module, "LABELS_AT_ONCE", at_once)
        made = contexts(tower, config)
        vectors = LabelPrompts(tower, NAMES, context=3).vectors(made)
        size = next(iter(vectors.values())).shape
        weights = torch.randn(size, generator=torch.Generator().manual_seed(2))
        torch.autograd.backward(torch.stack([(v * weights).sum() for v in vectors.values()]).sum())
        found.append((vectors, {role: t.grad for role, t in made.tokens.items()}))
    (all_vectors, all_grads), (block_vectors, block_grads) = found
    for role, vectors_ND in all_vectors.items():
        assert torch.allclose(vectors_ND, block_vectors[role], atol=1e-6)
        one, other = all_grads[role], block_grads[role]
        assert one is not None
        assert other is not None
        assert one.abs().sum() > 0
        assert torch.allclose(one, other, atol=1e-5)


def test_a_name_too_long_for_its_context_is_named(tower: PromptTower) -> None:
    long = " ".join(["bird"] * 70)
    with pytest.raises(TextError, match=r"with 16 of context .*reads at most 77"):
        LabelPrompts(tower, ["red", long], context=16)


def test_nothing_of_the_tower_is_trained(tower: PromptTower) -> None:
    made = contexts(tower, PromptConfig.of("coop", shots=1, context=2))
    vectors = LabelPrompts(tower, NAMES, context=2).vectors(made)
    torch.autograd.backward(vectors["whole"].sum())
    own = {id(parameter) for parameter in made.parameters()}
    seen = [vectors["whole"].grad_fn]
    leaves = set()
    while seen:
        node = seen.pop()
        if node is None:
            continue
        variable = getattr(node, "variable", None)
        if variable is not None:
            leaves.add(id(variable))
        seen += [following for following, _ in node.next_functions]
    assert leaves == own
