"""Worlds as benchmarks: an oracle scores 100 under both protocols, and every way of falling short of a transcript is told apart."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import protocol
from data.record import Record, Step
from data.worlds.base import verify
from eval.answering import Answered
from eval.benchmarks.base import Wanted
from eval.benchmarks.world import transcription
from eval.passes import MediaStore
from eval.run import evaluate, open_benchmark

FACTS = {"red": "a1 a2", "blue": "b1 b2", "red blue": "t3", "events": "1"}
SCENE = Record(
    "scene", "Describe the video.", ["1"], "integer", steps=[Step("red: a1 a2"), Step("blue: b1 b2"), Step("red blue: t3")], meta={"facts": FACTS}
)


def judged(*steps: str, answer: str = "1"):
    text = f"<think>{protocol.STEP_DELIMITER.join(steps)}</think><answer>{answer}</answer>"
    return transcription(SCENE, protocol.parse(text).steps, verify(SCENE, text))


@pytest.mark.parametrize(
    "steps, correct, partial, reason",
    [
        (("red: a1 a2", "blue: b1 b2", "red blue: t3"), True, 1, "ok"),
        (("red blue: t3", "red: a1 a2", "blue: b1 b2"), True, 1, "ok"),  # in any order
        (("red: a1 a2", "blue: b1 b2", "red blue: no"), False, 2 / 3, "wrong"),
        (("red: a1 a2", "blue: b1 b2"), False, 2 / 3, "missing"),
        (("red: a1 a2", "red: a1 a2", "blue: b1 b2"), False, 2 / 3, "missing"),  # saying one thing twice makes up for nothing
        (("red: a1 a2", "blue: b1 b2", "red blue: t3", "events: 1"), False, 1, "extra"),  # true, but not of the transcript
        (("red: a1 a2", "blue: b1 b2", "red blue: t3", "I think so"), False, 1, "wrong"),
        (("red: b1 b2", "red: a1 a2", "blue: b1 b2", "red blue: t3"), False, 2 / 3, "wrong"),  # the first claim counts: no fishing
        ((), False, 0, "no_steps"),
    ],
)  # fmt: skip
def test_a_transcript_is_right_only_whole(steps, correct, partial, reason):
    found = judged(*steps)
    assert (found.correct, found.reason) == (correct, reason) and found.partial == pytest.approx(partial)
    assert found.extracted == ("\n".join(steps) or None)


def test_the_answer_is_not_looked_at():
    assert judged("red: a1 a2", "blue: b1 b2", "red blue: t3", answer="999").correct
    assert not judged("red: a1 a2", answer="1").correct


@given(st.lists(st.sampled_from(["red: a1 a2", "blue: b1 b2", "red blue: t3", "red: x", "red blue: no", "events: 1", "well"]), max_size=6))
@settings(max_examples=60, deadline=None)
def test_right_means_exactly_the_gold_steps(steps):
    found = judged(*steps)
    assert found.correct == (sorted(steps) == sorted(step.text for step in SCENE.steps))
    assert 0 <= found.partial <= 1 and (found.partial == 1 or not found.correct)


class Seer:
    """Knows every medium of the benchmark by its content and writes down what it shows; of a medium that it does not know, nothing."""

    def __init__(self, benchmark, records):
        store = MediaStore({})
        self.known = {self.look(store.get(r)): protocol.completion(r) for r in records}
        self.settings = {"strategy": "greedy", "scorer": None, "samples": 1, "temperature": 0.0, "max_new_tokens": 20, "seed": 0}

    def look(self, media):
        return b"".join(m.array.tobytes() for m in media)

    def chat(self, turn):
        return turn

    def answer(self, asked):
        return [Answered(self.known.get(self.look(item.media), "<think></think><answer>none</answer>"), 5, 5) for item in asked]


@pytest.mark.parametrize("world", ["vision", "audio", "video"])
def test_perception_is_measured_with_its_controls(world, tmp_path):
    bench = open_benchmark(f"world/{world}", families=["perceive"])
    records = bench.load(Wanted(n=4, seed=5, level=bench.source.levels[0], media_dir=tmp_path / "items"))
    assert {r.meta["family"] for r in records} == {"perceive"} and {r.split for r in records} == {"test"}
    row = evaluate(
        None, None, bench, stage="base", level=bench.source.levels[0], n=4, seed=5, protocol="transcription", media={}, out_dir=tmp_path,
        controls=["blank_media", "shuffled_media", "commonest_answer"], answerer=Seer(bench, records),
    )  # fmt: skip
    assert row["score"] == 1 and row["partial"] == 1 and row["protocol"] == "transcription" and row["process_accuracy"] == 1
    assert row["controls"]["blank_media"] == 0 and row["controls"]["shuffled_media"] < 1 and row["controls"].get("commonest_answer", 0) < 1
    assert row["control_details"]["answer_wrapper"]["scores"]["X"] == 1
    assert "perceive" in row["breakdown"]["family"] and row["per_item"].endswith(f"world-{world}-1-perceive-transcription-s5.jsonl")
    if world == "video":
        assert sum(cell["n"] for cell in row["breakdown"]["true_count"].values()) == 4


@pytest.mark.parametrize("world", ["vision", "audio", "video"])
def test_the_written_solution_scores_under_both_protocols(world, tmp_path):
    bench = open_benchmark(f"world/{world}")
    for record in bench.load(Wanted(n=6, seed=2, level=bench.source.levels[0], media_dir=tmp_path)):
        for name in bench.protocols:
            assert bench.judge(record, protocol.completion(record), name).correct, (name, record.id)
            said = bench.worded(record, bench.gold(record, name), name)
            assert bench.judge(record, bench.wrap(record, said, name), name).correct, (name, record.id)
