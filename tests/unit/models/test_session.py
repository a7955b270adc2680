"""Sessions of cached decoding against full forwards: fork, extend and generate in every fusion, ragged rows, nothing read twice."""

import pytest
import torch

from models.modeling import SUPPORTED
from models.sampler import Session, Stops, sample

ROWS = ["tittat", "tttt", "at" + "t" * 5]


def full_hidden(model, batch, row, ids):
    """Hidden states of `ids` behind prompt `row`, by one uncached forward of the whole batch."""
    prompts = batch["input_ids"]
    longer = {**batch, "input_ids": torch.cat([prompts, torch.tensor(ids).expand(len(prompts), -1)], 1)}
    longer["attention_mask"] = torch.cat([batch["attention_mask"], torch.ones(len(prompts), len(ids), dtype=torch.long)], 1)
    with torch.no_grad():
        return model.hidden_states(**longer)[row, prompts.shape[1] :]


def test_ragged_extensions_are_full_forwards(make_model, make_batch, fusion):
    model = make_model(fusion)
    batch = make_batch(model, ROWS, "left")
    session = Session.prefill(model, batch)
    owners = [2, 0, 0, 1]
    rows = session.fork(owners)
    first = rows.extend([[5, 6, 7], [8], [9, 10], []])
    assert [len(h) for h in first] == [3, 1, 2, 0]
    chosen = rows.fork([1, 3, 0])
    second = chosen.extend([[11, 12], [13], [14, 15, 16]])
    said = [(0, [8, 11, 12], second[0], 1), (1, [13], second[1], 0), (2, [5, 6, 7, 14, 15, 16], second[2], 3)]
    for owner, ids, hidden, start in said:
        torch.testing.assert_close(hidden, full_hidden(model, batch, owner, ids)[start:], atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(chosen.hidden, torch.stack([h[-1] for h in second]))
    torch.testing.assert_close(first[2], full_hidden(model, batch, 0, [9, 10]), atol=2e-5, rtol=1e-4)  # the first session is as it was
    assert session.tokens_read == int(batch["attention_mask"].sum()) + 6 + 6


@pytest.mark.parametrize("family", SUPPORTED)
def test_every_family_attends_over_shared_prompts(make_model, make_batch, family):
    model = make_model("prepend", family)
    batch = make_batch(model, ["tittt", "tt"], "left")
    rows = Session.prefill(model, batch).fork([0, 0, 1])
    for owner, ids, hidden in zip([0, 0, 1], ([5, 6], [7], [8, 9, 10]), rows.extend([[5, 6], [7], [8, 9, 10]]), strict=True):
        torch.testing.assert_close(hidden, full_hidden(model, batch, owner, ids), atol=2e-5, rtol=1e-4)
    assert model.llm.config._attn_implementation == "sdpa"


def test_steps_of_a_search_add_up_to_one_generation(make_model, make_batch, fusion):
    """Cut at a step delimiter, forked and continued, a greedy search says what one call says, and reads every token once."""
    model = make_model(fusion)
    model.llm.lm_head.weight.data[:3] = 0
    batch = make_batch(model, ROWS, "left")
    whole = sample(model, batch, 12, stop_ids=[])
    delimiter = int(whole.ids[0, 2])
    session = Session.prefill(model, batch)
    said = [[], [], []]
    while min(map(len, said)) < 12:
        step = session.generate(4, Stops((delimiter,)))
        for line, ids, n in zip(said, step.ids.tolist(), step.lengths.tolist(), strict=True):
            line += ids[:n]
        session = session.fork([0, 1, 2])
    for line, ids in zip(said, whole.ids.tolist(), strict=True):
        assert line[:12] == ids
    assert session.tokens_read == int(batch["attention_mask"].sum()) + sum(map(len, said)) - 3  # the last ones are still unread


def test_rows_that_end_early_keep_their_place(make_model, make_batch):
    """Rows dropped on the way (twice) are in the session afterwards, and go on where they stopped."""
    model = make_model("kv")
    batch = make_batch(model, ["tit", "tttt", "tat", "ttttttt"], "left")
    session = Session.prefill(model, batch).fork([0, 1, 2, 3, 0, 1, 2, 3])
    free = session.fork(range(8)).generate(10, temperature=1.0, seeds=range(8))
    stops = Stops(tuple({int(free.ids[i, k]) for i, k in ((0, 1), (1, 1), (2, 3), (4, 4), (5, 1), (6, 6))}))
    drawn = session.generate(10, stops, temperature=1.0, seeds=range(8))
    assert len(set(drawn.lengths.tolist())) > 2
    hidden = session.extend([[9]] * 8)
    for i, owner in enumerate([0, 1, 2, 3] * 2):
        n = int(drawn.lengths[i])
        assert torch.equal(drawn.ids[i, :n], free.ids[i, :n])
        torch.testing.assert_close(hidden[i], full_hidden(model, batch, owner, [*drawn.ids[i, :n].tolist(), 9])[-1:], atol=2e-5, rtol=1e-4)


def test_partial_completions_are_continued(make_model, make_batch):
    model = make_model("hybrid")
    model.llm.lm_head.weight.data[:4] = 0
    batch = make_batch(model, ROWS, "left")
    whole = sample(model, batch, 8, stop_ids=[])
    session = Session.prefill(model, batch)
    session.extend([whole.ids[0, :3].tolist(), whole.ids[1, :5].tolist(), []])
    rest = session.generate(3)
    assert torch.equal(rest.ids[0], whole.ids[0, 3:6]) and torch.equal(rest.ids[1], whole.ids[1, 5:8]) and torch.equal(rest.ids[2], whole.ids[2, :3])


def test_refusals(make_model, make_batch):
    model = make_model("prepend")
    session = Session.prefill(model, make_batch(model, ["tt", "tttt"], "left"))
    with pytest.raises(ValueError, match="not rows of a session of 2"):
        session.fork([2])
    with pytest.raises(ValueError, match="not rows"):
        session.fork([])
    with pytest.raises(ValueError, match="1 rows, the session has 2"):
        session.extend([[4]])
    with pytest.raises(ValueError, match="max_new_tokens is 0"):
        session.generate(0)
    with pytest.raises(ValueError, match="3 seeds for 2 rows"):
        session.generate(1, seeds=[1, 2, 3])
    with pytest.raises(ValueError, match="tokenizer"):
        Stops(strings=("\n",))
    assert [len(h) for h in session.extend([[], []])] == [0, 0]
