"""The benchmarks whose files are not at hand: hand-written rows in their published layouts. Gold is right under every protocol."""

import json

import pytest

from eval.benchmarks.mathvista import MathVista
from eval.benchmarks.mmar import MMAR
from eval.benchmarks.mmau import MMAU
from eval.benchmarks.mmau_pro import MMAUPro
from eval.benchmarks.mmvu import MMVU, letter_of, official_letter
from eval.benchmarks.nextgqa import NExTGQA
from eval.controls import wrapper_sensitivity

MMVU_ROWS = [
    {
        "problem_id": i, "problem": "Which reaction?", "data_type": "video", "problem_type": kind,
        "options": ["A. burning", "B. freezing", "C. rusting"],
        "solution": "<answer>C</answer>", "path": f"./MMVU/videos/{subject}/{i}.mp4",
    }
    for i, (subject, kind) in enumerate([("Chemistry", "multiple choice"), ("Mechanics", "multiple choice"), ("Art", "free-form")])
]  # fmt: skip
NEXTGQA_ROWS = [
    {"id": "v_1", "video": "v.mp4", "problem": "why did he run (A) late (B) rain", "question": "why did he run", "options": ["(A) late", "(B) rain"],
     "solution": "<answer>B</answer>", "answer": "(B)", "type": "CW", "glue": [[1.0, 2.5]], "duration": 30},
]  # fmt: skip
MMAR_ROWS = [
    {"id": "a", "audio_path": "./audio/a.wav", "question": "Who?", "choices": ["Man", "Woman"], "answer": "Man", "modality": "mix-sound-speech",
     "category": "Perception Layer", "sub-category": "Counting", "language": "en", "url": "u"},
]  # fmt: skip
PRO_ROWS = [
    {"id": "p1", "audio_path": ["a.wav", "b.wav"], "question": "Which?", "choices": ["rain", "wind"], "answer": "wind", "category": "sound"},
    {"id": "p2", "audio_path": "c.wav", "question": "Describe.", "choices": [], "answer": "x", "category": "open"},
]


@pytest.mark.parametrize(
    "benchmark, gold, id, right, wrong, asked",
    [
        (MMVU, MMVU_ROWS, "0", "C", "A", 2),
        (NExTGQA, NEXTGQA_ROWS, "v_1", "B", "A", 1),
        (MMAR, MMAR_ROWS, "a", "Man", "Woman", 1),
        (MMAUPro, PRO_ROWS, "p1", "wind", "rain", 1),
    ],
)
def test_right_and_wrong_under_every_protocol(score, benchmark, gold, id, right, wrong, asked):
    for protocol in benchmark.protocols:
        report = score(benchmark(), gold, [{"id": id, "response": f"<think>x</think><answer>{right}</answer>"}], protocol)
        assert report.correct == 1 and len(report.rows) == asked
        assert score(benchmark(), gold, [{"id": id, "response": f"<think>x</think><answer>{wrong}</answer>"}], protocol).correct == 0


@pytest.mark.parametrize("benchmark, gold", [(MMVU, MMVU_ROWS), (NExTGQA, NEXTGQA_ROWS), (MMAR, MMAR_ROWS), (MMAUPro, PRO_ROWS)])
def test_gold_through_the_controls_scores_100_under_every_protocol(tmp_path, benchmark, gold):
    (tmp_path / "gold.json").write_text(json.dumps(gold))
    bench = benchmark()
    for name in bench.protocols:
        records = [r for r in bench.records(tmp_path / "gold.json")[0] if bench.asked(r, name)]
        assert records and wrapper_sensitivity(bench, records, name)["scores"]["X"] == 1, name


def test_a_variant_chooses_its_file_in_a_folder(tmp_path):
    mini, full = "mmau-test-mini.json", "mmau-test.json"
    for name in (mini, full):
        (tmp_path / name).write_text("[]")
    assert [MMAU(variant=v).gold_path(tmp_path).name for v in ("", "mini", "full")] == [mini, mini, full]
    assert MMAU(variant="mini").gold_path(tmp_path / full).name == full  # a file that is named is that file
    (tmp_path / full).unlink()
    with pytest.raises(ValueError, match=r"none of mmau/mmau-test\.json under"):
        MMAU(variant="full").gold_path(tmp_path)


@pytest.mark.parametrize("kind, known", [(MMAU, "mini, full"), (MathVista, "testmini, test"), (MMVU, "none")])
def test_an_unknown_variant_is_refused_with_the_known_ones(kind, known):
    with pytest.raises(ValueError, match=rf"{kind.name}' has no variant 'nonsense' \(variants: {known}\)"):
        kind(variant="nonsense")


def test_axes_come_from_where_each_layout_keeps_them(score):
    report = score(MMVU(), MMVU_ROWS, [{"id": "0", "prediction": "C"}])
    assert report.breakdown["subject"] == {"Chemistry": {"n": 1, "correct": 1, "score": 1.0}, "Mechanics": {"n": 1, "correct": 0, "score": 0.0}}
    assert list(score(NExTGQA(), NEXTGQA_ROWS, [{"id": "v_1", "prediction": "B"}]).breakdown["type"]) == ["CW"]
    mmar = score(MMAR(), MMAR_ROWS, [{"id": "a", "answer_prediction": "(A) Man"}], "official")
    assert mmar.correct == 1 and list(mmar.breakdown) == ["modality", "category", "sub-category", "language"]


def test_options_lose_their_labels_and_media_stay_inside(tmp_path):
    path = tmp_path / "gold.json"
    path.write_text(json.dumps([*MMVU_ROWS[:1], {**MMVU_ROWS[1], "path": "./../../etc/passwd"}]))
    records, problems = MMVU(path=path).records(path)
    assert records[0].options == ["burning", "freezing", "rusting"]
    assert records[0].media[0].path == str(tmp_path / "MMVU/videos/Chemistry/0.mp4")
    assert records[1].media == [] and [p.kind for p in problems] == ["gold_media_outside"]


@pytest.mark.parametrize("text, letter", [("<answer>B</answer>", "B"), ("(C)", "C"), ("A", "A"), ("A,B", None), ("", None)])
def test_letters_of_solutions(text, letter):
    assert letter_of(text) == letter


def test_the_published_video_rule_takes_the_tag_or_everything():
    assert official_letter("<think>A</think><answer> B </answer>") == "B"
    assert official_letter("B") == "B"
    assert official_letter("<answer> A </answer><answer>B</answer>") == "A"
    assert official_letter(" <answer>A") == "<answer>A"
    assert official_letter("<answer>" * 100_000 + " " * 100_000) == "<answer>" * 100_000  # in a moment


def test_evaluation_files_of_video_r1_wrap_their_rows(score):
    report = score(MMVU(), MMVU_ROWS, {"results": [{"problem_id": 0, "output": "<think>x</think>\n<answer>C</answer>"}]}, "official")
    assert report.correct == 1


def test_parquet_gold(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").Table.from_pylist([{**row, "audio_path": ["a.wav"]} for row in PRO_ROWS])
    parquet.write_table(table, tmp_path / "test.parquet")
    records, _ = MMAUPro().records(tmp_path / "test.parquet")
    assert [r.id for r in records] == ["p1"] and records[0].options == ["rain", "wind"]
