"""Worlds in the benchmarks' own files: an oracle scores 100 under every protocol, offline and through `evaluate`; without media it is at chance."""

import collections

import pytest

from data import protocol
from data.render import render_format
from data.worlds.base import generator
from eval.answering import Answered
from eval.benchmarks.base import Wanted
from eval.benchmarks.clevrer import Clevrer
from eval.benchmarks.mathvista import MathVista
from eval.benchmarks.mmau import MMAU
from eval.controls import wrapper_sensitivity
from eval.passes import MediaStore
from eval.run import evaluate
from eval.score import score_files

CLOTHES = [("mmau", "audio", MMAU), ("mathvista", "vision", MathVista), ("clevrer", "video", Clevrer)]
COUNT = 10


@pytest.fixture(params=CLOTHES, ids=[name for name, _, _ in CLOTHES], scope="module")
def dressed(request, tmp_path_factory):
    """(benchmark class, its folder, its gold file) of one world."""
    name, world, kind = request.param
    folder = tmp_path_factory.mktemp("clothes") / name
    (gold,) = render_format(name, world, 1, COUNT, 11, "test", folder)
    return kind, folder, gold


def said(record) -> str:
    """The gold as text: an option's own text, letters for several, the plain value elsewhere."""
    if record.answer_type == "choice":
        return record.options["ABCDEFGHIJ".index(record.answer[0])]
    return ", ".join(record.answer) or protocol.NO_OPTION


def test_gold_scores_100_under_every_protocol(dressed, score):
    kind, folder, gold = dressed
    records = kind(path=folder).records(gold)[0]
    assert len(records) >= COUNT
    for name in kind.protocols:
        for rows in (
            [{"id": r.id, "response": f"<think></think><answer>{said(r)}</answer>"} for r in records],
            [{"id": r.id, "prediction": said(r)} for r in records],
        ):
            report = score(kind(), gold, rows, name)
            assert report.score == 1.0 and report.problems == [], (name, [r for r in report.rows if not r["correct"]])


def test_gold_through_the_controls_scores_100_too(dressed):
    """Items without a right option among them, whose answer is `none`."""
    kind, folder, gold = dressed
    bench = kind(path=folder)
    for name in bench.protocols:
        records = [r for r in bench.records(gold)[0] if bench.asked(r, name)]
        assert wrapper_sensitivity(bench, records, name)["scores"]["X"] == 1, name
    if kind is Clevrer:
        assert any(r.answer == [] for r in bench.records(gold)[0])


class Seer:
    """Recognises the media of each item. Where it does not know them it says what it can without: the first option, a random set of options where
    several may be right, elsewhere the commonest answer of such questions."""

    def __init__(self, records):
        store = MediaStore({})
        self.known = {self.key(r.question, store.get(r)): said(r) for r in records}
        spoken: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
        for r in records:
            spoken[r.answer_type][said(r)] += 1
        self.common = {kind: tally.most_common(1)[0][0] for kind, tally in spoken.items()}
        self.settings = {"strategy": "greedy", "scorer": None, "samples": 1, "temperature": 0.0, "max_new_tokens": 20, "seed": 0}

    def key(self, question, media):
        return question, b"".join(m.array.tobytes() for m in media)

    def chat(self, turn):
        return turn

    def blindly(self, record):
        if record.answer_type == "choices":
            kept = generator(0, "blind", record.id).random(len(record.options)) < 0.5
            return ", ".join(letter for letter, keep in zip("ABCDEFGHIJ", kept, strict=False) if keep) or protocol.NO_OPTION
        return record.options[0] if record.options else self.common[record.answer_type]

    def answer(self, asked):
        guesses = [self.known.get(self.key(a.record.question, a.media)) or self.blindly(a.record) for a in asked]
        return [Answered(f"<think></think><answer>{guess}</answer>", 3, 3) for guess in guesses]


# Of the video world the kinds of question that have options, so that the recast of CLEVRER, which asks no others, has items enough too.
MANY = {"mmau": (150, None), "mathvista": (150, None), "clevrer": (200, ["count", "explanatory", "predictive", "counterfactual"])}
MARGIN = 0.1  # by which a score without media may lie above chance: what 95 % intervals of a hundred items reach to one side


@pytest.mark.parametrize(("name", "world", "kind"), CLOTHES, ids=[name for name, _, _ in CLOTHES])
def test_through_files_and_decoders_an_oracle_is_right_and_at_chance_without_media(name, world, kind, tmp_path):
    count, families = MANY[name]
    render_format(name, world, 1, count, 11, "test", tmp_path / name, families)
    for rule in kind.protocols[:2]:
        bench = kind(path=tmp_path / name)
        records = bench.load(Wanted())
        assert len(records) >= count and all(record.media for record in records)
        row = evaluate(
            None, None, bench, stage="oracle", n=None, protocol=rule, media={}, out_dir=tmp_path / rule, controls=["blank_media"],
            answerer=Seer(records),
        )  # fmt: skip
        assert row["score"] == 1.0 and row["breakdown"] and row["n"] >= 100, rule
        held, blank = row["control_details"]["ablation"], row["control_details"]["blank_media"]
        chance = held["floor"]
        assert 0.1 < chance < 0.4, "a floor this far from both ends tells a blind score from a sighted one"
        assert blank["ci95"][0] <= chance and blank["score"] <= chance + MARGIN, (rule, blank, chance)
        assert not held["leaks"] and held["gain_ci95"][0] > 0.4


def test_the_command_line_scores_them(dressed, tmp_path):
    import json

    kind, folder, gold = dressed
    records = kind(path=folder).records(gold)[0]
    path = tmp_path / "predictions.jsonl"
    path.write_text("".join(json.dumps({"id": r.id, "prediction": said(r)}) + "\n" for r in records))
    report = score_files(kind(), path, gold, "official" if "official" in kind.protocols else None)
    assert report.correct == report.n == len(records) and report.missing == 0


def test_items_that_a_protocol_does_not_ask_are_not_put_to_the_model(tmp_path):
    render_format("clevrer", "video", 1, COUNT, 11, "test", tmp_path / "clevrer")
    bench = Clevrer(path=tmp_path / "clevrer")
    records = bench.load(Wanted())
    wanted = [r for r in records if r.answer_type == "choices" and r.answer]
    assert 0 < len(wanted) < len(records)
    row = evaluate(None, None, bench, stage="x", n=None, protocol="multi_answer", media={}, out_dir=tmp_path / "out", answerer=Seer(records))
    assert row["n"] == len(wanted) and row["score"] == 1.0 and row["control_details"]["random_option"]["n"] == len(wanted)
