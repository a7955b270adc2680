"""What goes into and comes out of a stream: placeholders against media, ready-made features, frozen encoders, families refused."""

import pytest
import torch
from transformers import DynamicCache

from models.configuration import FocalConfig
from models.fusion import Join, placeholder_count, stream_parts
from models.media_keys import KV_FAMILIES
from models.modeling import FocalModel


@pytest.mark.parametrize("family", KV_FAMILIES)
def test_media_keys_are_built_as_the_family_builds_its_own(make_model, make_batch, family):
    """At layer 0 a prepended medium's keys and values depend on its embeddings and positions alone: kv must cache the very same ones."""
    caches = []
    for fusion in ("prepend", "kv"):
        model = make_model(fusion, family, streams=("image",))
        cache = DynamicCache()
        with torch.no_grad():
            model(**make_batch(model, ["tittt"]), past_key_values=cache, use_cache=True)
        caches.append((cache.layers[0].keys, cache.layers[0].values))
    prepended, kv = caches
    for ours, theirs in zip(kv, prepended, strict=True):
        assert (ours[:, :, :4] - theirs[:, :, 1:5]).abs().max() < 1e-6  # media stand first in the cache, after one text token in the sequence
        assert (ours[:, :, 4:] - theirs[:, :, [0, 5, 6, 7]]).abs().max() < 1e-6


def test_ready_made_features_equal_encoding(make_model, make_batch):
    model = make_model("hybrid")
    batch = make_batch(model, ["titat", "ttatt"])
    with torch.no_grad():
        expected = model(**batch).logits
        encoded, counts = model.streams["audio"].encoder(batch["audio_features"], batch["audio_lengths"])
        ready = {k: v for k, v in batch.items() if k != "audio_features"} | {"audio_encoded": encoded, "audio_lengths": counts}
        assert torch.equal(model(**ready).logits, expected)


def test_frozen_encoder_stays_in_evaluation_mode(make_model):
    model = make_model("prepend")
    model.streams["image"].encoder.requires_grad_(False)
    model.train()
    assert not model.streams["image"].encoder.training and model.streams["image"].projector.training and model.streams["audio"].encoder.training


def test_placeholders_and_media_must_match_row_by_row(make_model, make_batch):
    model = make_model("prepend")
    batch = make_batch(model, ["tit", "tit"])
    with pytest.raises(ValueError, match="row 0: 4 placeholders of 'image' but its media give 8 tokens"):
        model(**{**batch, "image_rows": torch.tensor([0, 0])})
    without = {k: v for k, v in batch.items() if not k.startswith("image")}
    with pytest.raises(ValueError, match="row 0 holds placeholders of 'image' but the batch holds no such media"):
        model(**without)
    cut = batch["input_ids"].clone()
    cut[1, 2] = 9
    with pytest.raises(ValueError, match="row 1: 3 placeholders"):
        model(**{**batch, "input_ids": cut})


def test_loss_is_the_mean_over_labels_and_scales_by_the_count_given(make_model, make_batch):
    model = make_model("prepend")
    batch = make_batch(model, ["titt", "tttt"])
    labels = torch.full_like(batch["input_ids"], -100)
    labels[0, 5:7], labels[1, 2] = batch["input_ids"][0, 5:7], batch["input_ids"][1, 2]
    with torch.no_grad():
        logps = torch.log_softmax(model(**batch).logits, -1)
        by_hand = -(logps[0, 4, labels[0, 5]] + logps[0, 5, labels[0, 6]] + logps[1, 1, labels[1, 2]])
        assert model(**batch, labels=labels).loss.item() == pytest.approx(by_hand.item() / 3, rel=1e-5)
        assert model(**batch, labels=labels, num_items_in_batch=torch.tensor(12)).loss.item() == pytest.approx(by_hand.item() / 12, rel=1e-5)
        assert model(**batch, labels=torch.full_like(labels, -100)).loss.item() == 0


def test_two_encoders_of_one_kind_share_the_placeholders(make_model, make_batch):
    """An ensemble: of the 4 + 2 columns of an image the first stream fills 4, the second (merged by 2) the other 2, medium by medium."""
    model = make_model("prepend", streams=("image",))
    options = model.config.streams["image"]
    second = {**options, "projector": {"name": "merge", "factor": 2}, "fusion": [{"tokens": "all", "as": "residual", "from_layer": 1}]}
    both = FocalModel(FocalConfig(llm=model.config.llm, streams={"image": options, "image_b": second})).eval()
    ids = torch.tensor([[5, *[1] * 6, 6, *[1] * 6, 7], [5, *[1] * 6, 6, 0, 0, 0, 0, 0, 0, 0]])
    images, rows = torch.randn(3, 3, 16, 16), torch.tensor([0, 0, 1])
    media = {"image_features": images, "image_rows": rows, "image_b_features": images, "image_b_rows": rows}
    with torch.no_grad():
        first, other = both.join_media(ids, both.encode_media(media), media)
        assert first.cols.tolist() == [1, 2, 3, 4, 8, 9, 10, 11, 1, 2, 3, 4] and other.cols.tolist() == [5, 6, 12, 13, 5, 6]
        assert first.rows.tolist() == [0] * 8 + [1] * 4 and other.rows.tolist() == [0] * 4 + [1] * 2
        assert both(input_ids=ids, attention_mask=(ids > 0).long(), **media).logits.isfinite().all()


def test_placeholder_count_of_joins():
    """An image of 64 pixels: 8 x 8 tokens; hybrid adds 3 summaries; merging a 2 x 2 grid leaves 16."""
    stream = {"encoder": {"name": "conv"}, "fusion": [{"tokens": "summary:3"}, {"as": "kv"}]}
    assert placeholder_count(stream_parts(stream), (3, 64, 64)) == 67
    merged = {"encoder": {"name": "conv"}, "projector": {"name": "merge", "grid": True}}
    assert placeholder_count(stream_parts(merged), (3, 64, 64)) == 16
    assert Join.parse({"tokens": "summary:9"}).count(4) == 4


@pytest.mark.parametrize(
    "line,message",
    [
        ({"layer": 2}, "unknown key 'layer'"),
        ({"as": "query"}, "as 'query'"),
        ({"tokens": "some"}, "tokens 'some'"),
        ({"tokens": "summary:0"}, "tokens 'summary:0'"),
        ({"from_layer": [1]}, "not the list"),
    ],
)
def test_joins_refuse(line, message):
    with pytest.raises(ValueError, match=message):
        Join.parse(line)


def test_impossible_models_are_refused_by_name(make_model):
    with pytest.raises(ValueError, match="'gpt2' is not supported"):
        FocalModel(FocalConfig(llm={"model_type": "gpt2"}))
    with pytest.raises(ValueError, match="olmo2"):
        make_model("kv", "olmo2")
    with pytest.raises(ValueError, match="from_layer 7"):
        make_model([{"from_layer": 7}])
    with pytest.raises(ValueError, match="unknown encoder 'cnv'; did you mean 'conv'"):
        stream_parts({"encoder": {"name": "cnv"}})
    with pytest.raises(ValueError, match="unknown key 'dept'"):
        stream_parts({"encoder": {"name": "conv", "dept": 1}})
    with pytest.raises(ValueError, match="kv_scope"):
        FocalConfig(kv_scope="some")


def test_sliding_windows_are_refused_where_they_would_matter(make_model, make_batch):
    model = make_model("prepend", "mistral", streams=("image",), llm={"sliding_window": 8})
    with torch.no_grad():
        assert model(**make_batch(model, ["tittt"])).logits.shape[1] == 8
        with pytest.raises(ValueError, match="9 tokens exceed the sliding window of 8 of this mistral"):
            model(**make_batch(model, ["titttt"]))


def test_bfloat16_runs_and_stays_near(make_model, make_batch, fusion):
    model = make_model(fusion)
    batch = make_batch(model, ["titatt", "ttt"], "left")
    with torch.no_grad():
        exact = model(**batch).logits
        half = model.bfloat16()(**batch).logits
    keep = (batch["input_ids"] > 2) & batch["attention_mask"].bool()
    assert half.dtype == torch.bfloat16 and (half.float() - exact)[keep].abs().max() < 0.1 * exact[keep].abs().max()
