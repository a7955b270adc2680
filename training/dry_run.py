"""`--dry-run`: what a recipe would do, without doing it: the resolved recipe, sizes per part, tokens per sample, a memory estimate."""

from typing import Any

from configs.load import to_yaml
from configs.schema import Recipe

SAMPLES = 8  # items per source that token counts are taken from


def describe(recipe: Recipe) -> str:
    """A page of text. The model is built, so an impossible recipe (odd heads, a missing folder) fails here as it would in the run."""
    from training.build import build_reasoner
    from training.optimizers import part_of

    model, processor = build_reasoner(recipe)
    parts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        parts[part_of(name)] = parts.get(part_of(name), 0) + parameter.numel()
    total = sum(parts.values())
    lines = [to_yaml(recipe).rstrip(), "", "parameters"]
    lines += [f"  {part:<20} {count:>12,}" for part, count in sorted(parts.items())] + [f"  {'total':<20} {total:>12,}", ""]
    for stage in recipe.stages:
        lines += _stage(recipe, stage, model, processor, total)
    return "\n".join(lines)


def _stage(recipe: Recipe, stage: Any, model: Any, processor: Any, parameters: int) -> list[str]:
    lines = [f"stage {stage.name} ({stage.kind}): {getattr(stage, 'steps', '-')} steps"]
    lengths = []
    for name in getattr(stage, "mixture", {}):
        counts = [_lengths(recipe, name, i, processor) for i in range(SAMPLES)]
        lengths += [p + c for p, c in counts]
        prompt, completion = (sum(column) / SAMPLES for column in zip(*counts, strict=True))
        lines.append(f"  {name:<18} prompt {prompt:6.0f} tokens (media included), completion {completion:5.0f}")
    if lengths:
        width, layers = model.config.llm_config().hidden_size, model.config.llm_config().num_hidden_layers
        # Bytes that a layer keeps per token and unit of width for the backward pass (float32, attention by SDPA).
        activations = max(lengths) * stage.batch_size * width * layers * 68
        state = parameters * (4 + 4 + 8)  # weights, gradients, two moments
        lines.append(f"  memory about {(state + activations) / 2**20:,.0f} MiB: {state / 2**20:,.0f} for the weights, the rest for a batch")
    return [*lines, ""]


def _lengths(recipe: Recipe, source: str, number: int, processor: Any) -> tuple[int, int]:
    """(prompt, completion) tokens of an item."""
    from data import protocol
    from training.sources import build_source

    sample = build_source(recipe, source, "dry-run").item(number)
    chat = protocol.messages(sample.record, recipe.protocol.instruction)
    text = processor.tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    row = processor.encode(text, sample.media, protocol.completion(sample.record) + protocol.END)
    return len(row.prompt), len(row.completion)
