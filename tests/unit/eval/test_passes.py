"""What the passes of an evaluation share: decoded media, encoded features, and answers to the very same question."""

from pathlib import Path

import pytest

from models.media import Media
from reasoning.policy import Asked, ModelPolicy

ROOT = Path(__file__).resolve().parents[3]
CONTROLS = ("shuffled_options", "shuffled_media", "blank_media")


@pytest.fixture
def reasoner(monkeypatch):
    """(model, processor): a tiny one, whose encoders are of those that are worth keeping features of."""
    import functools

    import training.tokenizer
    from configs.load import load_recipe
    from models.encoder_conv import ConvEncoder
    from training.build import build_reasoner

    monkeypatch.setattr(training.tokenizer, "build_tokenizer", functools.partial(training.tokenizer.build_tokenizer, per_level=2))
    monkeypatch.setattr(ConvEncoder, "keeps_features", True, raising=False)
    model, processor = build_reasoner(load_recipe(ROOT / "configs/smoke/tiny.yaml", []))
    return model.eval(), processor


def test_each_picture_is_encoded_once_for_all_passes(reasoner, pictures, tmp_path):
    from eval.run import evaluate

    model, processor = reasoner
    row = evaluate(
        model, processor, pictures(12), stage="x", n=None, controls=CONTROLS, max_new_tokens=2, batch_size=5, out_dir=tmp_path / "eval", root=tmp_path
    )
    assert row["n"] == 12 and set(CONTROLS) <= set(row["controls"])
    assert model.streams["image"].feature_cache.misses == 3 + 1  # three colours, whatever the options or the item; grey


def test_blank_media_of_one_size_are_one_question(reasoner, pictures, tmp_path, monkeypatch):
    from eval.run import evaluate

    model, processor = reasoner
    decoded: list[Asked] = []
    decode = ModelPolicy._decode
    monkeypatch.setattr(ModelPolicy, "_decode", lambda self, items, *more: (decoded.extend(items), decode(self, items, *more))[1])
    benchmark = pictures(12)
    evaluate(
        model, processor, benchmark, stage="x", n=None, controls=("blank_media",), max_new_tokens=2, batch_size=12, out_dir=tmp_path, root=tmp_path
    )
    asked = [(item.prompt, [content(m) for m in item.media]) for item in decoded]
    assert len(asked) == len({str(pair) for pair in asked}) < 24


def content(medium: Media) -> str:
    return medium.array.tobytes().hex()
