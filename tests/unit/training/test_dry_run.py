"""`--dry-run`: sizes against a count by hand, tokens against what the stage would really be fed, and no work done."""

import re

import pytest
import yaml

from configs.load import load_recipe
from training.dry_run import SAMPLES, describe

LLM = {
    "model_type": "qwen3", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "head_dim": 8, "max_position_embeddings": 512, "tie_word_embeddings": True,
}  # fmt: skip
RECIPE = {
    "name": "speck",
    "model": {
        "llm": {"config": LLM},
        "tokenizer": {"worlds": ["vision"], "vocab_size": 400},
        "streams": {"image": {"encoder": {"name": "conv", "width": 8, "depth": 1, "heads": 2, "size": 32}, "projector": {"name": "linear"}}},
    },
    "data": {"sources": {name: {"world": "vision", "level": level, "families": ["puzzle"]} for name, level in (("easy", 1), ("hard", 4))}},
    "stages": [
        {"name": "sft", "kind": "sft", "mixture": {"easy": 1, "hard": 3}, "steps": 3, "batch_size": 2},
        {"name": "align", "kind": "align", "mixture": {"easy": 1}, "steps": 2, "batch_size": 2},
    ],
}


@pytest.fixture(scope="module")
def small_tokenizer():
    from training.tokenizer import build_tokenizer

    return build_tokenizer(["vision"], 400, per_level=2)


@pytest.fixture
def recipe(tmp_path, small_tokenizer, monkeypatch):
    import training.tokenizer

    monkeypatch.setattr(training.tokenizer, "build_tokenizer", lambda *_: small_tokenizer)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "speck.yaml").write_text(yaml.safe_dump(RECIPE))
    return lambda *overrides: load_recipe(tmp_path / "speck.yaml", list(overrides))


def number(page, pattern):
    (found,) = re.findall(pattern + r"\s+([\d,]+)", page)
    return int(found.replace(",", ""))


def test_the_resolved_recipe_stands_first_and_reads_back(recipe, tmp_path):
    page = describe(recipe("stages.sft.lr=0.5"))
    (tmp_path / "again.yaml").write_text(page.partition("\nparameters\n")[0])
    assert load_recipe(tmp_path / "again.yaml") == recipe("stages.sft.lr=0.5")


def test_parameters_by_hand(recipe, small_tokenizer):
    """Embedding V d (tied); per layer q 16x16, k and v 16x8, o 16x16, q and k norms 8, MLP 3 x 16x24, two norms 16; a last norm 16. The
    projector maps 8 to 16."""
    page = describe(recipe())
    layer = 16 * 16 + 2 * 16 * 8 + 16 * 16 + 2 * 8 + 3 * 16 * 24 + 2 * 16
    assert number(page, r"  llm ") == len(small_tokenizer) * 16 + 2 * layer + 16
    assert number(page, r"  image\.projector ") == 8 * 16 + 16
    assert number(page, r"  total ") == sum(number(page, rf"  {part} ") for part in ("llm", r"image\.encoder", r"image\.projector"))


def test_tokens_are_those_of_the_items(recipe):
    """Sixteen placeholders for a picture of 32 pixels; harder items say more."""
    page = describe(recipe())
    found = re.findall(r"  (\w+) +prompt +(\d+) tokens \(media included\), completion +(\d+)", page)
    assert [name for name, _, _ in found] == ["easy", "hard", "easy"]
    (_, prompt, completion), (_, _, longer), _ = found
    assert 16 < int(prompt) < 80 and 5 < int(completion) < int(longer)
    assert SAMPLES >= 8


def test_memory_follows_from_sizes(recipe):
    """Weights 4 bytes, gradient and two moments 12 for what learns; `align` learns the projector alone, and a larger batch takes more."""

    def estimate(*overrides):
        page = describe(recipe(*overrides)).replace(",", "")
        return [tuple(map(int, pair)) for pair in re.findall(r"memory about (\d+) MiB: (\d+) for weights", page)]

    wide = ("model.llm.config.hidden_size=256", "model.llm.config.intermediate_size=2048")
    page = describe(recipe(*wide))
    total, projector = number(page, r"  total "), number(page, r"  image\.projector ")
    (whole, state), (_, aligned) = estimate(*wide)
    assert state == round(16 * total / 2**20) and aligned == round((4 * total + 12 * projector) / 2**20)
    assert estimate(*wide, "stages.sft.batch_size=512")[0][0] > whole + 100


def test_no_work_is_done(recipe, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    describe(recipe())
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.sources.hard.level=9", "level 9"),
        ("stages.sft.mixture={easy: -1}", "at least 0"),
        ("sinks=[tb]", "unknown sink 'tb'"),
        ("model.streams.image.encoder.heads=3", "3 heads"),
    ],
)
def test_what_would_end_the_run_ends_it_too(recipe, override, message):
    with pytest.raises(ValueError, match=message):
        describe(recipe(override))
