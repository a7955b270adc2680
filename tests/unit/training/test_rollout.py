"""Shared-prefix log-probabilities against the repeated-prefix forward, and the shape of a rollout."""

import functools

import pytest
import torch
from transformers import DynamicCache

from data.worlds.vision import VisionWorld
from models.configuration import FocalConfig
from models.modeling import FocalModel
from models.processing import Encoded, pad_ids
from training.rewards.algebra import Ledger, build_terms
from training.rewards.verdict import answer
from training.rollout import Rollouts, Sampling, completion_logps, encode_frozen, pick_groups, roll_out, shuffle_frames

IMAGE, VOCAB, GROUP = 60, 64, 3


def tiny(fusion, dtype):
    torch.manual_seed(0)
    llm = {
        "model_type": "qwen3", "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0, "tie_word_embeddings": True,
    }  # fmt: skip
    encoder = {"name": "conv", "kind": "image", "size": 16, "width": 16, "heads": 2, "depth": 1}
    streams = {"image": {"encoder": encoder, "projector": {"name": "mlp"}, "fusion": [fusion], "token_id": IMAGE}}
    model = FocalModel(FocalConfig(llm=llm, streams=streams)).to(dtype)
    for module in model.modules():  # transformers' RMSNorm computes in float32 whatever comes in, which would hide an error below 1e-7
        if dtype == torch.float64 and type(module).__name__ == "Qwen3RMSNorm":
            module.forward = functools.partial(torch.nn.functional.rms_norm, normalized_shape=module.weight.shape, weight=module.weight, eps=1e-6)
    return model


def prompts(dtype):
    g = torch.Generator().manual_seed(1)
    rows = [torch.tensor([5, IMAGE, IMAGE, IMAGE, IMAGE, 7, 8]), torch.tensor([IMAGE, IMAGE, IMAGE, IMAGE, 9])]
    batch = pad_ids(rows, 0, "left")
    batch |= {"image_features": torch.randn(2, 3, 16, 16, generator=g, dtype=dtype), "image_rows": torch.tensor([0, 1])}
    ids = torch.randint(1, 50, (2 * GROUP, 5), generator=g)
    return batch, ids


def repeated(model, batch, ids):
    """The plain way: every rollout carries its own copy of the prompt, and its medium is encoded again."""
    rows = torch.arange(2).repeat_interleave(GROUP)
    full = {
        "input_ids": torch.cat([batch["input_ids"][rows], ids], 1),
        "attention_mask": torch.cat([batch["attention_mask"][rows], torch.ones_like(ids)], 1),
        "image_features": batch["image_features"][rows],
        "image_rows": torch.arange(2 * GROUP),
    }
    hidden = model.hidden_states(**full)[:, batch["input_ids"].shape[1] - 1 : -1]
    return torch.log_softmax(model.logits(hidden), -1).gather(-1, ids[..., None])[..., 0]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("fusion", [{"from_layer": 0}, {"from_layer": 1}, {"as": "kv"}], ids=["prepend", "delayed", "kv"])
def test_shared_prefix_gradients_equal_repeated_prefix_gradients(fusion, dtype, tolerance):
    model = tiny(fusion, dtype)
    batch, ids = prompts(dtype)
    signal = torch.randn(ids.shape, generator=torch.Generator().manual_seed(2), dtype=dtype)
    gradients = []
    for way in (lambda: completion_logps(model, batch, ids, 1.0, GROUP)[0], lambda: repeated(model, batch, ids)):
        model.zero_grad()
        logps = way()
        (logps * signal).sum().backward()
        gradients.append((logps.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}))
    (mine, g_mine), (theirs, g_theirs) = gradients
    torch.testing.assert_close(mine, theirs, rtol=tolerance * 10, atol=tolerance * 10)
    assert g_mine.keys() == g_theirs.keys()
    for name, theirs in g_theirs.items():
        scale = theirs.norm()
        assert (g_mine[name] - theirs).norm() <= tolerance * scale + 1e-12 or scale < 1e-9, name


def gradients_and_saved_bytes(model, batch, ids):
    """What an update computes, and how much it holds for the backward pass."""
    saved = []
    model.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.nbytes) or t, lambda t: t):
        logps = completion_logps(model, batch, ids, 1.0, GROUP)[0]
    logps.square().sum().backward()
    return logps.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}, sum(saved)


@pytest.mark.parametrize("fusion", [{"from_layer": 0}, {"from_layer": 1}, {"as": "kv"}], ids=["prepend", "delayed", "kv"])
def test_gradient_checkpointing_gives_the_same_gradients_from_less_memory(fusion):
    model, (batch, _) = tiny(fusion, torch.float32), prompts(torch.float32)
    model.train()
    ids = torch.randint(1, 50, (2 * GROUP, 40), generator=torch.Generator().manual_seed(3))
    plain, expected, much = gradients_and_saved_bytes(model, batch, ids)
    model.gradient_checkpointing_enable()
    again, found, little = gradients_and_saved_bytes(model, batch, ids)
    torch.testing.assert_close(again, plain, rtol=1e-5, atol=1e-5)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() <= 1e-5 * gradient.norm() + 1e-9, name
    assert little < much / 3
    with torch.no_grad():
        torch.testing.assert_close(completion_logps(model, batch, ids[:, :1], 1.0, GROUP)[0], plain[:, :1], rtol=1e-5, atol=1e-5)


def test_gradients_of_a_repeated_prompt_do_not_depend_on_which_thread_comes_first():
    from models.cache import Decoding

    keys = torch.randn(1, 4, 60, 32, generator=torch.Generator().manual_seed(0), requires_grad=True)
    rows, found, threads = torch.zeros(93, dtype=torch.long), set(), torch.get_num_threads()
    weight = torch.randn(93, 4, 60, 32, generator=torch.Generator().manual_seed(1))
    torch.set_num_threads(2)
    try:
        for _ in range(40):  # plain indexing gave two hundred different sums in five hundred runs
            cache = DynamicCache()
            cache.update(keys, keys.detach(), 0)
            cache.decoding = Decoding(torch.zeros(1, dtype=torch.long), [None], [0])
            FocalModel.take_rows(cache, rows)
            found.add(torch.autograd.grad((cache.layers[0].keys * weight).sum(), keys)[0].numpy().tobytes())
    finally:
        torch.set_num_threads(threads)
    assert len(found) == 1


def test_entropy_and_normalizer_follow_the_temperature():
    model, (batch, ids) = tiny({}, torch.float32), prompts(torch.float32)
    logps, entropy, norms, hidden = completion_logps(model, batch, ids, 0.5, GROUP)
    logits = model.logits(hidden) / 0.5
    torch.testing.assert_close(norms, torch.logsumexp(logits, -1))
    torch.testing.assert_close(logps, torch.log_softmax(logits, -1).gather(-1, ids[..., None])[..., 0])
    torch.testing.assert_close(entropy, torch.distributions.Categorical(logits=logits).entropy())


class Processor:
    """Just what a rollout asks of a processor."""

    class Tokenizer:
        pad_token_id = 0

        def convert_tokens_to_ids(self, token):
            return 2

        def batch_decode(self, rows):
            return [" ".join(map(str, row)) for row in rows]

    tokenizer = Tokenizer()

    def collate(self, rows, side):
        assert side == "left"
        return pad_ids([torch.tensor(r.prompt) for r in rows], 0, side) | {
            "image_features": torch.ones(len(rows), 3, 16, 16),
            "image_rows": torch.arange(len(rows)),
        }


def test_rollouts_are_grouped_seeded_and_rewarded():
    model, world = tiny({}, torch.float32), VisionWorld(["bar"])
    rows = [(world.sample(1, i).record, Encoded([5, *[IMAGE] * 4, 7 + i], [], {})) for i in range(2)]
    how = Sampling(num_generations=4, temperature=1.0, max_new_tokens=6)
    terms = build_terms([{"name": "answer"}], {"answer": answer}.__getitem__)
    first, again, other = (roll_out(model, Processor(), rows, how, terms, Ledger(), seed) for seed in ((0, 1), (0, 1), (0, 2)))
    assert first.ids.shape[0] == 8 and first.rewards.shape == (2, 4)
    assert torch.equal(first.ids, again.ids) and first.texts == again.texts
    assert not torch.equal(first.ids, other.ids)
    assert first.mask.sum(1).max() <= 6
    assert (first.rewards == 0).all()  # random weights do not write the protocol
    logps = completion_logps(model, first.batch, first.ids, 1.0, 4)[0].detach()
    drift = ((logps - first.sampler_logps).abs() * first.mask).max()
    assert drift < 0.05  # the sampler never says a placeholder; the trainer gives it its tiny share


def test_picked_groups_keep_their_media():
    batch = {
        "input_ids": torch.arange(6).view(3, 2), "attention_mask": torch.ones(3, 2), "image_features": torch.tensor([[0.0], [1.0], [2.0]]),
        "image_rows": torch.tensor([0, 2, 2]),
    }  # fmt: skip
    rollouts = Rollouts(batch, [], [], [], torch.zeros(6, 1), torch.ones(6, 1), torch.zeros(6, 1), torch.zeros(6), torch.zeros(3, 2), {}, {})
    picked, rows = pick_groups(rollouts, [2], 2)
    assert picked["input_ids"].tolist() == [[4, 5]]
    assert rows.tolist() == [4, 5]
    assert picked["image_features"].tolist() == [[1.0], [2.0]] and picked["image_rows"].tolist() == [0, 0]
    assert "image_features" not in pick_groups(rollouts, [1], 2)[0]


@pytest.mark.parametrize("fusion", [{"from_layer": 0}, {"from_layer": 1}, {"as": "kv"}], ids=["prepend", "delayed", "kv"])
def test_frozen_media_are_encoded_once_and_give_the_same_log_probabilities(fusion):
    model, (batch, ids) = tiny(fusion, torch.float32), prompts(torch.float32)
    plain = completion_logps(model, batch, ids, 1.0, GROUP)[0]
    assert encode_frozen(model, batch).keys() == batch.keys()  # a trained encoder needs its features
    model.streams["image"].encoder.requires_grad_(False)
    model.train()
    ready = encode_frozen(model, batch)
    assert "image_features" not in ready and "image_features" in batch
    calls = []
    model.streams["image"].encoder.register_forward_hook(lambda *_: calls.append(1))
    torch.testing.assert_close(completion_logps(model, ready, ids, 1.0, GROUP)[0], plain, rtol=1e-5, atol=1e-5)
    rollouts = Rollouts(ready, [], [], [], ids, torch.ones_like(ids), ids, ids[:, 0] > 0, torch.zeros(2, GROUP), {}, {})
    picked, rows = pick_groups(rollouts, [1], GROUP)
    torch.testing.assert_close(completion_logps(model, picked, ids[rows], 1.0, GROUP)[0], plain[rows], rtol=1e-5, atol=1e-5)
    assert calls == []


def test_a_rollout_encodes_each_medium_once_however_many_rows_it_has():
    model, world = tiny({}, torch.float32), VisionWorld(["bar"])
    seen = []
    model.streams["image"].encoder.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    rows = [(world.sample(1, i).record, Encoded([5, *[IMAGE] * 4, 7 + i], [], {})) for i in range(2)]
    how = Sampling(num_generations=5, temperature=1.0, max_new_tokens=4)
    roll_out(model, Processor(), rows, how, [], Ledger(), (0,))
    assert sum(seen) == 2


def test_shuffled_frames_are_the_same_frames_and_padding_stays_behind():
    frames = torch.arange(2 * 6).view(2, 6, 1).float() + 1
    batch = {"video_features": frames, "video_lengths": torch.tensor([6, 4]), "image_features": frames.clone(), "video_rows": torch.arange(2)}
    shuffled = shuffle_frames(batch, (0, 3))
    assert torch.equal(shuffled["image_features"], frames) and torch.equal(batch["video_features"], frames)
    new = shuffled["video_features"]
    assert torch.equal(new[1, 4:], frames[1, 4:])
    assert not torch.equal(new, frames)
    assert torch.equal(new.sort(1).values, frames)
    assert torch.equal(shuffle_frames(batch, (0, 3))["video_features"], new)
    assert not torch.equal(shuffle_frames(batch, (0, 4))["video_features"], new)
