"""A transformer block of CLIP's towers that computes what is read, and adds up in float32.

The weights are open_clip's. Three things differ from its own block, none of them the function:

- Queries, keys and values are one product.
- In bf16 the sum that runs through the blocks stays in float32. A bf16 sum loses eight bits at each
  of its two dozen additions, which turned vectors more than all products together.
- A tower that is read at one token need not compute the others in its last block (:meth:`read`).

Shapes: B batch, T tokens, C width of the tower, A heads of E = C / A channels.
"""

from typing import Any

import torch
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from taistore.encoders.open_clip.one_query import Projections, attend


class TowerBlock(nn.Module):
    """``block`` on the same weights; ``first_only``: the output of the first token alone."""

    def __init__(self, block: Any, *, first_only: bool = False) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = block.ln_1, block.ln_2
        self.attn, self.mlp = block.attn, block.mlp
        self.ls_1, self.ls_2 = block.ls_1, block.ls_2
        self.first_only = first_only

    def forward(self, x_BTC: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """[B, T, C] to [B, T, C], or [B, 1, C] where only the first is wanted."""
        if self.first_only:
            return self.read(x_BTC, 0)[:, None]
        x_BTC = self._sum(x_BTC)
        batch, tokens, width = x_BTC.shape
        attention = self.attn
        qkv = F.linear(self._cast(self.ln_1(x_BTC)), *self._in_projection())
        q_BATE, k_BATE, v_BATE = qkv.view(batch, tokens, 3, attention.num_heads, -1).permute(
            2, 0, 3, 1, 4
        )
        mask = None if attn_mask is None else attn_mask.to(qkv.dtype)
        if mask is not None and mask.ndim == 3:  # of each row and head, [B * A, T, T]
            mask = mask.view(batch, -1, tokens, tokens)
        mixed_BATE = F.scaled_dot_product_attention(q_BATE, k_BATE, v_BATE, attn_mask=mask)
        mixed_BTC = mixed_BATE.transpose(1, 2).reshape(batch, tokens, width)
        return self._rest(x_BTC, mixed_BTC)

    def read(self, x_BTC: Tensor, at_B: Tensor | int, *, shown_BT: Tensor | None = None) -> Tensor:
        """The output at one token of each row, [B, C]; those that are not shown it does not see."""
        x_BTC = self._sum(x_BTC)
        normed_BTC = self._cast(self.ln_1(x_BTC))
        rows_B = torch.arange(len(x_BTC), device=x_BTC.device)
        weight, bias = self._in_projection()
        query, key, value = weight.chunk(3)
        query_bias, _, value_bias = bias.chunk(3)
        mixed_BC = attend(
            normed_BTC[rows_B, at_B],
            normed_BTC,
            Projections(query, query_bias, key, value, value_bias),
            heads=self.attn.num_heads,
            shown_BT=shown_BT,
        )
        return self._rest(x_BTC[rows_B, at_B], mixed_BC)

    def get_weight_dtype(self) -> torch.dtype:
        """The number format of the products, which open_clip asks for."""
        dtype: torch.dtype = self.attn.in_proj_weight.dtype
        return dtype

    def _rest(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + self.ls_1(self.attn.out_proj(mixed))
        read: Tensor = x + self.ls_2(self.mlp(self._cast(self.ln_2(x))))
        return read

    def _in_projection(self) -> tuple[Tensor, Tensor]:
        return self.attn.in_proj_weight, self.attn.in_proj_bias

    def _cast(self, x: Tensor) -> Tensor:
        return x.to(self.get_weight_dtype())

    def _sum(self, x: Tensor) -> Tensor:
        return x.float() if self.get_weight_dtype() == torch.bfloat16 else x


def use_tower_blocks(built: Any) -> None:
    """Put :class:`TowerBlock` in the place of open_clip's plain blocks, in both towers of a model.

    Variants of the block, towers with poolers of their own and those of other libraries stay.
    """
    visual = built.visual
    if isinstance(visual, VisionTransformer) and visual.attn_pool is None:
        _exchange(visual.transformer)
        last = visual.transformer.resblocks[-1]
        if isinstance(last, TowerBlock) and not visual.output_tokens:
            last.first_only = visual.pool_type == "tok"
    text = getattr(built, "text", built)
    if hasattr(text, "transformer") and hasattr(text.transformer, "resblocks"):
        _exchange(text.transformer)


def keep_end_in_float32(built: Any) -> None:
    """Once a model is in bf16: projections behind a float32 sum are float32, and cost nothing."""
    visual, text = built.visual, getattr(built, "text", built)
    if _sums_in_float32(visual) and visual.proj is not None:
        _to_float32(visual.proj)
    if _sums_in_float32(text) and text.text_projection is not None:
        _to_float32(text.text_projection)


def _to_float32(projection: nn.Linear | nn.Parameter) -> None:
    if isinstance(projection, nn.Linear):
        projection.float()
    else:
        projection.data = projection.data.float()


def _sums_in_float32(tower: Any) -> bool:
    last = getattr(getattr(tower, "transformer", None), "resblocks", [None])[-1]
    return isinstance(last, TowerBlock) and last.get_weight_dtype() == torch.bfloat16


def _exchange(transformer: Any) -> None:
    blocks = transformer.resblocks
    if transformer.batch_first and all(_is_plain(block) for block in blocks):
        for place, block in enumerate(blocks):
            blocks[place] = TowerBlock(block)


def _is_plain(block: Any) -> bool:
    return (
        type(block) is ResidualAttentionBlock
        and not hasattr(block, "ln_1_kv")
        and block.attn.in_proj_weight is not None
        and block.attn.in_proj_bias is not None
    )
