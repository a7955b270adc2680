"""The reward model as a scorer: the numbers of a plain full pass, however they were come by; nothing read twice; bad input named."""

import dataclasses
import json
import math

import pytest
import torch

from data import protocol
from data.drawn_solutions import distinct_solutions
from data.solutions import mark_steps
from models.prm import FocalPRM
from reasoning.scorers.orm import ORMScorer
from reasoning.scorers.prm import PRMScorer, PRMScorerConfig, chunks, find_prm, load_prm, partings
from reasoning.scorers.prm_guide import PRMGuide
from reasoning.scorers.vlprm import VLPRMScorer
from reasoning.trace import Generation
from training.prm_batches import score_solutions

STEP = protocol.STEP


def scorer(tiny, kind=PRMScorer, **options):
    config = PRMScorerConfig(**options) if kind is PRMScorer else kind.config_class()
    return kind(config, model=tiny.prm, processor=tiny.processor)


def generations(*texts):
    return [Generation(k, k, text, len(text), True) for k, text in enumerate(texts)]


def full_pass(tiny, item, marked):
    """Scores by one uncached forward pass over prompt and solution together, and the number of its tokens."""
    row = tiny.processor.encode(item.prompt, item.media, marked)
    batch = dict(tiny.processor.collate([row], "right"))
    batch.pop("labels")
    return tiny.prm.step_scores(**batch)[0], len(row.prompt) + len(row.completion)


SOLUTIONS = (
    "<think>a: 1\nb: 2\nc: 3</think><answer>6</answer><|end|>",
    "<think>a: 1\nb: 2\nc: 4</think><answer>7</answer><|end|>",
    "<think>a: 1\nb: 2\nc: 3</think><answer>6</answer><|end|>",
    "<think>a: 2</think><answer>2</answer><|end|>",
    "<think></think><answer>6</answer><|end|>",
)


def test_same_scores_as_one_full_pass_and_shared_steps_are_read_once(tiny):
    asked = tiny.asked(3)
    scored = scorer(tiny).score(asked, [generations(*SOLUTIONS), generations(), generations(*SOLUTIONS[::-1])])
    for item, found, texts in [(asked[0], scored[0], SOLUTIONS), (asked[2], scored[2], SOLUTIONS[::-1])]:
        for text, value, steps in zip(texts, found.values, found.steps, strict=True):
            expected, _ = full_pass(tiny, item, mark_steps(protocol.parse(text)))
            torch.testing.assert_close(torch.tensor(steps), torch.tensor(expected), rtol=0, atol=1e-5)
            assert value == steps[-1]
    assert scored[1].values == [] and scored[1].prompt_tokens == 0
    # 10 distinct nodes: a, b (shared by three), two c, two answers; the short one's two; the empty one's answer.
    ids = tiny.processor.tokenizer
    parts = {p for t in SOLUTIONS for p in nodes(t)}
    assert sum(scored[0].tokens) == sum(len(ids(p[-1], add_special_tokens=False)["input_ids"]) for p in parts)
    assert scored[0].tokens[2] == 0
    costs = scorer(tiny).cost(asked, [generations(*SOLUTIONS), [], generations(*SOLUTIONS[::-1])])
    assert costs == [s.prompt_tokens + sum(s.tokens) for s in scored]


def test_likelihood_is_carried_along_the_branches(tiny):
    tokenizer = tiny.processor.tokenizer
    marks = [tokenizer.convert_tokens_to_ids(token) for token in (STEP, protocol.THINK)]
    prm = FocalPRM.from_policy(tiny.model, marks[0], solution_token_id=marks[1]).eval()
    torch.nn.init.normal_(prm.judge.weight)
    likely, asked = dataclasses.replace(tiny, prm=prm), tiny.asked(2)
    scored = scorer(likely).score(asked, [generations(*SOLUTIONS), generations(*SOLUTIONS[2:])])
    for item, found, texts in [(asked[0], scored[0], SOLUTIONS), (asked[1], scored[1], SOLUTIONS[2:])]:
        for text, steps in zip(texts, found.steps, strict=True):
            torch.testing.assert_close(
                torch.tensor(steps), torch.tensor(full_pass(likely, item, mark_steps(protocol.parse(text)))[0]), rtol=0, atol=1e-5
            )
    drawn = distinct_solutions([item.record for item in asked], [*SOLUTIONS[:2], *SOLUTIONS[2:4]], 2)
    batch = tiny.processor.collate([tiny.processor.encode(item.prompt, item.media) for item in asked], "left")
    together = score_solutions(prm, dict(batch), tiny.processor, drawn, 1 << 14, torch.device("cpu"))
    torch.testing.assert_close(torch.tensor(together[0]), torch.tensor(scored[0].steps[0]), rtol=0, atol=1e-5)


def nodes(text):
    parts = [p + STEP for p in mark_steps(protocol.parse(text)).split(STEP)[:-1]]
    return [tuple(parts[: i + 1]) for i in range(len(parts))]


def test_every_aggregate_comes_from_the_same_steps(tiny):
    asked = tiny.asked(1)
    steps = scorer(tiny).score(asked, [generations(SOLUTIONS[0])])[0].steps[0]
    for how, value in [("min", min(steps)), ("mean", sum(steps) / 4), ("prod", math.prod(steps)), ("last", steps[-1])]:
        made = scorer(tiny, aggregate=how)
        assert made.score(asked, [generations(SOLUTIONS[0])])[0].values[0] == pytest.approx(value)
        assert made.name == ("prm" if how == "last" else f"prm_{how}")


def test_a_search_is_read_forward_only(tiny):
    """Guided step by step along a tree, each branch gets the scores of a full pass, and the session's own count of tokens is that of the tree."""
    asked = tiny.asked(2)
    guide = scorer(tiny).begin(asked)
    assert isinstance(guide, PRMGuide)
    prompts = guide.tokens_read
    one = guide.judge([0, 0, 0, 1], ["<think>a: 1\n", "<think>a: 2\n", "<think>a: 1\n", "<think>a: 1\n"])
    assert [j.tokens > 0 for j in one] == [True, True, False, True] and one[0].value == one[2].value != one[3].value
    texts = ["<think>a: 1\nb: 2</think>", "<think>a: 2\nb: 9</think>", "<think>a: 1\nb: 3</think>"]
    two = guide.judge([2, 1, 3], texts)
    three = guide.judge([0, 2], [texts[0] + "<answer>6</answer><|end|>", texts[2] + "<answer>7</answer><|end|>"])
    read = sum(j.tokens for j in [*one, *two, *three])
    assert guide.tokens_read - prompts == read
    for item, judged, text in [(asked[0], three[0], texts[0] + "<answer>6</answer>"), (asked[1], three[1], texts[2] + "<answer>7</answer>")]:
        expected, _ = full_pass(tiny, item, mark_steps(protocol.parse(text)))
        torch.testing.assert_close(torch.tensor(judged.steps), torch.tensor(expected), rtol=0, atol=1e-5)
    assert PRMGuide(scorer(tiny), asked).judge([0], ["<think>"])[0].value == 0.5  # nothing said yet: undecided


def test_whole_solution_as_one_step(tiny):
    asked = tiny.asked(1)
    found = scorer(tiny, ORMScorer).score(asked, [generations(*SOLUTIONS)])[0]
    bare = mark_steps(protocol.parse(SOLUTIONS[1])).replace(STEP, "") + STEP
    expected, _ = full_pass(tiny, asked[0], bare)
    assert found.values[1] == pytest.approx(expected[0], abs=1e-5) and len(found.steps[1]) == 1
    with pytest.raises(ValueError, match="'orm' judges whole solutions"):
        scorer(tiny, ORMScorer).begin(asked)


def test_vlprm_prefers_length_as_published(tiny):
    from reasoning.scorers.aggregate import vlprm_select

    asked = tiny.asked(1)
    whole = scorer(tiny, ORMScorer).score(asked, [generations(*SOLUTIONS)])[0]
    found = scorer(tiny, VLPRMScorer).score(asked, [generations(*SOLUTIONS)])[0]
    lengths = [full_pass(tiny, asked[0], mark_steps(protocol.parse(t)).replace(STEP, "") + STEP)[1] for t in SOLUTIONS]
    assert max(range(5), key=lambda i: found.values[i]) == vlprm_select(whole.values, lengths)
    config = VLPRMScorer.config_class()
    made = VLPRMScorer(config, model=tiny.prm, processor=tiny.processor)
    assert made.combine([0.6796875], 2290) == pytest.approx(0.008586012, abs=1e-9) and made.combine([0.4], 9) == pytest.approx(-0.6)


def test_teacher_forced_form_reads_a_plus_behind_every_earlier_step(tiny):
    """The same numbers by a search, step by step, by the scorer, by the held-out evaluation's function and by one plain pass."""
    from models.prm import FocalPRM

    ids = tiny.processor.tokenizer
    minus, plus = (ids(sign, add_special_tokens=False)["input_ids"][0] for sign in "-+")
    forced = FocalPRM.from_policy(tiny.model, tiny.prm.config.step_token_id, "teacher_forced", [minus, plus]).eval()
    item = tiny.asked(1)[0]
    made = PRMScorer(PRMScorerConfig(), model=forced, processor=tiny.processor)
    scored = made.score([item], [generations(*SOLUTIONS)])[0]
    guide = made.begin([item])
    for end in ("a: 1\n", "a: 1\nb: 2\n", "a: 1\nb: 2\nc: 3</think><answer>6</answer><|end|>"):
        guided = guide.judge([0], [f"<think>{end}"])[0].steps
    record = item.record
    drawn = distinct_solutions([record], [SOLUTIONS[0]], 1)
    row = tiny.processor.encode(item.prompt, item.media)
    heldout = score_solutions(forced, dict(tiny.processor.collate([row], "left")), tiny.processor, drawn, 1 << 14, torch.device("cpu"))[0]
    expected, _ = full_pass(dataclasses.replace(tiny, prm=forced), item, mark_steps(protocol.parse(SOLUTIONS[0]), [1, 1, 1, 1]))
    for found in (scored.steps[0], guided, heldout):
        torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=0, atol=1e-5)
    assert made.cost([item], [generations(*SOLUTIONS)]) == [scored.prompt_tokens + sum(scored.tokens)]
    whole = ORMScorer(ORMScorer.config_class(), model=forced, processor=tiny.processor)
    bare = mark_steps(protocol.parse(SOLUTIONS[0])).replace(STEP, "") + STEP
    assert whole.parts(SOLUTIONS[0]) == (bare,)  # one step: nothing stands before it


def test_a_scorer_with_another_tokenizer_reads_the_text_in_its_own(tiny):
    from models.configuration import FocalConfig
    from models.prm import FocalPRM
    from models.processing import FocalProcessor
    from training.tokenizer import build_tokenizer

    tokenizer = build_tokenizer(["vision"], 400, per_level=1)
    config = tiny.prm.config.to_dict()
    streams = {"image": config["streams"]["image"] | {"token_id": tokenizer.convert_tokens_to_ids("<|image|>")}}
    changed = {"llm": config["llm"] | {"vocab_size": len(tokenizer)}, "streams": streams}
    torch.manual_seed(1)
    other = FocalPRM(FocalConfig.from_dict(config | changed | {"step_token_id": tokenizer.convert_tokens_to_ids(STEP)})).eval()
    processor = FocalProcessor(tokenizer, streams={"image": {k: v for k, v in tiny.processor.streams["image"].items()}})
    item = tiny.asked(1)[0]
    found = PRMScorer(PRMScorerConfig(), model=other, processor=processor).score([item], [generations(SOLUTIONS[0])])[0]
    theirs = dataclasses.replace(tiny, prm=other, processor=processor)
    expected, _ = full_pass(theirs, item, mark_steps(protocol.parse(SOLUTIONS[0])))
    torch.testing.assert_close(torch.tensor(found.steps[0]), torch.tensor(expected), rtol=0, atol=1e-5)


def test_bad_solutions(tiny):
    asked = tiny.asked(1)
    texts = ("", "<think>a: 1", "no delimiter <answer>6</answer>", f"<think>a: {STEP} 1</think><answer>{STEP}</answer>")
    found = scorer(tiny).score(asked, [generations(*texts)])[0]
    assert found.values[:2] == [None, None] and found.tokens[:2] == [0, 0]  # no solution: no value, never a zero
    assert len(found.steps[2]) == 1 and len(found.steps[3]) == 2  # text cannot pose as a mark
    many = "\n".join(f"s{i}: {i}" for i in range(500))
    found = scorer(tiny).score(asked, [generations(f"<think>{many}</think><answer>1</answer>")])[0]
    assert len(found.steps[0]) == 501


def test_a_score_that_is_no_number_is_an_error_naming_the_record(tiny):
    import copy

    broken = copy.deepcopy(tiny.prm)
    torch.nn.init.constant_(broken.judge.weight, float("nan"))
    with pytest.raises(ValueError, match="'picture-0' got a score that is not a number"):
        PRMScorer(PRMScorerConfig(), model=broken, processor=tiny.processor).score(tiny.asked(1), [generations(SOLUTIONS[0])])


def test_media_that_the_scorer_does_not_take_are_named(tiny):
    from models.media import Media

    item = tiny.asked(1)[0]
    item = dataclasses.replace(item, turn="<|image|><|image|>twice", encoded={}, media=[*item.media, Media("image", item.media[0].array)] * 2)
    with pytest.raises(ValueError, match="scorer 'prm' cannot read record 'picture-0'"):
        scorer(tiny).score([item], [generations(SOLUTIONS[0])])


def test_where_a_reward_model_is_found(tiny, tmp_path):
    stage = tmp_path / "run" / "stages" / "2-prm"
    tiny.prm.save_pretrained(stage / "checkpoint")
    tiny.processor.save_pretrained(stage / "checkpoint")
    for path in (stage, stage / "checkpoint", tmp_path / "run"):
        assert find_prm(path) == stage / "checkpoint"
    model, processor = load_prm(stage / "checkpoint")
    loaded = PRMScorer(PRMScorerConfig(path=str(stage)))
    asked = tiny.asked(1)
    assert loaded.score(asked, [generations(SOLUTIONS[0])])[0].values == scorer(tiny).score(asked, [generations(SOLUTIONS[0])])[0].values
    assert loaded.fingerprint != PRMScorer(PRMScorerConfig(), model=model, processor=processor).fingerprint
    with pytest.raises(ValueError, match="holds no process reward model"):
        find_prm(tmp_path)
    with pytest.raises(ValueError, match="needs a folder"):
        find_prm(None)
    config = json.loads((stage / "checkpoint" / "config.json").read_text())
    (stage / "checkpoint" / "config.json").write_text(json.dumps(config | {"step_token_id": 5}))
    with pytest.raises(ValueError, match="not a pair"):
        load_prm(stage / "checkpoint")


def test_where_solutions_part():
    rows = {"x": ("a", "b", "c", "z"), "y": ("a", "b", "d"), "same": ("a", "b", "d"), "short": ("a", "b"), "alone": ("q", "r", "s")}
    assert partings(rows) == {"x": [2, 4], "y": [2, 3], "same": [2, 3], "short": [2], "alone": [3]}
    assert partings({}) == {}


def test_items_are_read_in_chunks_of_whole_items():
    assert list(chunks([3, 3, 3, 9, 1], 6)) == [(0, 2), (2, 3), (3, 4), (4, 5)]
    assert list(chunks([], 6)) == []
