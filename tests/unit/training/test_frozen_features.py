"""The cache of frozen features: same outputs, one encoder pass per medium, bounded."""

import torch
from torch import nn

from training.frozen_features import FrozenFeatures


class Encoder(nn.Module):
    """Doubles each frame; counts how many media it saw."""

    def __init__(self):
        super().__init__()
        self.weight, self.seen = nn.Parameter(torch.tensor(2.0)), 0

    def forward(self, features, lengths=None):
        self.seen += len(features)
        counts = torch.full((len(features),), features.shape[-1]) if lengths is None else lengths
        return (features * self.weight).transpose(1, 2), counts


class Model(nn.Module):
    def __init__(self, frozen=True):
        super().__init__()
        stream = nn.Module()
        stream.encoder = Encoder().requires_grad_(not frozen)
        self.streams = nn.ModuleDict({"audio": stream})


def batch(*values, lengths):
    features = torch.zeros(len(values), 3, max(lengths))
    for i, (value, length) in enumerate(zip(values, lengths, strict=True)):
        features[i, :, :length] = value
    return {"audio_features": features, "audio_lengths": torch.tensor(lengths), "audio_rows": torch.arange(len(values))}


def test_each_medium_is_encoded_once_whatever_its_padding():
    model = Model()
    cache = FrozenFeatures(model, 10)
    first = cache(batch(1.0, 2.0, lengths=[4, 2]))
    again = cache(batch(2.0, 3.0, 1.0, lengths=[2, 6, 4]))
    assert model.streams["audio"].encoder.seen == 3
    assert (cache.hits, cache.misses) == (2, 3)
    assert "audio_features" not in first and first["audio_encoded"].shape == (2, 4, 3)
    assert again["audio_lengths"].tolist() == [2, 6, 4]
    assert torch.equal(again["audio_encoded"][2, :4], torch.full((4, 3), 2.0))
    assert again["audio_encoded"][0, 2:].abs().max() == 0


def test_a_trained_encoder_is_left_alone():
    given = batch(1.0, lengths=[4])
    assert FrozenFeatures(Model(frozen=False), 10)(given) is given


def test_the_budget_holds():
    model = Model()
    cache = FrozenFeatures(model, 1)
    cache.budget = 3 * 4 * 4 * 2  # two media of four frames
    for value in (1.0, 2.0, 3.0):
        cache(batch(value, lengths=[4]))
    assert len(cache.kept) == 2 and cache.used == cache.budget
    cache(batch(3.0, lengths=[4]))
    assert model.streams["audio"].encoder.seen == 3
    cache(batch(1.0, lengths=[4]))  # the oldest had gone
    assert model.streams["audio"].encoder.seen == 4
