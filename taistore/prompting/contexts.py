"""The learnt context of a prompt learner, and the label vectors that a text tower makes of it.

T2I-PAL learns prototypes beside them, which go through no tower.

Shapes: N labels, M context tokens, W width of the tower, D embedding dimension.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from taistore.encoders.prompt_tower import Prompts, PromptTower
from taistore.errors import TrainingError
from taistore.prompting.prompt_config import PromptConfig
from taistore.prompting.prompt_scores import Logits, prototype_roles, roles

DEVIATION = 0.02
"""Of the first contexts: drawn from N(0, 0.02²), as all prompt learners here do."""

LABELS_AT_ONCE = 256
"""Labels whose way through the tower is held for the gradient; of more it is walked again."""


class Contexts(nn.Module):
    """M learnt tokens for each role, one for all labels [M, W] or one each [N, M, W].

    DualCoOp as TaI-DPT trains it learns its two temperatures too, by their logarithms. T2I-PAL's
    prototypes begin as the labels' unit prompt vectors, ``prompts_ND``.
    """

    def __init__(
        self,
        config: PromptConfig,
        tower: PromptTower,
        *,
        prompts_ND: Tensor,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self._config = config
        self.tokens = nn.ParameterDict(
            {
                role: nn.Parameter(first_tokens(config, tower, len(prompts_ND), generator))
                for role in roles(config.method, config.variant)
            }
        )
        self.temperatures = nn.ParameterDict()
        if config.variant == "in-tai-dpt":
            self.temperatures["temperature"] = _logarithm(config.temperature)
            self.temperatures["spatial"] = _logarithm(config.spatial)
        self.prototypes = nn.ParameterDict(
            {role: nn.Parameter(prompts_ND.clone()) for role in prototype_roles(config.prototypes)}
        )

    def temperature(self, name: str) -> float | Tensor:
        """``temperature`` or ``spatial``, as it is now."""
        learnt: Tensor | None = dict(self.temperatures).get(name)
        return float(getattr(self._config, name)) if learnt is None else learnt.exp()

    def logits(self, vectors: dict[str, Tensor]) -> Logits:
        """Scores against label vectors made of these contexts."""
        return Logits(
            self._config.method,
            self._config.variant,
            vectors,
            temperature=self.temperature("temperature"),
            spatial=self.temperature("spatial"),
            prototypes=dict(self.prototypes),
            alpha=self._config.alpha,
            beta=self._config.beta,
        )


def first_tokens(
    config: PromptConfig, tower: PromptTower, labels: int, generator: torch.Generator
) -> Tensor:
    """What a role's context begins as; TrainingError where ``context_init`` has other tokens."""
    shared_MW = torch.randn((config.context, tower.width), generator=generator) * DEVIATION
    if config.context_init:
        words = tower.prompts([config.context_init])
        bare = tower.prompts([""])
        count = int(words.counts_N[0] - bare.counts_N[0])
        if count != config.context:
            raise TrainingError(
                f"context_init {config.context_init!r:.80} has {count} tokens, and the context "
                f"{config.context}: give context={count}"
            )
        begin = words.room.start
        shared_MW = words.embeddings_NLW[0, begin : begin + count].float().cpu()
    elif config.class_specific:
        size = (labels, *shared_MW.shape)
        return torch.randn(size, generator=generator) * DEVIATION
    return shared_MW.expand(labels, -1, -1).clone() if config.class_specific else shared_MW


def _logarithm(value: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(math.log(value)))


class LabelPrompts:
    """The labels' names, tokenised behind a room for the context: what the tower is given.

    Raises :class:`TextError` where a name does not fit behind the context.
    """

    def __init__(self, tower: PromptTower, names: Sequence[str], *, context: int) -> None:
        self._tower = tower
        self._prompts = tower.prompts([f"{name}." for name in names], context=context)

    def vectors(self, contexts: Contexts) -> dict[str, Tensor]:
        """Unit label vectors [N, D] of each role, with the way back to the contexts.

        With many labels the tower's work is done again in the backward pass, block by block, so
        that memory is that of :data:`LABELS_AT_ONCE` labels.
        """
        return {role: self._of(tokens) for role, tokens in contexts.tokens.items()}

    def _of(self, tokens: Tensor) -> Tensor:
        labels = len(self._prompts.ids_NL)
        if labels <= LABELS_AT_ONCE:
            return self._encoded(tokens, self._prompts)
        blocks = []
        for low in range(0, labels, LABELS_AT_ONCE):
            chosen = torch.arange(low, min(low + LABELS_AT_ONCE, labels), device=tokens.device)
            own = tokens[chosen] if tokens.ndim == 3 else tokens
            rows = self._prompts.rows(chosen)
            blocks.append(checkpoint(self._encoded, own, rows, use_reentrant=False))
        return torch.cat(blocks)

    def _encoded(self, tokens: Tensor, prompts: Prompts) -> Tensor:
        return F.normalize(self._tower.encode(prompts.with_context(tokens), prompts), dim=-1)
