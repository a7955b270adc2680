"""The identities of the fusion (docs/architecture.md): what must be equal bit for bit, what to 1e-5, and what must differ."""

import pytest
import torch

from models.modeling import SUPPORTED

FAMILIES = ("qwen3", "llama")
ROWS = ["tittat", "ttattt"]
TEXT = ("never", "delayed", "kv", "hybrid")


def text_logits(model, input_ids, attention_mask, position_ids):
    """transformers' own text model."""
    return model.llm(input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, use_cache=False).logits


def row_of(batch: dict, row: int) -> dict:
    """One row of a batch alone, without padding, each medium at its own length."""
    keep = batch["attention_mask"][row].bool()
    alone = {"input_ids": batch["input_ids"][row : row + 1, keep], "attention_mask": batch["attention_mask"][row : row + 1, keep]}
    for name in ("image", "audio"):
        mine = (batch.get(f"{name}_rows", torch.empty(0)) == row).nonzero()[:, 0]
        if len(mine):
            alone[f"{name}_rows"] = torch.zeros(len(mine), dtype=torch.long)
            alone[f"{name}_features"] = batch[f"{name}_features"][mine]
            if f"{name}_lengths" in batch:
                lengths = alone[f"{name}_lengths"] = batch[f"{name}_lengths"][mine]
                alone[f"{name}_features"] = alone[f"{name}_features"][..., : int(lengths.max())]
    return alone


def at_text(batch: dict) -> torch.Tensor:
    """Where the rows hold text: logits at placeholders are nobody's business (a placeholder that joins late has none of its own)."""
    return (batch["input_ids"] > 2) & batch["attention_mask"].bool()


@pytest.mark.parametrize("family", FAMILIES)
def test_joining_at_the_last_layer_is_the_text_model_bit_for_bit(make_model, make_batch, family):
    model = make_model("never", family)
    batch = make_batch(model, ROWS)
    ids, keep = batch["input_ids"], at_text(batch)
    positions = torch.arange(ids.shape[1]).expand_as(ids)
    assert keep.sum(1).tolist() == [4, 5] and batch["attention_mask"].all(1).tolist() == [True, False]
    with torch.no_grad():
        ours, logits = model.hidden_states(**batch), model(**batch).logits
        # The same batch shape: text compacted, the shorter row padded on the right with a column that nothing before it sees.
        compact = [torch.cat([row[k], row.new_zeros(5 - int(k.sum()))]) for row, k in zip(ids, keep, strict=True)]
        where = [torch.cat([row[k], row.new_zeros(5 - int(k.sum()))]) for row, k in zip(positions, keep, strict=True)]
        told = {"input_ids": torch.stack(compact), "attention_mask": torch.ones(2, 5, dtype=torch.long), "position_ids": torch.stack(where)}
        reference = model.llm.model(**told, use_cache=False).last_hidden_state
        # The head is one product over all positions, of which we have more: on some CPUs its last digit depends on their number.
        torch.testing.assert_close(logits[keep], torch.cat([r[: int(k.sum())] for r, k in zip(text_logits(model, **told), keep, strict=True)]))
    for row in range(2):
        assert torch.equal(ours[row, keep[row]], reference[row, : int(keep[row].sum())])


def test_without_reserved_positions_the_text_model_is_another(make_model, make_batch):
    model = make_model("never")
    batch = make_batch(model, ["tit"])
    with torch.no_grad():
        ours = model(**batch).logits[0, -1]
        text = batch["input_ids"][:, [0, -1]]
        moved = text_logits(model, text, torch.ones(1, 2, dtype=torch.long), torch.tensor([[0, 1]]))[0, -1]
        assert not torch.allclose(ours, moved, atol=1e-4)
        model.config.media_rope = "none"  # reserves none: then they are the same
        torch.testing.assert_close(model(**batch).logits[0, -1], moved, atol=1e-6, rtol=0)  # not bitwise: the head sees six rows here, two there


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_no_media_is_the_text_model(make_model, make_batch, fusion, family, side):
    model = make_model(fusion, family)
    even, ragged = make_batch(model, ["ttttt", "ttttt"]), make_batch(model, ["ttttttt", "tttt"], side)
    with torch.no_grad():
        assert torch.equal(model(**even).logits, model.llm(**even, use_cache=False).logits)
        positions = (ragged["attention_mask"].cumsum(1) - 1).clamp(min=0)
        # Padding on the right needs no mask here, and nothing before it sees it: the text model without one runs the very same kernel.
        mask = ragged["attention_mask"] if side == "left" else torch.ones_like(ragged["attention_mask"])
        reference = text_logits(model, ragged["input_ids"], mask, positions)
        ours = model(**ragged).logits
    keep = ragged["attention_mask"].bool()
    assert torch.equal(ours[keep], reference[keep])


@pytest.mark.parametrize("family", SUPPORTED)
def test_prepending_is_the_inputs_embeds_path(make_model, make_batch, family):
    model = make_model("prepend", family)
    batch = make_batch(model, ROWS)
    with torch.no_grad():
        embeds = model.llm.get_input_embeddings()(batch["input_ids"])
        for name, column in (("image", 1), ("audio", 2)):
            tokens, counts = model.encode_media(batch)[name]
            flat = torch.cat([t[:n] for t, n in zip(tokens, counts.tolist(), strict=True)])
            embeds[batch["input_ids"] == column] = flat
        mask = batch["attention_mask"]
        reference = model.llm(inputs_embeds=embeds, attention_mask=mask, use_cache=False).logits
        ours = model(**batch).logits
    assert (ours - reference)[mask.bool()].abs().max() < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("scope", ["causal", "all"])
def test_mixed_batch_is_row_by_row(make_model, make_batch, fusion, family, side, scope):
    model = make_model(fusion, family, kv_scope=scope)
    batch = make_batch(model, ["tittat", "tttt", "aittatt", "ti" + "t" * 9], side)
    with torch.no_grad():
        together = model(**batch).logits
        for row in range(4):
            alone = model(**row_of(batch, row)).logits[0]
            keep = batch["attention_mask"][row].bool()
            text = batch["input_ids"][row, keep] > 2
            assert (together[row, keep] - alone)[text].abs().max() < 1e-5, f"row {row}"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("scope", ["causal", "all"])
def test_cached_decoding_is_the_full_forward(make_model, make_batch, fusion, family, scope):
    from transformers import DynamicCache

    model = make_model(fusion, family, kv_scope=scope)
    batch = make_batch(model, ["tittat", "tttt", "attt"], "left")
    extra = torch.randint(4, 40, (3, 5), generator=torch.Generator().manual_seed(5))
    longer = {**batch, "input_ids": torch.cat([batch["input_ids"], extra], 1)}
    longer["attention_mask"] = torch.cat([batch["attention_mask"], torch.ones_like(extra)], 1)
    with torch.no_grad():
        full = model(**longer).logits[:, -6:]
        cache = DynamicCache()
        steps = [model(**batch, past_key_values=cache, use_cache=True).logits[:, -1:]]
        # One token, then two at once, then one by one: as search and as generation do.
        for piece in extra.split([1, 2, 1, 1], 1):
            steps.append(model(input_ids=piece, past_key_values=cache).logits)
    assert (torch.cat(steps, 1) - full).abs().max() < 1e-5


@pytest.mark.parametrize("fusion_name", ["prepend", "delayed", "kv", "kv_some", "hybrid"])
def test_cache_lengths_differ_by_layer(make_model, make_batch, fusion_name):
    from transformers import DynamicCache

    model = make_model(fusion_name, streams=("image",))
    batch = make_batch(model, ["tittt"])  # 4 text tokens, 4 of the image
    cache = DynamicCache()
    with torch.no_grad():
        model(**batch, past_key_values=cache, use_cache=True)
    expected = {"prepend": [8, 8, 8], "delayed": [4, 4, 8], "kv": [8, 8, 8], "kv_some": [8, 4, 8], "hybrid": [10, 10, 10]}[fusion_name]
    assert [cache.get_seq_length(i) for i in range(3)] == expected


def test_layers_below_the_join_never_see_the_media(make_model, make_batch):
    model = make_model("delayed")
    batch = make_batch(model, ROWS)
    seen = []
    handles = [layer.register_forward_hook(lambda _m, _i, out: seen.append(out.clone())) for layer in model.llm.model.layers]
    other = {**batch, "image_features": batch["image_features"] + 1, "audio_features": batch["audio_features"] * 2}
    with torch.no_grad():
        model(**batch)
        model(**other)
    for handle in handles:
        handle.remove()
    first, second = seen[:3], seen[3:]
    assert first[0].shape[1] == first[1].shape[1] == 5 and first[2].shape[1] > 5  # absent, not masked
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1]) and not torch.equal(first[2], second[2])


@pytest.mark.parametrize("fusion_name", ["prepend", "kv", "hybrid", "delayed"])
def test_rows_through_the_feed_forward(make_model, make_batch, fusion_name):
    """PAL's point: as kv, media never pass a feed-forward. 4 text tokens, 4 image tokens, 3 layers; hybrid adds 2 summary tokens."""
    model = make_model(fusion_name, streams=("image",))
    rows = []
    for layer in model.llm.model.layers:
        layer.mlp.register_forward_hook(lambda _m, args, _o: rows.append(args[0].shape[1]))
    with torch.no_grad():
        model(**make_batch(model, ["tittt"]))
    assert rows == {"prepend": [8, 8, 8], "kv": [4, 4, 4], "hybrid": [6, 6, 6], "delayed": [4, 4, 8]}[fusion_name]


@pytest.mark.parametrize("stream", ["image", "audio"])
def test_swapped_media_change_the_output_and_only_after_them(make_model, make_batch, fusion, stream):
    if fusion == "never":
        pytest.skip("text only: media change nothing, which the bitwise test shows")
    model = make_model(fusion)
    batch = make_batch(model, ["titta" + "tt", "titta" + "tt"], frames=(24,))
    swapped = {**batch, f"{stream}_features": batch[f"{stream}_features"].flip(0)}
    with torch.no_grad():
        change = (model(**batch).logits - model(**swapped).logits).abs().amax(-1)
    token = {"image": 1, "audio": 2}[stream]
    text = batch["input_ids"][0] > 2
    first = int((batch["input_ids"][0] == token).nonzero()[0])
    columns = torch.arange(len(text))
    assert change[0, text & (columns > first)].min() > 1e-4
    assert change[0, text & (columns < first)].max() == 0


def test_kv_scope_all_reaches_the_text_before(make_model, make_batch):
    model = make_model("kv", kv_scope="all", streams=("image",))
    batch = make_batch(model, ["ttit", "ttit"])
    swapped = {**batch, "image_features": batch["image_features"].flip(0)}
    with torch.no_grad():
        change = (model(**batch).logits - model(**swapped).logits).abs().amax(-1)
    assert change[0, 0] > 1e-4


def test_gradients_reach_every_part_of_each_stream(make_model, make_batch, fusion):
    if fusion == "never":
        pytest.skip("text only")
    model = make_model(fusion).train()
    batch = make_batch(model, ["tit" + "tt", "tat" + "tt"])
    labels = torch.where(at_text(batch), batch["input_ids"], -100)
    model(**batch, labels=labels).loss.backward()
    for name in ("image", "audio"):
        for part in ("encoder", "projector"):
            # The last bias of an encoder's keys has no effect on a softmax; norms of gradients over a part must not vanish.
            grads = [p.grad for p in getattr(model.streams[name], part).parameters()]
            assert sum(g is None for g in grads) == 0 and all(bool(g.isfinite().all()) for g in grads), (name, part)
            assert sum(float(g.norm()) for g in grads) > 1e-4, (name, part)


@pytest.mark.parametrize("options", [{"kv_weights": "separate"}, {"media_norm": "own"}, {"media_norm": "none"}, {"media_rope": "none"}])
def test_kv_switches_train_and_decode(make_model, make_batch, options):
    model = make_model("kv", **options)
    plain = make_model("kv")
    batch = make_batch(model, ["tittattt", "ttttt"])
    with torch.no_grad():
        plain.load_state_dict(model.state_dict(), strict=False)
        assert (model(**batch).logits[0] - plain(**batch).logits[0]).abs().max() > 1e-5  # the switch does something
    labels = torch.where(at_text(batch), batch["input_ids"], -100)
    model(**batch, labels=labels).loss.backward()
    for name, weight in model.media_keys.named_parameters():
        assert weight.grad is not None and weight.grad.norm() > 0, name


def test_kv_without_positions_ignores_the_order_of_media_tokens(make_model, make_batch):
    for rope, same in (("none", True), ("placeholder", False)):
        model = make_model("kv", streams=("image",), media_rope=rope)
        batch = make_batch(model, ["tittt"])
        with torch.no_grad():
            tokens, counts = model.encode_media(batch)["image"]
            logits = [model.llm.lm_head(model.hidden_states(**batch, encoded={"image": (t, counts)}))[0, -1] for t in (tokens, tokens.flip(1))]
        assert torch.allclose(*logits, atol=1e-5) == same


def test_one_head_by_hand():
    """q = [1, 0], a text key [1, 0] with value [1, 0], a media key [1, 0] with value [0, 1]: equal scores, so weights 1/2 and 1/2; the media
    masked: [1, 0]."""
    from models.fusion import KV, Layout, attention_mask

    text = Layout(torch.tensor([[1]]), torch.ones(1, 1, dtype=torch.bool), True, False)
    q, k, v = torch.tensor([[[[1.0, 0]]]]), torch.tensor([[[[1.0, 0], [1.0, 0]]]]), torch.tensor([[[[0.0, 1], [1.0, 0]]]])
    for ok, expected in ((True, [0.5, 0.5]), (False, [1.0, 0.0])):
        mask = attention_mask(text, KV(torch.tensor([[0]]), torch.tensor([[ok]])), "causal")
        assert torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask).flatten().tolist() == expected


def test_gradient_checkpointing_changes_nothing(make_model, make_batch, fusion):
    model = make_model(fusion).train()
    batch = make_batch(model, ["titat", "ttt"])
    labels = torch.where(at_text(batch), batch["input_ids"], -100)
    results = []
    for on in (False, True):
        (model.gradient_checkpointing_enable if on else model.gradient_checkpointing_disable)()
        model.zero_grad()
        loss = model(**batch, labels=labels).loss
        loss.backward()
        results.append((loss.item(), [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    assert results[0][0] == results[1][0] and len(results[0][1]) == len(results[1][1])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(results[0][1], results[1][1], strict=True))


@pytest.mark.parametrize(
    ("fusion", "side", "masked"),
    [
        ("prepend", "right", []), ("delayed", "right", []), ("never", "right", []), ("prepend", "left", [0, 1, 2]), ("kv", "right", [0, 1, 2]),
        ("kv_late", "right", [1, 2]), ("kv_some", "right", [0, 2]),
    ],
)  # fmt: skip
def test_layers_get_a_mask_only_where_plain_causal_attention_is_not_exact(make_model, make_batch, fusion, side, masked):
    """Without one PyTorch may run its flash kernel; with media keys the mask has their columns in front (docs/architecture.md)."""
    model, masks = make_model(fusion), []
    for layer in model.llm.model.layers:
        layer.register_forward_pre_hook(lambda _, __, options: masks.append(options["attention_mask"]), with_kwargs=True)
    batch = make_batch(model, ["ittt", "it"], side)
    with torch.no_grad():
        model(**batch)
    assert [index for index, mask in enumerate(masks) if mask is not None] == masked
    size = batch["input_ids"].shape[1]
    for mask in (mask for mask in masks if mask is not None):
        assert mask.dtype == torch.bool and mask.shape[:2] == (2, 1)
        assert mask.shape[2:] == ((size, size) if fusion == "prepend" else (mask.shape[2], 4 + mask.shape[2]))  # an image is four tokens
