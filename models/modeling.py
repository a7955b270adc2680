"""The reasoner: encoders, projectors and any transformers decoder-only LLM, over whose layers we own the loop.

Shape legend: B rows, T columns of the full sequence (text and placeholders), S columns present at a layer, N media, K tokens of a medium, M media
keys of a row, d LLM width, V vocabulary.
"""

import inspect
import json
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM, DynamicCache, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from .cache import Decoding, Prepended, SharedCache
from .configuration import FocalConfig
from .feature_cache import FeatureCache
from .fusion import (
    KV,
    Joined,
    Layout,
    attention_mask,
    check_rows,
    last_valid,
    layout,
    medium_columns,
    pad_rows,
    place,
    split_columns,
    spread,
    stream_parts,
)
from .logprob import cross_entropy
from .lora import add_lora, freeze_base
from .media_keys import MediaKeys
from .pretrained import restore_buffers
from .registry import ENCODERS, PROJECTORS

# Families whose layers run through the one loop below (each is a parametrised test against its own inputs_embeds path).
SUPPORTED = (
    "llama", "qwen2", "qwen3", "mistral", "smollm3", "olmo2", "phi3", "starcoder2", "stablelm", "glm4", "helium", "seed_oss", "arcee", "ernie4_5",
)  # fmt: skip


class MediaStream(nn.Module):
    """One encoder, its projector and how its tokens join."""

    def __init__(self, name: str, options: dict, hidden: int):
        super().__init__()
        encoder_config, projector_config, self.joins = stream_parts(options)
        self.name, self.token_id = name, options["token_id"]
        self.encoder = ENCODERS.get(options["encoder"]["name"])(encoder_config)
        projector_name = (options.get("projector") or {"name": "mlp"})["name"]
        self.projector = PROJECTORS.get(projector_name)(projector_config, self.encoder.width, hidden)
        self.feature_cache = FeatureCache()

    def train(self, mode: bool = True):
        """A frozen encoder stays in evaluation mode: no dropout, no running statistics."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    @property
    def frozen(self) -> bool:
        return not any(p.requires_grad for p in self.encoder.parameters())

    def forward(self, features: Tensor | None, lengths: Tensor | None = None, encoded: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """features of N media, or what the encoder once made of them (encoded [N, K, width], then lengths count its tokens) -> (tokens [N, K, d],
        counts)."""
        if encoded is None:
            learning = self.encoder.training or (torch.is_grad_enabled() and not self.frozen)
            if getattr(self.encoder, "keeps_features", False) and not learning:
                return self.projector(*self.feature_cache.encode(self.encoder, features, lengths))
            return self.projector(*self.encoder(features, lengths))
        full = torch.full((len(encoded),), encoded.shape[1], device=encoded.device)
        return self.projector(encoded.to(next(self.projector.parameters()).dtype), full if lengths is None else lengths)


class FocalModel(PreTrainedModel, GenerationMixin):
    """A multimodal reasoner. Media come as `<stream>_features` [N, …], `<stream>_rows` [N] (ascending) and, where ragged,
    `<stream>_lengths` [N]; features of a frozen encoder may come ready as `<stream>_encoded` [N, K, width]."""

    config_class = FocalConfig
    base_model_prefix = "focal"
    main_input_name = "input_ids"
    _supports_sdpa = True
    supports_gradient_checkpointing = True
    _tied_weights_keys = {"llm.lm_head.weight": "llm.model.embed_tokens.weight"}

    def __init__(self, config: FocalConfig):
        super().__init__(config)
        llm_config = config.llm_config()
        if llm_config.model_type not in SUPPORTED:
            raise ValueError(f"LLM family {llm_config.model_type!r} is not supported (supported: {', '.join(SUPPORTED)})")
        heads, shared = llm_config.num_attention_heads, getattr(llm_config, "num_key_value_heads", None) or llm_config.num_attention_heads
        if heads % shared:
            raise ValueError(f"LLM: num_attention_heads {heads} is not a multiple of num_key_value_heads {shared}")
        llm_config._attn_implementation = "sdpa"  # takes our boolean masks, as flash-attn does not; docs/architecture.md, "Attention"
        self.llm = AutoModelForCausalLM.from_config(llm_config)
        hidden = llm_config.hidden_size
        self.streams = nn.ModuleDict({name: MediaStream(name, options, hidden) for name, options in config.streams.items()})
        self.media_keys = MediaKeys(config, self.llm.model, {n: s.joins for n, s in self.streams.items()})
        names = inspect.signature(self.llm.model.layers[0].forward).parameters
        self.cache_argument = "cache" if "cache" in names else "past_key_values"  # renamed within transformers 5
        self.checkpoint_layers = False
        # A placeholder stands for media and is never said.
        self.never_said = sorted({stream.token_id for stream in self.streams.values()})
        if config.lora is not None:
            add_lora(self, config.lora)
        self.post_init()
        if self.never_said:
            self.generation_config.suppress_tokens = self.never_said

    def _init_weights(self, module: nn.Module) -> None:
        """Our modules keep torch's initialisation; the LLM's are initialised by its own class."""

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: dict | None = None) -> None:
        """transformers' own switch drops kv media (it removes the cache object from the layer call), so we checkpoint around our layer calls."""
        self.checkpoint_layers = True

    def gradient_checkpointing_disable(self) -> None:
        self.checkpoint_layers = False

    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        """As transformers loads; what LoRA keeps frozen is frozen again, and tables that no file holds are made anew."""
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        restore_buffers(model)
        freeze_base(model)
        return loaded

    def save_pretrained(self, save_directory, *args, **kwargs) -> None:
        """As transformers saves, with our code beside the weights; whether all of it can travel, `releasable.check_releasable` says."""
        super().save_pretrained(save_directory, *args, **kwargs)
        # register_for_auto_class knows one class name per model; transformers has two for ours.
        path = Path(save_directory) / "config.json"
        stored = json.loads(path.read_text())
        if "AutoModelForCausalLM" in stored.get("auto_map", {}):
            stored["auto_map"]["AutoModelForMultimodalLM"] = stored["auto_map"]["AutoModelForCausalLM"]
            path.write_text(json.dumps(stored, indent=2, sort_keys=True) + "\n")

    def get_input_embeddings(self) -> nn.Module:
        return self.llm.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.llm.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.llm.get_output_embeddings()

    def set_output_embeddings(self, value: nn.Module) -> None:
        self.llm.set_output_embeddings(value)

    def _check_window(self, length: int) -> None:
        """Our masks know no sliding window: up to its length it has no effect, beyond it the model would silently be another."""
        config = self.llm.config
        sliding = "sliding_attention" in (getattr(config, "layer_types", None) or ["sliding_attention"])
        window = getattr(config, "sliding_window", None)
        if window and sliding and length > window:
            raise ValueError(f"{length} tokens exceed the sliding window of {window} of this {config.model_type}, which is not supported")

    @property
    def head(self) -> Tensor:
        """The weight [V, d] that turns hidden states into logits."""
        return self.llm.lm_head.weight

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states [..., d] -> logits [..., V], as the family's head makes them."""
        return self.llm.lm_head(hidden)

    def encode_media(self, media: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Tokens [N, K, d] and counts [N] of each stream that has media in the batch. A GRPO step calls this once per prompt and passes the result on
        as `encoded`."""
        encoded = {}
        for name, stream in self.streams.items():
            features, stored = media.get(f"{name}_features"), media.get(f"{name}_encoded")
            if (features is not None and len(features)) or (stored is not None and len(stored)):
                encoded[name] = stream(features, media.get(f"{name}_lengths"), stored)
        return encoded

    def _media(self, inputs: dict) -> dict[str, Tensor]:
        """The inputs that belong to media streams."""
        return {k: v for k, v in inputs.items() if k.rpartition("_")[0] in self.streams}

    def join_media(self, input_ids: Tensor, encoded: dict[str, tuple[Tensor, Tensor]], media: dict[str, Tensor]) -> list[Joined]:
        """The media tokens of a batch at their places in the sequence; placeholders that do not match their media are a `ValueError` naming the
        row."""
        joined: list[Joined] = []
        for token_id in sorted({stream.token_id for stream in self.streams.values()}):
            sharing = [name for name, stream in self.streams.items() if stream.token_id == token_id]
            columns = (input_ids == token_id).nonzero()
            present = [name for name in sharing if name in encoded]
            if not present:
                if len(columns):
                    raise ValueError(f"row {int(columns[0, 0])} holds placeholders of {sharing[0]!r} but the batch holds no such media")
                continue
            taken = [medium_columns(self.streams[name].joins, encoded[name][1]) for name in present]
            check_rows(" + ".join(present), torch.stack(taken).sum(0), media[f"{present[0]}_rows"], columns, len(input_ids))
            for name, mine in zip(present, split_columns(columns, taken), strict=True):
                joined += place(self.streams[name].joins, *encoded[name], mine, name)
        return joined

    def hidden_states(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        encoded: dict[str, tuple[Tensor, Tensor]] | None = None,
        cache: DynamicCache | None = None,
        **media: Tensor,
    ) -> Tensor:
        """Last hidden states [B, T, d] before the head, in the layout of `input_ids` [B, T] (zeros at padding and at placeholders that never
        join)."""
        encoded = self.encode_media(media) if encoded is None else encoded
        joined = self.join_media(input_ids, encoded, media)
        self._check_window(input_ids.shape[1])
        embeds = self.llm.get_input_embeddings()(input_ids)
        valid = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        return self._run(embeds, valid, joined, cache)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        past_key_values: DynamicCache | None = None,
        cache: DynamicCache | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs,
    ) -> CausalLMOutputWithPast:
        """Loss (mean over labels that are not -100, or their sum over `num_items_in_batch`) or logits [B, T, V]; with a cache, one decoding step."""
        cache = past_key_values if cache is None else cache
        if use_cache and cache is None:
            cache = DynamicCache()
        media = self._media(kwargs)
        if cache is not None and hasattr(cache, "decoding"):
            hidden = self.decode(input_ids, cache)
        else:
            hidden = self.hidden_states(input_ids, attention_mask, kwargs.get("encoded"), cache, **media)
        loss = logits = None
        if labels is not None:
            keep = labels[:, 1:] != -100
            total = cross_entropy(hidden[:, :-1][keep], self.head, labels[:, 1:][keep])
            loss = total / (keep.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch)
        else:
            logits = self.logits(hidden[:, -logits_to_keep:] if logits_to_keep else hidden)
        return CausalLMOutputWithPast(loss=loss, logits=logits, **{self.cache_argument: cache})

    def prepare_inputs_for_generation(self, input_ids, past_key_values=None, cache=None, **kwargs):
        """Media go in with the prompt only; later steps carry the last token."""
        cache = past_key_values if cache is None else cache
        if cache is not None and hasattr(cache, "decoding"):
            return {"input_ids": input_ids[:, -1:], "past_key_values": cache, "use_cache": True, "logits_to_keep": 1}
        media = self._media(kwargs)
        mask = kwargs.get("attention_mask")
        return {"input_ids": input_ids, "attention_mask": mask, "past_key_values": cache, "use_cache": True, "logits_to_keep": 1, **media}

    def _run(self, embeds: Tensor, valid: Tensor, joined: list[Joined], cache: DynamicCache | None) -> Tensor:
        """The loop over the layers; see `fusion.py` for what is present where."""
        model, full = self.llm.model, embeds
        positions = self._positions(valid, joined)
        present = valid.clone()
        for part in joined:
            present[part.rows, part.cols] = False
        kv_parts = [p for p in joined if p.join.form == "kv"]
        keys: dict[tuple, tuple] = {}
        decoding = Decoding(positions.gather(1, last_valid(valid))[:, 0] + 1, [], [])
        lay = hidden = rotary = None
        previous = object()
        for index, layer in enumerate(model.layers):
            arriving = [p for p in joined if p.join.form == "residual" and p.join.layers == index]
            if lay is None or arriving:
                full = full if lay is None else spread(hidden, lay, full)
                for part in arriving:
                    full = full.index_put((part.rows, part.cols), part.embeds.to(full.dtype))
                    present[part.rows, part.cols] = True
                lay = layout(present)
                hidden = full if lay.whole else full.gather(1, lay.cols[..., None].expand(-1, -1, full.shape[-1]))
                rotary = model.rotary_emb(hidden, positions.gather(1, lay.cols))
                keys, previous = {}, object()
            active = tuple(i for i, p in enumerate(kv_parts) if p.join.active(index))
            if active not in keys:
                keys[active] = self._media_columns([kv_parts[i] for i in active], lay)
            places, media, mask = keys[active]
            kv = self.media_keys(index, [kv_parts[i] for i in active], places, media, positions, hidden) if active else None
            hidden = self._layer(layer, index, hidden, mask, rotary, positions.gather(1, lay.cols), kv, cache)
            if previous != (id(lay), active):
                previous = (id(lay), active)
                ok = lay.ok if media is None else torch.cat([media.ok, lay.ok], 1)
                decoding.key_ok.append(None if bool(ok.all()) else ok)
            decoding.stretch.append(len(decoding.key_ok) - 1)
        if cache is not None:
            cache.decoding = decoding
        hidden = model.norm(hidden)
        return hidden if lay.whole else spread(hidden, lay, torch.zeros_like(full))

    def _media_columns(self, parts: list[Joined], lay: Layout) -> tuple[Tensor | None, KV | None, Tensor | None]:
        """(place of each kv token in its row, padded columns, mask) of a stretch of layers with these kv joins."""
        if not parts:
            return None, None, attention_mask(lay, None, self.config.kv_scope)
        rows, cols = torch.cat([p.rows for p in parts]), torch.cat([p.cols for p in parts])
        order = torch.argsort(rows, stable=True)
        ordered, media = pad_rows(rows[order], cols[order], len(lay.cols))
        places = torch.empty_like(ordered)
        places[order] = ordered
        return places, media, attention_mask(lay, media, self.config.kv_scope)

    def _positions(self, valid: Tensor, joined: list[Joined]) -> Tensor:
        """Position ids [B, T]: placeholders reserve theirs from layer 0 in every mode, unless `media_rope` is `none`."""
        counted = valid
        if self.config.media_rope == "none" and joined:
            counted = valid.clone()
            for part in joined:
                counted[part.rows, part.cols] = False
        return (counted.long().cumsum(1) - 1).clamp(min=0)

    def _layer(self, layer, index, hidden, mask, rotary, positions, kv, cache) -> Tensor:
        store = cache
        if kv is not None and cache is not None:
            cache.update(*kv, index)
        elif kv is not None:
            store = Prepended(*kv)

        def call(h: Tensor) -> Tensor:
            options = {self.cache_argument: store, "use_cache": store is not None}
            return layer(h, attention_mask=mask, position_embeddings=rotary, position_ids=positions, **options)

        if self.checkpoint_layers and self.training and cache is None:
            return checkpoint(call, hidden, use_reentrant=False)
        return call(hidden)

    def decode(self, input_ids: Tensor, cache: DynamicCache | SharedCache) -> Tensor:
        """Hidden states [B, q, d] of q new text tokens per row behind a prefilled cache."""
        model, state = self.llm.model, cache.decoding
        q = input_ids.shape[1]
        self._check_window(cache.get_seq_length() + q)
        hidden = self.llm.get_input_embeddings()(input_ids)
        positions, masks = state.step(q, cache)
        options = {self.cache_argument: cache, "use_cache": True}
        rotary = model.rotary_emb(hidden, positions)
        with state.attention(self.llm.config):
            for layer, mask in zip(model.layers, masks, strict=True):
                hidden = layer(hidden, attention_mask=mask, position_embeddings=rotary, position_ids=positions, **options)
        state.advance(q)
        return model.norm(hidden)

    def _validate_model_kwargs(self, model_kwargs: dict) -> None:
        """Media come under names that no signature lists; everything else is checked as ever."""
        super()._validate_model_kwargs({k: v for k, v in model_kwargs.items() if k not in self._media(model_kwargs)})

    @staticmethod
    def take_rows(cache: DynamicCache, rows: Tensor) -> None:
        """Keep the given rows [R] of a prefilled cache, in this order: drops finished rows, or repeats a prompt for its samples.

        By `index_select`: behind `keys[rows]` the threads of a CPU add the gradients of a repeated row in the order in which they arrive, so that
        two runs differ in the last bit, and slowly.
        """
        for layer in cache.layers:
            if layer.get_seq_length() > 0:
                layer.keys, layer.values = layer.keys.index_select(0, rows), layer.values.index_select(0, rows)
        cache.decoding.take(rows)

    def _expand_inputs_for_generation(self, expand_size=1, is_encoder_decoder=False, input_ids=None, **kwargs):
        """Each row's media follow its copies, in ascending order of rows."""
        if expand_size == 1:
            return input_ids, kwargs
        for name in self.streams:
            rows = kwargs.get(f"{name}_rows")
            if rows is None:
                continue
            owners = range(len(input_ids))
            order = torch.cat([(rows == row).nonzero()[:, 0] for row in owners for _ in range(expand_size)])
            counts = torch.bincount(rows, minlength=len(input_ids)).repeat_interleave(expand_size)
            kwargs[f"{name}_rows"] = torch.arange(len(counts), device=rows.device).repeat_interleave(counts)
            for key in (f"{name}_features", f"{name}_lengths", f"{name}_encoded"):
                if kwargs.get(key) is not None:
                    kwargs[key] = kwargs[key][order]
        if kwargs.get("attention_mask") is not None:
            kwargs["attention_mask"] = kwargs["attention_mask"].repeat_interleave(expand_size, 0)
        return input_ids.repeat_interleave(expand_size, 0), kwargs


FocalConfig.register_for_auto_class()
FocalModel.register_for_auto_class("AutoModelForCausalLM")
if __package__ == "models":
    AutoModelForCausalLM.register(FocalConfig, FocalModel, exist_ok=True)
