"""From a recipe's `model:` to a model and its processor: from a Focal checkpoint, or from an LLM, a tokenizer and streams."""

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from configs.schema import ModelConfig, Recipe
from data import protocol
from models.registry import ENCODERS, PROJECTORS


def build_reasoner(recipe: Recipe) -> tuple[Any, Any]:
    """(model, processor), seeded by the recipe, in the recipe's parameter precision (float32: bf16 runs keep float32 weights and autocast)."""
    import torch

    torch.manual_seed(recipe.seed)
    config = recipe.model
    if config.init is not None:
        model, processor = load_checkpoint(config.init, recipe)
        return _with_lora(model, config), processor
    from models.pretrained import load_encoders, resolve_streams

    tokenizer = _tokenizer(config, recipe.weights.root)
    streams, sources = resolve_streams(stream_options(config), recipe.weights.root)
    model = _from_scratch(config, streams, tokenizer) if config.llm.config else _around_pretrained(recipe, streams, tokenizer)
    load_encoders(model, sources)
    return _with_lora(model, config), build_processor(tokenizer, model.config, recipe)


def _with_lora(model: Any, config: ModelConfig) -> Any:
    """Adapters where the recipe asks for them; those of a former run are merged first."""
    from models.lora import add_lora, merge_lora

    if config.lora is not None:
        add_lora(merge_lora(model), config.lora.model_dump())
    return model


def stream_options(config: ModelConfig) -> dict[str, dict]:
    """Streams as plain dictionaries; unknown component names are errors before anything is built."""
    options = {}
    for name, stream in config.streams.items():
        kind = re.match(r"[a-z]+", name)
        if not kind or kind.group() not in ("audio", "image", "video"):
            raise ValueError(f"model.streams: {name!r} must begin with audio, image or video")
        for registry, part in ((ENCODERS, stream.encoder), (PROJECTORS, stream.projector)):
            if "name" not in part:
                raise ValueError(f"model.streams.{name}: {registry.kind} needs a name")
            registry.get(part["name"])
        options[name] = stream.model_dump(by_alias=True)
    return options


def placeholder(stream: str) -> str:
    return protocol.PLACEHOLDERS[re.match(r"[a-z]+", stream).group()]


def load_checkpoint(folder: str, recipe: Recipe | None = None) -> tuple[Any, Any]:
    """A Focal checkpoint folder in float32, with the recipe's media settings."""
    import torch

    from models.modeling import FocalModel
    from models.processing import FocalProcessor

    if not (Path(folder) / "config.json").is_file():
        raise ValueError(f"no Focal checkpoint at {folder}: config.json is missing")
    model = FocalModel.from_pretrained(folder, dtype=torch.float32)
    processor = FocalProcessor.from_pretrained(folder)
    if recipe is not None:
        processor.media = recipe.data.media.model_dump()
    return model, processor


def build_processor(tokenizer: Any, config: Any, recipe: Recipe) -> Any:
    from models.processing import FocalProcessor

    streams = {
        name: {k: v for k, v in options.items() if k != "token_id"} | {"placeholder": placeholder(name)} for name, options in config.streams.items()
    }
    return FocalProcessor(tokenizer, streams=streams, media=recipe.data.media.model_dump())


def _tokenizer(config: ModelConfig, weights_root: str) -> Any:
    settings = config.tokenizer
    if settings.path is None:
        from training.tokenizer import build_tokenizer

        return build_tokenizer(settings.worlds or ["vision", "audio", "video"], settings.vocab_size)
    from transformers import AutoTokenizer

    tokenizer = _pretrained(AutoTokenizer.from_pretrained, "model.tokenizer.path", settings.path, weights_root)
    # Beside its own, which stay special: text of a user that holds one is broken, too.
    tokenizer.add_special_tokens({"additional_special_tokens": list(protocol.SPECIAL_TOKENS)}, replace_extra_special_tokens=False)
    if tokenizer.chat_template is None:
        tokenizer.chat_template = protocol.CHAT_TEMPLATE
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _pretrained(load: Callable[[str], Any], key: str, path: str, weights_root: str) -> Any:
    """Load from a folder under the weights root, a folder as given, or a hub id."""
    folder = Path(weights_root) / path
    try:
        return load(str(folder) if folder.is_dir() else path)
    except OSError as error:
        raise ValueError(
            f"{key}: {path!r} is no folder, neither as given nor under {weights_root!r}, and no model of the hub that can be read from here: {error}"
        ) from None


def _focal_config(config: ModelConfig, llm: dict, streams: dict[str, dict], tokenizer: Any) -> Any:
    from models.configuration import FocalConfig

    streams = {n: o | {"token_id": tokenizer.convert_tokens_to_ids(placeholder(n))} for n, o in streams.items()}
    switches = {k: getattr(config, k) for k in ("kv_scope", "kv_weights", "media_norm", "media_rope")}
    end = tokenizer.convert_tokens_to_ids(protocol.END)
    return FocalConfig(llm=llm, streams=streams, eos_token_id=end, pad_token_id=tokenizer.pad_token_id, **switches)


def _from_scratch(config: ModelConfig, streams: dict[str, dict], tokenizer: Any) -> Any:
    from models.modeling import FocalModel

    llm = dict(config.llm.config) | {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    return FocalModel(_focal_config(config, llm, streams, tokenizer))


def _around_pretrained(recipe: Recipe, streams: dict[str, dict], tokenizer: Any) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    from models.modeling import FocalModel

    config, load = recipe.model, functools.partial(AutoModelForCausalLM.from_pretrained, dtype=torch.float32)
    llm = _pretrained(load, "model.llm.path", config.llm.path, recipe.weights.root)
    if len(tokenizer) > llm.get_input_embeddings().num_embeddings:
        llm.resize_token_embeddings(len(tokenizer))
    model = FocalModel(_focal_config(config, llm.config.to_dict(), streams, tokenizer))
    model.llm.load_state_dict(llm.state_dict())
    return model
