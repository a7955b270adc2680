"""`--dry-run`: what a recipe would do, without doing it: the resolved recipe, sizes per part, tokens per sample, a memory estimate."""

from typing import Any

from configs.load import to_yaml
from configs.registry import SINKS, STAGES
from configs.schema import Recipe
from data.stream import Mixture
from training.sources import build_source

SAMPLES = 8  # items per source that token counts are taken from
KEPT = 68  # bytes that a layer keeps per token and unit of width for the backward pass (float32, attention by SDPA)


def describe(recipe: Recipe) -> str:
    """A page of text. Model, stages and sources are built, so an impossible recipe (odd heads, a missing folder, an unknown reward) fails here as it
    would in the run. Items whose media are bad are counted."""
    from training.build import build_reasoner
    from training.optimizers import part_of

    stages = [STAGES.get(config.kind)(config) for config in recipe.stages]
    for sink in recipe.sinks:
        SINKS.get(sink)
    model, processor = build_reasoner(recipe)
    parts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        parts[part_of(name)] = parts.get(part_of(name), 0) + parameter.numel()
    total = sum(parts.values())
    lines = [to_yaml(recipe).rstrip(), "", "parameters"]
    lines += [f"  {part:<20} {count:>12,}" for part, count in sorted(parts.items())] + [f"  {'total':<20} {total:>12,}", ""]
    for config, stage in zip(recipe.stages, stages, strict=True):
        frozen = stage.frozen(model) if hasattr(stage, "frozen") else getattr(config, "freeze", [])
        lines += _stage(recipe, config, frozen, model, processor)
    return "\n".join(lines)


def _stage(recipe: Recipe, stage: Any, frozen: list[str], model: Any, processor: Any) -> list[str]:
    lines = [f"stage {stage.name} ({stage.kind}): {getattr(stage, 'steps', '-')} steps"]
    mixture = getattr(stage, "mixture", {})
    if not mixture:
        return [*lines, ""]
    sources = {name: build_source(recipe, name, "dry-run") for name in mixture}
    Mixture(sources, mixture, recipe.seed)  # weights that no run could use end it here too
    longest = 0
    for name, source in sources.items():
        counts, bad = _counts(recipe, source, processor)
        if counts:
            prompt, completion = (sum(column) / len(counts) for column in zip(*counts, strict=True))
            lines.append(f"  {name:<18} prompt {prompt:6.0f} tokens (media included), completion {completion:5.0f}")
            longest = max(longest, *(p + c for p, c in counts))
        lines += [f"  {name:<18} {failed} of {SAMPLES} items cannot be used, the first: {why}" for failed, why in bad]
    return [*lines, _memory(model, frozen, longest * stage.batch_size), ""]


def _counts(recipe: Recipe, source: Any, processor: Any) -> tuple[list[tuple[int, int]], list[tuple[int, str]]]:
    """(prompt, completion) tokens of some items; and of those that fail the number and the first reason, or nothing."""
    counts, reasons = [], []
    for number in range(SAMPLES):
        try:
            counts.append(_lengths(recipe, source.item(number), processor))
        except ValueError as error:
            reasons.append(str(error))
    return counts, [(len(reasons), reasons[0])] if reasons else []


def _memory(model: Any, frozen: list[str], tokens: int) -> str:
    """An estimate: weights, for what learns gradients and two moments, and what the layers keep of a batch of so many tokens."""
    from training.optimizers import matches, part_of

    everything = sum(p.numel() for p in model.parameters())
    learned = sum(p.numel() for n, p in model.named_parameters() if p.requires_grad and not any(matches(part_of(n), f) for f in frozen))
    config = model.config.llm_config()
    state = 4 * everything + 12 * learned
    activations = tokens * config.hidden_size * config.num_hidden_layers * KEPT
    return f"  memory about {(state + activations) / 2**20:,.0f} MiB: {state / 2**20:,.0f} for weights and optimiser, the rest for a batch"


def _lengths(recipe: Recipe, sample: Any, processor: Any) -> tuple[int, int]:
    """(prompt, completion) tokens of an item."""
    from data import protocol

    chat = protocol.messages(sample.record, recipe.protocol.instruction)
    text = processor.tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    row = processor.encode(text, sample.media, protocol.completion(sample.record, answer_with=recipe.protocol.answer_with) + protocol.END)
    return len(row.prompt), len(row.completion)
