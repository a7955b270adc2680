"""Where labels come from: completions on one tree, judges, consensus; on a model whose every completion is known."""

from types import SimpleNamespace

import pytest
import torch

from data import protocol
from data.drawn_solutions import distinct_solutions, pass_rates
from data.record import Record, Step
from data.step_labels import Estimate, stop_early
from models.configuration import FocalConfig
from models.modeling import FocalModel
from models.prm import FocalPRM
from models.processing import FocalProcessor
from training import step_labelling
from training.prm_batches import (
    build_prm,
    check_forced,
    cut_parts,
    encode_part,
    label_token_ids,
    score_solutions,
    trim_left,
    weigh_parts,
)
from training.step_judges import AnswerJudge, ScoreJudge, load_judge
from training.step_labelling import LabelSettings, combined, count_right, injected_solutions, label, measure_steps

STEPS = [Step("red: 7", "perception", "7"), Step("blue: 5", "perception", "5"), Step("sum: 7 + 5 = 12", "reasoning", "12")]
RECORD = Record("r", "Sum?", ["12"], "integer", steps=STEPS, meta={"facts": {"red": "7", "blue": "5", "sum": "12"}})
GOLD = "<think>red: 7\nblue: 5\nsum: 7 + 5 = 12</think><answer>12</answer>"
SLIP = "<think>red: 7\nblue: 6\nsum: 7 + 6 = 13</think><answer>13</answer>"


@pytest.fixture(scope="module")
def reasoner():
    from training.tokenizer import build_tokenizer

    tokenizer = build_tokenizer(["vision"], 512, per_level=2)
    torch.manual_seed(0)
    llm = {
        "model_type": "qwen3", "vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "pad_token_id": tokenizer.pad_token_id, "tie_word_embeddings": True,
    }  # fmt: skip
    end = tokenizer.convert_tokens_to_ids(protocol.END)
    model = FocalModel(FocalConfig(llm=llm, streams={}, eos_token_id=end, pad_token_id=tokenizer.pad_token_id)).eval()
    return model, FocalProcessor(tokenizer, streams={})


def encode(processor, records):
    texts = [processor.tokenizer.apply_chat_template(protocol.messages(r), add_generation_prompt=True, tokenize=False) for r in records]
    return dict(processor.collate([processor.encode(text, []) for text in texts], "left"))


def drawn_of(*texts, size=None):
    return distinct_solutions([RECORD], texts, size or len(texts))


def test_equal_solutions_are_one_that_counts_twice():
    found = drawn_of(GOLD, SLIP, "<think>red: 7</think>", GOLD)
    assert [(d.owner, d.count, d.solution.labels) for d in found] == [(0, 2, [1, 1, 1, 1]), (0, 1, [1, 0, 0, 0])]
    assert found[0].solution.kinds == ["perception", "perception", "reasoning"]
    assert pass_rates(found, 1, 4) == [0.5]
    two = distinct_solutions([RECORD, RECORD], [GOLD, SLIP, GOLD, GOLD], 2)
    assert [(d.owner, d.count) for d in two] == [(0, 1), (0, 1), (1, 2)]
    assert pass_rates([*two, *injected_solutions([RECORD], 1, (0,))], 2, 2) == [0.5, 1.0]


def test_failed_completions_are_excluded_rather_than_wrong():
    texts = [GOLD, SLIP, "<think>red: 7</think><answer>", GOLD]
    assert count_right(RECORD, texts, [True, True, True, False]) == Estimate(1, 2, 2)
    assert count_right(RECORD, texts[2:], [True, False]).soft is None


def test_labels_of_one_solution_from_either_source():
    counts = [Estimate(16, 16), Estimate(4, 16), Estimate(0, 16), Estimate(0, 0)]
    make = lambda **options: LabelSettings(judge="x", **options)  # noqa: E731
    assert combined(counts, None, 4, make(source="monte_carlo")) == [1, 1, 0, None]
    assert combined(counts, None, 4, make(source="monte_carlo", threshold=0.25)) == [1, 0, 0, None]
    assert combined(counts, None, 4, make(source="monte_carlo", soft=True)) == [1.0, 0.25, 0.0, None]
    assert combined(counts, 2, 4, make(source="consensus_strict")) == [1, 1, 0, None]
    assert combined(counts, 1, 4, make(source="consensus_strict")) is None
    assert combined(counts, 1, 4, make(source="consensus_loose")) == [1, 0, None, None]
    assert combined(counts, 1, 4, make(source="judge_if_mc_zero")) == [1, 0, None, None]
    assert combined([], 1, 4, make(source="judge")) == [1, 0, None, None]
    assert combined([], None, 2, make(source="judge")) == [1, 1]
    odd = [Estimate(0, 4), Estimate(1, 4)]
    assert combined(odd, None, 2, make(source="monte_carlo")) == [0, 0]
    assert combined(odd, None, 2, make(source="monte_carlo", monotone=False)) == [0, 1]
    for options, word in (({"source": "judge"}, "need judge"), ({"soft": True}, "soft labels")):
        with pytest.raises(ValueError, match=word):
            LabelSettings(**options)


def test_a_consensus_drops_and_injected_errors_keep_their_exact_labels():
    drawn = drawn_of(GOLD, SLIP)
    errors = {"13": 1, "12": 0}
    measure = lambda todo: [[Estimate(int(label), 1) for label in d.solution.exact[:-1]] for d in todo]  # noqa: E731
    judge = lambda todo: [errors[d.solution.answer] for d in todo]  # noqa: E731
    injected = injected_solutions([RECORD], 1, (3,))
    kept = label([*drawn, *injected], LabelSettings(source="consensus_strict", judge="x"), measure, judge)
    assert [d.solution.source for d in kept] == ["injected", "consensus_strict"]
    assert kept[1].solution.labels == [1, 0, None, 0] and kept[1].solution.counts == [(1, 1, 0), (0, 1, 0), (0, 1, 0)]
    assert kept[0].solution.labels == injected[0].solution.exact and kept[1].solution.validate().exact == [1, 0, 0, 0]
    assert label(drawn, LabelSettings(), None, None) is drawn


class Counted:
    """The model with what it reads counted."""

    def __init__(self, model, monkeypatch):
        self.columns = []
        decode = model.decode
        monkeypatch.setattr(model, "decode", lambda ids, cache: (self.columns.append(tuple(ids.shape)), decode(ids, cache))[1])


def test_monte_carlo_on_one_tree(reasoner, monkeypatch):
    """`red: 7` begins both solutions: it is read once and measured once; estimates do not depend on what else is measured."""
    model, processor = reasoner
    drawn, seen = drawn_of(GOLD, SLIP), []
    ends = ("red: 7\n", "blue: 5\n", "</think>")

    def judged(record, texts, finished):
        seen.append(texts)
        depth = max(i for i, end in enumerate(ends) if end in texts[0])
        return Estimate(0 if "blue: 6" in texts[0] else 3 - depth, len(texts))

    monkeypatch.setattr(step_labelling, "count_right", judged)
    counted = Counted(model, monkeypatch)
    settings = LabelSettings(source="monte_carlo", samples=4, max_new_tokens=3)
    batch = encode(processor, [RECORD])
    found = measure_steps(model, processor, batch, drawn, settings, (0,))
    assert [[e.correct for e in row] for row in found] == [[3, 2, 1], [3, 0, 0]]
    assert [[e.valid for e in row] for row in found] == [[4, 4, 4], [4, 4, 0]]  # nothing is measured behind the measured zero
    assert [len(texts) for texts in seen] == [4, 4, 4, 4]
    assert all(text.startswith("<think>red: 7\n") for text in seen[0]) and len(set(seen[0])) > 1
    widest = [columns for columns in counted.columns if columns[1] > 1]
    assert [rows for rows, _ in widest] == [1, 2, 1]  # one row per distinct prefix and level
    alone = measure_steps(model, processor, batch, drawn[:1], settings, (0,))
    assert seen[4] == seen[0] and alone[0] == found[0]
    later = measure_steps(model, processor, batch, drawn, settings.model_copy(update={"early_stop": False}), (0,))
    assert [e.valid for e in later[1]] == [4, 4, 4]
    assert found == [stop_early(line) for line in later]


def test_real_completions_are_judged_by_the_gold_answer(reasoner):
    model, processor = reasoner
    settings = LabelSettings(source="monte_carlo", samples=2, max_new_tokens=3)
    found = measure_steps(model, processor, encode(processor, [RECORD]), drawn_of(GOLD), settings, (0,))
    assert found == [[Estimate(0, 0, 2)] * 3]  # random weights end no completion: unmeasured, not wrong
    assert measure_steps(model, processor, encode(processor, [RECORD]), drawn_of("<think></think><answer>12</answer>"), settings, (0,)) == [[]]


def test_parts_hold_what_they_should(reasoner):
    _, processor = reasoner
    other = Record("longer", "What is the sum of red and blue and green?", ["12"], "integer", meta=RECORD.meta)
    batch = encode(processor, [other, RECORD])
    drawn = distinct_solutions([other, RECORD], [GOLD, SLIP, SLIP, SLIP], 2)
    parts = cut_parts(batch, drawn, 1)
    assert [[d.owner for d in part] for part in parts] == [[1], [0, 0]]  # the shorter prompt first
    part = encode_part(batch, processor, parts[1], rates=[0.5, 0.0])
    assert part.targets.tolist() == [1, 1, 1, 1, 1, 0, 0, 0] and part.last.tolist() == [3, 7] and part.right.tolist() == [True, False]
    assert part.pass_rates.tolist() == [0.5] and part.owners.tolist() == [0, 0]
    short = encode_part(batch, processor, parts[0], supervise="outcome")
    assert short.targets.isnan().tolist() == [True] * 3 + [False] and short.counts.tolist() == [2] * 4
    assert bool(short.batch["attention_mask"].all())  # the padding of the longer prompt is cut off
    assert weigh_parts([part, short], "equal") == pytest.approx(10.0) and short.weights.tolist() == [0, 0, 0, pytest.approx(2.0)]
    assert trim_left(batch)["input_ids"].shape == batch["input_ids"].shape


def test_judges(reasoner, tmp_path):
    from data.worlds.base import Sample

    model, processor = reasoner
    step = processor.tokenizer.convert_tokens_to_ids(protocol.STEP)
    prm = FocalPRM.from_policy(model, step).eval()
    torch.manual_seed(1)
    torch.nn.init.normal_(prm.judge.weight)
    drawn, samples = drawn_of(GOLD, SLIP), [Sample(RECORD, [])]
    scores = score_solutions(prm, encode(processor, [RECORD]), processor, drawn, 1 << 14, torch.device("cpu"))
    assert [len(row) for row in scores] == [4, 4] and scores[0][0] == pytest.approx(scores[1][0], abs=1e-6)
    middle = sorted(scores[0][:3])[1]
    found = ScoreJudge(prm, processor, middle)(samples, drawn)
    assert found[0] == next(i for i, s in enumerate(scores[0]) if s < middle)
    assert ScoreJudge(prm, processor, 1e-9)(samples, drawn) == [None, None]
    speaker = AnswerJudge(model, processor, max_new_tokens=3)
    assert speaker(samples, drawn) == [None, None] and speaker.unreadable == 2 and speaker(samples, []) == []
    for name, saved, kind in (("prm", prm, ScoreJudge), ("policy", model, AnswerJudge)):
        saved.save_pretrained(tmp_path / name)
        processor.save_pretrained(tmp_path / name)
        assert isinstance(load_judge(str(tmp_path / name), 0.5), kind)
    assert load_judge(str(tmp_path / "prm"), middle)(samples, drawn) == found
    with pytest.raises(ValueError, match=r"labels.judge: no Focal checkpoint"):
        load_judge(str(tmp_path / "none"), 0.5)


def test_a_label_must_be_one_token_of_its_own(reasoner):
    _, processor = reasoner
    minus, plus = label_token_ids(processor.tokenizer)
    assert processor.tokenizer.decode([minus]) == "-" and processor.tokenizer.decode([plus]) == "+"
    with pytest.raises(ValueError, match="one token each"):
        label_token_ids(lambda sign, **_: {"input_ids": [1, 2]})
    check_forced([torch.tensor([5, 9, plus, 7, 9, minus])], 9, [minus, plus])
    with pytest.raises(ValueError, match="joins a label"):
        check_forced([torch.tensor([5, 9, 7])], 9, [minus, plus])
    with pytest.raises(ValueError, match="the tokenizer has no"):
        build_prm(None, SimpleNamespace(convert_tokens_to_ids=lambda _: None, unk_token_id=None))


def test_exactly_one_supervised_position_a_label_whatever_signs_the_text_holds(reasoner):
    _, processor = reasoner
    record = Record("s", "Is a - b + c -1 or +1?", ["+1"], "text", meta={"facts": {}})
    text = "<think>- a - b + c\n+ − -</think><answer>+1</answer>"
    batch = encode(processor, [record])
    for form in ("placeholder", "teacher_forced"):
        part = encode_part(batch, processor, distinct_solutions([record], [text], 1), form=form)
        step = processor.tokenizer.convert_tokens_to_ids(protocol.STEP)
        assert int((part.ids == step).sum()) == len(part.targets) == 3
        assert int((part.batch["input_ids"] == step).sum()) == 0  # nothing inside the question
