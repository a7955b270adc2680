"""Media as keys and values of an LLM layer (`as: kv`), built as the layer builds its own: norm, projection, key norm, rotation.

Shape legend: B rows, M media keys of a row, M_all media tokens of the batch, d LLM width, H_kv key heads, h head width.
"""

import torch
from torch import Tensor, nn

from .configuration import FocalConfig
from .fusion import KV, Join, Joined

# Families whose keys are built by `_keys` below; others differ in ways that a wrong guess would hide (flat key norms, fused projections).
KV_FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "smollm3", "starcoder2", "stablelm", "helium", "seed_oss", "arcee", "ernie4_5")


class MediaKeys(nn.Module):
    """Keys and values [B, H_kv, M, h] of a layer from the media tokens that join it as kv. Holds weights only where the recipe asks for its own."""

    def __init__(self, config: FocalConfig, llm: nn.Module, joins: dict[str, list[Join]]):
        super().__init__()
        # Not a submodule: the layers belong to the LLM and must not be registered (or saved) twice.
        object.__setattr__(self, "llm", llm)
        self.settings = config
        family = config.llm_config().model_type
        kv_layers = sorted({i for parts in joins.values() for j in parts if j.form == "kv" for i in range(len(llm.layers)) if j.active(i)})
        if kv_layers and family not in KV_FAMILIES:
            raise ValueError(f"fusion as kv does not know how {family!r} builds its keys (known: {', '.join(KV_FAMILIES)})")
        for parts in joins.values():
            for j in parts:
                deepest = max(j.layers) if isinstance(j.layers, tuple) else j.layers
                if deepest > len(llm.layers) or deepest < 0:
                    raise ValueError(f"fusion: from_layer {deepest} lies outside the LLM's {len(llm.layers)} layers (that number itself means never)")
        hidden = llm.embed_tokens.embedding_dim
        own_weights = kv_layers if config.kv_weights == "separate" else []
        self.k_proj = nn.ModuleDict({str(i): nn.Linear(hidden, llm.layers[i].self_attn.k_proj.out_features) for i in own_weights})
        self.v_proj = nn.ModuleDict({str(i): nn.Linear(hidden, llm.layers[i].self_attn.v_proj.out_features) for i in own_weights})
        self.norms = nn.ModuleDict({str(i): nn.RMSNorm(hidden) for i in (kv_layers if config.media_norm == "own" else [])})

    def forward(self, index: int, parts: list[Joined], places: Tensor, media: KV, positions: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """`places` [M_all]: slot of each token within its row; `positions` [B, T] of the full sequence; `like` gives dtype and device of the
        stream."""
        rows = torch.cat([p.rows for p in parts])
        flat = torch.cat([p.embeds for p in parts]).to(like.dtype)
        x = flat.new_zeros(*media.cols.shape, flat.shape[-1]).index_put((rows, places), flat)
        layer = self.llm.layers[index]
        if self.settings.media_norm == "layer":
            x = layer.input_layernorm(x)
        elif self.settings.media_norm == "own":
            x = self.norms[str(index)](x)
        return self._keys(index, layer.self_attn, x, positions.gather(1, media.cols))

    def _keys(self, index: int, attention: nn.Module, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        separate = str(index) in self.k_proj
        k_proj, v_proj = (self.k_proj[str(index)], self.v_proj[str(index)]) if separate else (attention.k_proj, attention.v_proj)
        shape = (*x.shape[:2], -1, attention.head_dim)
        k, v = k_proj(x).view(shape), v_proj(x).view(shape).transpose(1, 2)
        if getattr(attention, "k_norm", None) is not None:
            k = attention.k_norm(k)
        k = k.transpose(1, 2)
        if self.settings.media_rope == "none" or not getattr(attention, "use_rope", True):
            return k, v
        return self._rotate(attention, k, positions, x), v

    def _rotate(self, attention: nn.Module, k: Tensor, positions: Tensor, like: Tensor) -> Tensor:
        """By the family's own function, so that interleaved and partial rotations come out as the layer's own."""
        import sys

        rotate = sys.modules[type(attention).__module__].apply_rotary_pos_emb
        cos, sin = self.llm.rotary_emb(like, positions)
        width = cos.shape[-1]
        _, rotated = rotate(k[..., :width], k[..., :width], cos, sin)
        return torch.cat([rotated, k[..., width:]], -1)
