"""LoRA by PEFT on any part of a reasoner: put in place, kept frozen around, merged for a release.

The settings live in the model's configuration (`lora`), so that a checkpoint with adapters loads and resumes as it was; merging clears them.
"""

import re

from torch import nn


def part_modules(model: nn.Module, part: str) -> str:
    """The module path of a part: `llm`, `image`, `image.encoder`, `audio.projector` …; a name that is no part is a `ValueError`."""
    path = part if part == "llm" else f"streams.{part}"
    known = ["llm", *(f"{stream}{end}" for stream in model.streams for end in ("", ".encoder", ".projector"))]
    if part not in known:
        raise ValueError(f"lora: no part is called {part!r} (parts: {', '.join(known)})")
    return path


def add_lora(model: nn.Module, settings: dict) -> list[str]:
    """Put adapters on the linear layers of `settings["parts"]` whose names end with one of `settings["targets"]`; returns the names of the layers.

    settings: rank, alpha, dropout, targets, parts. Everything else in these parts is frozen; other parts stay as they are. Adapters start at zero:
    the model computes what it did. A target that matches no layer of a part, or the head and embeddings (their weight is read directly), is a
    `ValueError`.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ValueError("lora needs the package peft: pip install peft") from error
    if banned := sorted({"lm_head", "embed_tokens"} & set(settings["targets"])):
        raise ValueError(f"lora: {banned[0]} cannot be a target (its weight is read directly by the chunked loss)")
    chosen = []
    for part in settings["parts"]:
        prefix = part_modules(model, part) + "."
        for target in settings["targets"]:
            found = [n for n, m in model.named_modules() if n.startswith(prefix) and n.endswith("." + target) and isinstance(m, nn.Linear)]
            if not found:
                raise ValueError(f"lora: part {part!r} has no linear layer {target!r}")
            for name in found:
                if isinstance(model.get_submodule(name.rpartition(".")[0]), nn.MultiheadAttention):  # it reads the weight, and never calls the layer
                    raise ValueError(f"lora: {target!r} of part {part!r} is inside torch's MultiheadAttention, which an adapter does not reach")
            chosen += found
    learns = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    pattern = "|".join(re.escape(name) for name in chosen)
    config = LoraConfig(r=settings["rank"], lora_alpha=settings["alpha"], lora_dropout=settings["dropout"], target_modules=f"({pattern})")
    inject_adapter_in_model(config, model)
    # PEFT freezes the whole model; only the parts with adapters are meant.
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name or learns.get(name.replace(".base_layer.", "."), True))
    model.config.lora = dict(settings)
    freeze_base(model)
    return chosen


def freeze_base(model: nn.Module) -> None:
    """Switch gradients off for everything but the adapters in the parts that have them; does nothing without LoRA."""
    settings = getattr(model.config, "lora", None)
    for part in settings["parts"] if settings else ():
        prefix = part_modules(model, part) + "."
        for name, parameter in model.named_parameters():
            if name.startswith(prefix):
                parameter.requires_grad_("lora_" in name)


def merge_lora(model: nn.Module) -> nn.Module:
    """Add the adapters to their layers and take them out, in place: plain layers, plain names, no need of PEFT. Returns the model."""
    if getattr(model.config, "lora", None) is None:
        return model
    try:
        from peft.tuners.tuners_utils import BaseTunerLayer
    except ImportError as error:
        raise ValueError("lora needs the package peft: pip install peft") from error

    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())
    model.config.lora = None
    for part in ("peft_config", "_hf_peft_config_loaded"):
        if part in vars(model):
            delattr(model, part)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model
