"""Steps on pinned memory, in blocks, as a CUDA graph repeats them: the same completions as one step at a time. Captured where there is a GPU."""

import pytest
import torch

import models.sampler
from models.decoding import BLOCK, WINDOW, Decoder, GraphedDecoder, open_decoder
from models.sampler import Session, Stops, sample

ROWS = ["tit", "tttt", "tat", "ttttttt"]


@pytest.fixture
def in_blocks(monkeypatch):
    """All decoding goes through blocks; without a GPU each of their steps is run instead of replayed."""
    made = []

    def open_graphed(model, cache, choose, live, tokens):
        made.append(GraphedDecoder(model, cache, choose, live))
        return made[-1]

    return lambda: monkeypatch.setattr(models.sampler, "open_decoder", open_graphed) or made


def safe(model):
    """A model that hardly emits the pad, a placeholder or the end."""
    model.llm.lm_head.weight.data[:4] = 0
    return model


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_blocks_say_what_single_steps_say(make_model, make_batch, fusion, in_blocks, temperature):
    model = safe(make_model(fusion))
    batch, tokens = make_batch(model, ROWS, "left"), 2 * BLOCK + 5
    how = {"stop_ids": [], "temperature": temperature, "num_samples": 2}
    expected = sample(model, batch, tokens, **how)
    made = in_blocks()
    found = sample(model, batch, tokens, **how)
    assert len(made) == 1 and torch.equal(found.ids, expected.ids) and torch.equal(found.lengths, expected.lengths)
    assert torch.allclose(found.logps, expected.logps, atol=1e-5)


@pytest.mark.parametrize("end", [{"ids": 1}, {"strings": 1}])
def test_rows_end_within_a_block_and_are_dropped(make_model, make_batch, in_blocks, end):
    """A token that some rows say early and others never is the stop; text after it is nobody's."""

    class Letters:
        def batch_decode(self, rows, **_):
            return [" ".join(f"<{i}>" for i in row) for row in rows]

    model = safe(make_model("delayed"))
    batch, tokens = make_batch(model, ROWS, "left"), 2 * BLOCK + 3
    how = {"temperature": 1.0, "num_samples": 3, "pad_id": 0}
    free = sample(model, batch, tokens, stop_ids=[], **how)
    stop = int(free.ids[0, 3])
    ends = {"stop_ids": [stop]} if "ids" in end else {"stop_ids": [], "stop_strings": [f"<{stop}>"], "tokenizer": Letters()}
    expected = sample(model, batch, tokens, **ends, **how)
    made = in_blocks()
    found = sample(model, batch, tokens, **ends, **how)
    assert len(set(expected.lengths.tolist())) > 2 and len(made) > 1, "rows were to end at different times, and some to be dropped"
    for name in ("ids", "lengths", "finished"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    assert torch.allclose(found.logps, expected.logps, atol=1e-5)


def test_a_search_goes_on_behind_blocks(make_model, make_batch, in_blocks):
    """Rows of different lengths, forked and extended between two calls; `tokens_read` does not count what was read in vain."""
    model = safe(make_model("hybrid"))
    batch = make_batch(model, ROWS, "left")

    def search():
        session = Session.prefill(model, batch).fork([0, 0, 1, 3])
        stop = Stops(ids=(5, 6, 7))
        one = session.generate(BLOCK + 4, stop, temperature=1.0, seeds=[1, 2, 3, 4])
        session.extend([[8], [8, 9], [], [9]])
        two = session.fork([2, 0]).generate(9, stop, temperature=1.0, seeds=[5, 6])
        return one, two, session.tokens_read

    expected = search()
    in_blocks()
    found = search()
    assert found[2] == expected[2] and len(set(expected[0].lengths.tolist())) > 1
    for a, b in zip(found[:2], expected[:2], strict=True):
        assert torch.equal(a.ids, b.ids) and torch.equal(a.finished, b.finished) and torch.allclose(a.logps, b.logps, atol=1e-5)


def test_the_window_grows_with_the_rows(make_model, make_batch, in_blocks, monkeypatch):
    monkeypatch.setattr("models.decoding.WINDOW", 8)
    model = safe(make_model("delayed"))
    batch, sizes = make_batch(model, ROWS, "left"), []
    expected = sample(model, batch, 70, stop_ids=[])
    made = in_blocks()
    pin = models.sampler.SharedCache.pin
    monkeypatch.setattr(models.sampler.SharedCache, "pin", lambda self, size: sizes.append(size) or pin(self, size))
    assert torch.equal(sample(model, batch, 70, stop_ids=[]).ids, expected.ids)
    assert sizes == [16, 32, 64, 128, None] and made[0].size == 128 and WINDOW > 8


def test_a_graph_is_opened_only_where_it_is_worth_it(make_model, make_batch):
    model = make_model("delayed")
    cache = Session.prefill(model, make_batch(model, ROWS, "left")).cache
    assert type(open_decoder(model, cache, None, torch.arange(4), 10 * BLOCK)) is Decoder, "no GPU, no graph"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_graphs_are_captured_and_say_the_same(make_model, make_batch, fusion, monkeypatch, temperature):
    model = safe(make_model(fusion)).to("cuda")
    batch = {k: v.to("cuda") for k, v in make_batch(model, ROWS, "left").items()}
    how = {"stop_ids": [5], "temperature": temperature, "num_samples": 4}
    made = []
    usual = open_decoder
    monkeypatch.setattr(models.sampler, "open_decoder", lambda *a: made.append(usual(*a)) or made[-1])
    found = sample(model, batch, 300, **how)
    assert isinstance(made[0], GraphedDecoder) and made[0].capturable and made[0].graph is not None
    monkeypatch.setattr(models.sampler, "open_decoder", lambda model, cache, choose, live, _: Decoder(model, cache, choose, live))
    expected = sample(model, batch, 300, **how)
    assert torch.equal(found.ids, expected.ids) and torch.equal(found.lengths, expected.lengths)
    assert torch.allclose(found.logps, expected.logps, atol=1e-4)


@pytest.mark.parametrize("pinned", [True, False])
def test_keys_are_kept_in_the_precision_of_the_prompts(make_model, make_batch, pinned):
    """Under autocast a prefill may leave float32 values where a step brings bfloat16 ones."""
    cache = Session.prefill(make_model("delayed"), make_batch(make_model("delayed"), ROWS, "left")).cache
    cache.lengths = [0, 3, 1, 2]
    cache.reserve(8)
    cache.pin(8 if pinned else None)
    cache.step(1, None)
    new = torch.ones(4, *cache.prompts[0][0].shape[1:2], 1, cache.prompts[0][0].shape[3], dtype=torch.bfloat16)
    found, _ = cache.update(new, new, 0)
    assert found.own.dtype == torch.float32
    assert [int(row.any(-1)[0].nonzero()[0]) for row in found.own] == [0, 3, 1, 2], "each row's key behind its own end"


def test_autocast_decodes(make_model, make_batch, in_blocks):
    model = safe(make_model("delayed"))
    batch, made = make_batch(model, ROWS, "left"), in_blocks()
    with torch.autocast("cpu", torch.bfloat16):
        found = sample(model, batch, BLOCK + 2, stop_ids=[], temperature=1.0)
    assert made and found.lengths.tolist() == [BLOCK + 2] * len(ROWS) and bool(found.logps.isfinite().all())
