"""Our own model as a policy: samples that depend on their number alone, steps that continue as one completion would."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from models.media import Media
from models.sampler import sample
from reasoning.policy import ModelPolicy, content_key, sample_seed, stop_ids, twins
from reasoning.stepping import STEP_ENDS, ended_step, step_stop_ids


@pytest.fixture
def own(tiny):
    return ModelPolicy(tiny.model, tiny.processor, seed=3)


def test_a_sample_depends_on_its_number_alone(own, tiny):
    asked = tiny.asked(3)
    together = own.sample(asked, [[0, 1, 2, 5]] * 3, 1.0, 12)
    alone = own.sample(asked[1:2], [[5]], 1.0, 12)[0][0]
    assert alone.text == together[1][3].text and alone.seed == together[1][3].seed == sample_seed(3, "picture-1", 5)
    assert len({g.text for item in together for g in item}) > 6
    ragged = own.sample(asked, [[1], [], [0, 2]], 1.0, 12)
    assert [[g.k for g in item] for item in ragged] == [[1], [], [0, 2]] and ragged[2][1].text == together[2][2].text
    small = ModelPolicy(tiny.model, tiny.processor, seed=3, max_rows=4).sample(asked, [[0, 1, 2, 5]] * 3, 1.0, 12)
    assert [[g.text for g in item] for item in small] == [[g.text for g in item] for item in together]


def test_what_a_generation_holds(own, tiny):
    asked = tiny.asked(2)
    found = own.sample(asked, [[0], [0]], 0.0, 8)
    direct = sample(tiny.model, own.batch(asked), 8, stop_ids=stop_ids(tiny.processor.tokenizer))
    for (g,), ids, logps, n in zip(found, direct.ids, direct.logps, direct.lengths.tolist(), strict=True):
        assert g.ids == ids[:n].tolist() and g.tokens == n
        torch.testing.assert_close(torch.tensor(g.logps), logps[:n], rtol=0, atol=1e-5)


def test_the_very_same_question_is_decoded_once(own, tiny, monkeypatch):
    """Greedily: two records with one prompt and one picture; another picture, another prompt or a temperature is another question."""
    first, other = tiny.asked(2)
    twin = dataclasses.replace(first, record=dataclasses.replace(first.record, id="twin"), media=[Media("image", first.media[0].array.copy())])
    elsewhere = dataclasses.replace(first, record=dataclasses.replace(first.record, id="elsewhere"), media=other.media)
    asked, rows = [first, other, twin, elsewhere], []
    decode = own._decode
    monkeypatch.setattr(own, "_decode", lambda items, *more: (rows.append([i.record.id for i in items]), decode(items, *more))[1])
    found = own.sample(asked, [[0]] * 4, 0.0, 8)
    assert rows == [["picture-0", "picture-1", "elsewhere"]]
    assert found[2][0].ids == found[0][0].ids and found[2][0].seed == sample_seed(3, "twin", 0) != found[0][0].seed
    assert [g.ids for (g,) in found[:2]] == [g.ids for (g,) in own.sample(asked[:2], [[0]] * 2, 0.0, 8)]
    own.sample(asked, [[0]] * 4, 1.0, 2)
    assert rows[-1] == ["picture-0", "picture-1", "twin", "elsewhere"]
    assert twins(asked, [[0], [0], [1], [0]]) == [0, 1, 2, 3]


def test_media_are_alike_in_content_only():
    clip = np.zeros((2, 4, 4, 3), np.uint8)
    same = [Media("video", clip, 5.0, np.arange(2.0)), Media("video", clip.copy(), 5.0, np.arange(2.0))]
    others = [
        Media("video", clip, 4.0, np.arange(2.0)), Media("video", clip, 5.0), Media("video", clip + 1, 5.0, np.arange(2.0)),
        Media("video", clip.reshape(4, 2, 4, 3), 5.0, np.arange(2.0)), Media("image", clip[0]), Media("audio", np.zeros(96, np.float32), 5.0),
    ]  # fmt: skip
    assert content_key(same[0]) == content_key(same[1]) and len({content_key(m) for m in (*same, *others)}) == 1 + len(others)


def test_prompts_and_their_spans(own, tiny):
    item = tiny.asked(1)[0]
    spans = own.spans(item)
    assert [kind for kind, _, _ in spans] == ["text", "image", "text"]
    assert spans[0][1] == 0 and spans[-1][2] == own.prompt_tokens(item) and all(a[2] == b[1] for a, b in itertools.pairwise(spans))
    assert own.problem(item) is None and item.encoded.keys() == {"policy"}
    item.encoded.clear()
    item.media *= 2
    assert "1 media placeholders but 2 media" in own.problem(item)


def test_greedy_steps_are_the_greedy_completion(own, tiny):
    """Step by step off one cache, without a token read twice, the model says what it says in one go."""
    asked = tiny.asked(2)
    whole = own.sample(asked, [[0], [0]], 0.0, 24)
    stepper = own.begin(asked)
    before = stepper.tokens_read
    texts, rows = ["", ""], [0, 1]
    for _ in range(24):
        made = stepper.grow(rows, [0] * 2, [0] * 2, 0.0, 1, whole=True)
        texts = [text + g.text for text, g in zip(texts, made, strict=True)]
        rows = [0, 1]
    for text, (g,) in zip(texts, whole, strict=True):
        assert text.startswith(g.text) or (not g.finished and text == g.text)
    assert stepper.tokens_read - before == 2 * 23  # the last token of each has not been read yet


def test_where_a_step_ends(tiny):
    ids, strings = step_stop_ids(tiny.processor.tokenizer)
    said = [tiny.processor.tokenizer.decode([i]) for i in ids]
    assert "\n" in said and "</think>" in said and strings == ()
    assert all(any(end in text for end in STEP_ENDS) for text in said)
    assert ended_step("a: 1\n") and ended_step("b</think>") and not ended_step("a: ")


def test_a_step_stops_behind_its_delimiter(own, tiny):
    stepper = own.begin(tiny.asked(2))
    made = stepper.grow([0, 0, 1, 1] * 8, list(range(32)), list(range(32)), 3.0, 60)
    for g in made:
        inside = tiny.processor.tokenizer.decode(g.ids[:-1])
        assert not any(end in inside for end in STEP_ENDS)
    assert any(ended_step(g.text) for g in made)
