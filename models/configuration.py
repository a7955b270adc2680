"""The configuration of a reasoner: an LLM, its media streams, and how they meet."""

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig
from transformers.configuration_utils import PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim")


class FocalConfig(PretrainedConfig):
    """llm: a transformers configuration as a dictionary (`model_type` and its sizes). streams: name -> `{encoder, projector, fusion, token_id}`,
    where token_id is the placeholder of the stream in the text.

    kv_scope: `causal` (a text row sees the media before it) or `all`. kv_weights: `shared` (the layer's own key and value projections) or `separate`.
    media_norm: `layer` (the layer's input norm), `own` or `none`, for kv joins. media_rope: `placeholder` (media have the positions of their
    placeholders) or `none` (they reserve none). lora: settings of adapters in place (`lora.add_lora`), None once merged.
    """

    model_type = "focal"

    def __init__(
        self,
        llm=None,
        streams=None,
        kv_scope="causal",
        kv_weights="shared",
        media_norm="layer",
        media_rope="placeholder",
        lora=None,
        **kwargs,
    ):
        self.llm = llm or {}
        self.streams = streams or {}
        self.lora = lora
        for key, value, known in (
            ("kv_scope", kv_scope, ("causal", "all")),
            ("kv_weights", kv_weights, ("shared", "separate")),
            ("media_norm", media_norm, ("layer", "own", "none")),
            ("media_rope", media_rope, ("placeholder", "none")),
        ):
            if value not in known:
                raise ValueError(f"{key}: {value!r} is not one of {', '.join(known)}")
            setattr(self, key, value)
        kwargs.setdefault("tie_word_embeddings", self.llm_config().tie_word_embeddings if self.llm else False)
        for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
            kwargs.setdefault(key, self.llm.get(key))
        super().__init__(**kwargs)

    def llm_config(self):
        """The LLM's own configuration object."""
        if not self.llm:
            return AutoConfig.for_model("qwen3", vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1)
        options = {k: v for k, v in self.llm.items() if k not in ("model_type", "transformers_version")}
        family = self.llm.get("model_type")
        if family not in CONFIG_MAPPING_NAMES:
            raise ValueError(f"LLM: model_type {family!r} is no family that transformers knows")
        if wrong := [k for k, v in options.items() if k in SIZES and (type(v) is not int or v < 1)]:
            raise ValueError(f"LLM: {wrong[0]} must be a whole number of at least 1, not {options[wrong[0]]!r}")
        try:
            config = AutoConfig.for_model(family, **options)
        except StrictDataclassError as error:  # sizes that do not go together
            raise ValueError(f"LLM: {error.__cause__ or error}") from None
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        if width % 2 and getattr(config, "rope_parameters", None):
            raise ValueError(f"LLM: heads of {width} are odd, and rotary positions need an even width: change hidden_size or num_attention_heads")
        return config

    def get_text_config(self, *args, **kwargs):
        """transformers asks for the part that describes the text model (vocabulary, heads, layers)."""
        return self.llm_config() if self.llm else self


# In this repository plain Auto classes find ours without remote code; a release's copy registers nothing.
if __package__ == "models":
    AutoConfig.register(FocalConfig.model_type, FocalConfig, exist_ok=True)
