"""Features of frozen encoders by content: found again in any batch, the same bits, within a limit."""

import copy

import pytest
import torch

from models.feature_cache import FeatureCache
from models.registry import ENCODERS


def encoder_of(make_model):
    return make_model("prepend").streams["audio"].encoder


def test_the_same_sound_is_encoded_once_in_whatever_batch(make_model):
    encoder, cache = encoder_of(make_model), FeatureCache()
    long, short = torch.randn(8, 40), torch.randn(8, 24)
    padded = torch.zeros(2, 8, 40)
    padded[0], padded[1, :, :24] = long, short
    tokens, counts = cache.encode(encoder, padded, torch.tensor([40, 24]))
    with torch.no_grad():
        expected, expected_counts = encoder(padded, torch.tensor([40, 24]))
    assert counts.tolist() == expected_counts.tolist() == [5, 3] and (cache.hits, cache.misses) == (0, 2)
    assert (tokens[0] - expected[0]).abs().max() < 1e-5 and (tokens[1, :3] - expected[1, :3]).abs().max() < 1e-5
    again, _ = cache.encode(encoder, short[None], None)
    assert (cache.hits, cache.misses) == (1, 2) and torch.equal(again[0], tokens[1, :3])
    fresh, _ = FeatureCache().encode(encoder, short[None], None)  # as after a resume: the same bits
    assert torch.equal(fresh, again)


def test_the_limit_holds_and_the_oldest_goes(make_model):
    encoder = encoder_of(make_model)
    cache = FeatureCache(limit_bytes=2 * 3 * 16 * 4)  # two sounds of 3 tokens, 16 wide, 4 bytes
    sounds = torch.randn(3, 8, 24)
    for i in (0, 1, 0, 2):  # 1 is the least recently used when 2 comes
        cache.encode(encoder, sounds[i : i + 1], None)
    assert cache.size == 384
    hits = cache.hits
    cache.encode(encoder, sounds[:1], None)
    assert cache.hits == hits + 1
    cache.encode(encoder, sounds[1:2], None)
    assert cache.hits == hits + 1


@pytest.mark.parametrize("fusion_name", ["prepend", "hybrid"])
def test_a_frozen_encoder_uses_it_and_a_learning_one_never(make_model, make_batch, fusion_name):
    model = make_model(fusion_name)
    batch = make_batch(model, ["tatit", "tat"])
    with torch.no_grad():
        expected = model(**batch).logits
    audio = model.streams["audio"]
    audio.encoder.requires_grad_(False)
    audio.encoder.keeps_features = True
    model.train()
    for _ in range(2):
        logits = model(**batch).logits
    keep = batch["input_ids"] > 2
    assert (audio.feature_cache.hits, audio.feature_cache.misses) == (2, 2) and (logits - expected)[keep].abs().max() < 1e-5
    logits.square().sum().backward()
    assert all(p.grad is not None for p in audio.projector.parameters()) and all(p.grad is None for p in audio.encoder.parameters())
    assert model.streams["image"].feature_cache.misses == 0
    assert ENCODERS.get("hf_audio").keeps_features and not hasattr(ENCODERS.get("conv"), "keeps_features")  # tiny ones gain nothing
    audio.encoder.requires_grad_(True)
    model.train()
    model(**batch)
    assert (audio.feature_cache.hits, audio.feature_cache.misses) == (2, 2)  # it learns: no use of what is stored
    model.eval()
    model(**batch)  # gradients are wanted: none either
    assert (audio.feature_cache.hits, audio.feature_cache.misses) == (2, 2)
    assert copy.deepcopy(audio).feature_cache.size == 0


def test_an_evaluation_uses_it_and_changed_weights_empty_it(make_model, make_batch):
    model = make_model("prepend").eval()
    batch, audio = make_batch(model, ["tatit", "tat"]), model.streams["audio"]
    audio.encoder.keeps_features = True
    with torch.no_grad():
        first = model(**batch).logits
        assert torch.equal(model(**batch).logits, first)
        assert (audio.feature_cache.hits, audio.feature_cache.misses) == (2, 2)
        audio.encoder.load_state_dict({k: v + 0.1 for k, v in audio.encoder.state_dict().items()})
        changed = model(**batch).logits
        assert (audio.feature_cache.hits, audio.feature_cache.misses) == (2, 4) and not torch.equal(changed, first)
        next(audio.encoder.parameters()).add_(0.1)
        assert not torch.equal(model(**batch).logits, changed)


def test_tokens_made_in_half_precision_are_not_those_of_an_exact_pass(make_model):
    """A stage under autocast and the evaluation after it share the cache, and a resumed run begins with an empty one: both must find the same."""
    encoder, cache, sound = encoder_of(make_model), FeatureCache(), torch.randn(1, 8, 24)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough, _ = cache.encode(encoder, sound, None)
        assert torch.equal(cache.encode(encoder, sound, None)[0], rough) and (cache.hits, cache.misses) == (1, 1)
    exact, _ = cache.encode(encoder, sound, None)
    assert cache.misses == 2 and torch.equal(exact, FeatureCache().encode(encoder, sound, None)[0]) and not torch.equal(exact, rough)
