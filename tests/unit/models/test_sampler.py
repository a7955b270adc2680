"""Cached batched decoding against full forwards and against transformers' own generate; seeds, groups, stops."""

import pytest
import torch

from models.sampler import Choice, _chunks, sample, take_prompts

ROWS = ["tittat", "tttt", "at" + "t" * 5]


def by_hand(model, batch, steps, stop=None):
    """Greedy, one full forward per token, one row at a time through the whole batch."""
    ids, mask, out = batch["input_ids"], batch["attention_mask"], []
    for _ in range(steps):
        with torch.no_grad():
            logits = model(**{**batch, "input_ids": ids, "attention_mask": mask}).logits[:, -1]
        out.append(logits.argmax(-1))
        ids, mask = torch.cat([ids, out[-1][:, None]], 1), torch.cat([mask, torch.ones(len(mask), 1, dtype=torch.long)], 1)
    return torch.stack(out, 1)


def safe(model):
    """A model that hardly emits the pad, a placeholder or the end."""
    model.llm.lm_head.weight.data[:4] = 0
    return model


@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_greedy_is_full_forwards(make_model, make_batch, fusion, family):
    model = safe(make_model(fusion, family))
    batch = make_batch(model, ROWS, "left")
    found = sample(model, batch, 6, stop_ids=[])
    expected = by_hand(model, batch, 6)
    assert torch.equal(found.ids, expected)
    assert found.lengths.tolist() == [6, 6, 6] and not found.finished.any()


def test_greedy_is_generate(make_model, make_batch, fusion):
    model = safe(make_model(fusion))
    batch = make_batch(model, ROWS, "left")
    found = sample(model, batch, 6, stop_ids=[])
    generated = model.generate(**batch, max_new_tokens=6, do_sample=False, pad_token_id=0)
    assert torch.equal(generated[:, batch["input_ids"].shape[1] :], found.ids)


def test_generate_with_several_returned_sequences_keeps_each_rows_media(make_model, make_batch):
    model = safe(make_model("delayed"))
    batch = make_batch(model, ["titit", "tat", "tit"], "left")
    one = model.generate(**batch, max_new_tokens=4, do_sample=False)
    torch.manual_seed(0)
    several = model.generate(**batch, max_new_tokens=4, do_sample=True, top_k=1, num_return_sequences=2)
    assert torch.equal(several, one.repeat_interleave(2, 0))


def test_logps_are_those_of_the_model(make_model, make_batch):
    model = safe(make_model("hybrid"))
    batch = make_batch(model, ROWS, "left")
    for temperature in (0.0, 0.7):
        found = sample(model, batch, 5, stop_ids=[], temperature=temperature)
        longer = {**batch, "input_ids": torch.cat([batch["input_ids"], found.ids], 1)}
        longer["attention_mask"] = torch.cat([batch["attention_mask"], torch.ones_like(found.ids)], 1)
        with torch.no_grad():
            logits = model(**longer).logits[:, -6:-1] / (temperature or 1.0)
        logits[..., [1, 2]] = -torch.inf
        expected = torch.log_softmax(logits, -1).gather(-1, found.ids[..., None])[..., 0]
        assert torch.allclose(found.logps, expected, atol=1e-4)


def test_stops_and_dropped_rows(make_model, make_batch):
    """Whatever token row 0 says third becomes the stop: its row ends there, rows that never say it run on, and dropping rows changes nothing."""
    model = safe(make_model("kv"))
    rows = ["tit", "tttt", "tat", "ttttttt"]
    batch = make_batch(model, rows, "left")
    free = sample(model, batch, 12, stop_ids=[], temperature=1.0, seeds=[5, 6, 7, 8])
    stop = int(free.ids[0, 2])
    stopped = sample(model, batch, 12, stop_ids=[stop], pad_id=0, temperature=1.0, seeds=[5, 6, 7, 8])
    for row in range(4):
        said = (free.ids[row] == stop).nonzero()[:, 0]
        length = int(said[0]) + 1 if len(said) else 12
        assert stopped.lengths[row] == length and bool(stopped.finished[row]) == bool(len(said))
        assert torch.equal(stopped.ids[row, :length], free.ids[row, :length])
        assert (stopped.ids[row, length:] == 0).all() and (stopped.logps[row, length:] == 0).all()


def test_a_group_shares_its_prefill_and_a_row_its_seed(make_model, make_batch):
    model = safe(make_model("prepend"))
    calls = []
    model.streams["image"].encoder.register_forward_hook(lambda _m, args, _o: calls.append(len(args[0])))
    batch = make_batch(model, ["tit", "titt"], "left")
    group = sample(model, batch, 5, stop_ids=[], temperature=1.0, num_samples=3, seeds=[1, 2, 3, 4, 5, 6])
    assert calls == [2]  # each image once, not once per sample
    assert not torch.equal(group.ids[0], group.ids[1])
    alone = sample(model, make_batch(model, ["tit"], "left"), 5, stop_ids=[], temperature=1.0, seeds=[2])
    assert torch.equal(alone.ids[0], group.ids[1])
    greedy = sample(model, batch, 5, stop_ids=[], num_samples=2)
    assert torch.equal(greedy.ids[0], greedy.ids[1])


def test_placeholders_are_never_said(make_model, make_batch):
    model = make_model("prepend")
    model.llm.lm_head.weight.data.zero_()  # every token equally likely
    batch = make_batch(model, ["tit", "tt"], "left")
    found = sample(model, batch, 200, stop_ids=[], temperature=1.0)
    assert len(found.ids.unique()) == 38 and not torch.isin(found.ids, torch.tensor([1, 2])).any()
    assert not torch.isin(model.generate(**batch, max_new_tokens=50, do_sample=True, eos_token_id=39)[:, -50:], torch.tensor([1, 2]))[1].any()


def test_draws_follow_the_distribution():
    """Probabilities 1/2, 1/4, 1/4: 4,000 even draws land within 2 % of each."""
    logits = torch.tensor([0.5, 0.25, 0.25]).log().expand(4000, 3)
    rows, even = torch.arange(4000), ((torch.arange(4000) + 0.5) / 4000)[:, None]
    token, logp = Choice(1.0, uniform=even)(logits, rows, 0)
    assert torch.allclose(torch.bincount(token) / 4000, torch.tensor([0.5, 0.25, 0.25]), atol=0.02)
    assert torch.allclose(logp.exp(), torch.tensor([0.5, 0.25, 0.25])[token])
    cold, _ = Choice(0.01, uniform=torch.tensor([[0.0], [0.2], [0.5], [0.9], [0.999999]]))(logits[:5], rows[:5], 0)
    assert cold.tolist() == [0] * 5


def test_refusals_and_mode(make_model, make_batch):
    model = make_model("prepend").train()
    ragged = make_batch(model, ["tttt", "tt"], "right")
    with pytest.raises(ValueError, match="left"):
        sample(model, ragged, 2, stop_ids=[3])
    with pytest.raises(ValueError, match="3 seeds for 2 rows"):
        sample(model, make_batch(model, ["tttt", "tt"], "left"), 2, stop_ids=[3], seeds=[1, 2, 3])
    sample(model, make_batch(model, ["tt"], "left"), 2, stop_ids=[3])
    assert model.training


def test_top_k_and_top_p_by_hand():
    """Shares 0.4, 0.3, 0.2, 0.1: the two likeliest; the likeliest that reach 0.6 (the one that crosses it stays); both: p counts within k."""
    shares = torch.tensor([[0.2, 0.4, 0.1, 0.3]])
    cases = {
        (2, 1.0): [0, 0.4, 0, 0.3],
        (None, 0.6): [0, 0.4, 0, 0.3],
        (None, 0.71): [0.2, 0.4, 0, 0.3],
        (None, 0.3): [0, 0.4, 0, 0],
        (2, 0.5): [0, 0.4, 0, 0],
    }
    for (top_k, top_p), kept in cases.items():
        assert torch.equal(Choice(1.0, top_k, top_p)._kept(shares), torch.tensor([kept]))
    assert torch.equal(Choice(1.0, top_k=9)._kept(shares), shares)
    even = torch.linspace(0, 0.9999, 1000)
    drawn, logps = Choice(1.0, top_k=2, uniform=even[:, None])(shares.log().expand(1000, 4), torch.arange(1000), 0)
    assert torch.allclose(torch.bincount(drawn, minlength=4) / 1000, torch.tensor([0, 4 / 7, 0, 3 / 7]), atol=0.01)
    assert torch.allclose(logps, shares[0, drawn].log())  # of the model, not of what was left


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.5}, {"top_k": 0}])
def test_impossible_sampling_is_refused(wrong):
    with pytest.raises(ValueError, match="sampling"):
        Choice(**{"temperature": 1.0, **wrong})


@pytest.mark.parametrize("budget", [34, 43, 61, 1000])
def test_chunks_change_nothing(make_model, make_batch, budget):
    """Prompts of 10 and 8 new tokens: 3 rows of a prompt at a time, 4 (the last chunk is smaller), whole groups, everything."""
    model = safe(make_model("hybrid"))
    batch = make_batch(model, ["titt", "t" * 10, "tat"], "left")
    assert batch["input_ids"].shape[1] == 10
    how = {"stop_ids": [], "temperature": 1.0, "num_samples": 5, "seeds": list(range(15))}
    whole, parts = sample(model, batch, 8, **how), sample(model, batch, 8, max_tokens=budget, **how)
    assert torch.equal(whole.ids, parts.ids) and torch.equal(whole.lengths, parts.lengths)
    assert torch.allclose(whole.logps, parts.logps, atol=1e-5)


def test_chunks_are_planned_by_the_budget():
    assert list(_chunks(4, 8, 100, 10, None)) == [(0, 4, 8)]
    assert list(_chunks(5, 8, 100, 10, 400)) == [(0, 2, 8), (2, 4, 8), (4, 5, 8)]
    assert list(_chunks(2, 8, 100, 10, 130)) == [(0, 1, 3), (1, 2, 3)]
    with pytest.raises(ValueError, match="max_tokens 109 is less than one prompt"):
        list(_chunks(2, 8, 100, 10, 109))


class Letters:
    """Token i is the letter number i; decodes as byte tokenizers do."""

    def batch_decode(self, rows, **_):
        return ["".join(chr(ord("a") + i % 26) for i in row) for row in rows]


def test_stop_strings_end_where_they_are_complete(make_model, make_batch):
    model = safe(make_model("prepend"))
    batch = make_batch(model, ["tit", "tttt"], "left")
    free = sample(model, batch, 10, stop_ids=[], temperature=1.0)
    text = Letters().batch_decode(free.ids.tolist())
    stop = text[0][2:5]
    found = sample(model, batch, 10, stop_ids=[], temperature=1.0, stop_strings=[stop], tokenizer=Letters())
    for row in range(2):
        at = text[row].find(stop)
        length = 10 if at < 0 else at + 3
        assert found.lengths[row] == length and bool(found.finished[row]) == (at >= 0)
        assert torch.equal(found.ids[row, :length], free.ids[row, :length])


def test_chosen_prompts_keep_their_media(make_model, make_batch):
    model = make_model("prepend")
    batch = make_batch(model, ["tia", "ttttt", "taia", "tt"], "left")
    taken = take_prompts(batch, [2, 1])
    assert torch.equal(taken["input_ids"], batch["input_ids"][[2, 1]])
    assert taken["image_rows"].tolist() == [0] and torch.equal(taken["image_features"], batch["image_features"][1:])
    assert taken["audio_rows"].tolist() == [0, 0] and torch.equal(taken["audio_lengths"], batch["audio_lengths"][1:])
    assert not any(key.startswith(("image", "audio")) for key in take_prompts(batch, [1, 3]))
    with torch.no_grad():
        torch.testing.assert_close(model(**taken).logits, model(**batch).logits[[2, 1]], atol=1e-5, rtol=1e-4)
