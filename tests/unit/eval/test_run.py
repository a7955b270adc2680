"""Evaluation from files to a row: what it counts, what its controls see, and that it can be killed anywhere."""

import json

import pytest

from configs.schema import EvaluationConfig
from data.record import read_jsonl
from eval.answering import ModelAnswerer, build_answerer
from eval.benchmarks.base import Wanted
from eval.item_log import read_items
from eval.passes import MediaStore, batches
from eval.provenance import gold_sha256
from eval.results import check_row
from eval.run import describe, evaluate, open_benchmark, per_item_stem, run_evaluations, stage_folder

CONTROLS = ("blank_media", "shuffled_media:3", "shuffled_options", "always_first", "random_option")


def judge(benchmark, answerer, folder, **changes):
    settings = {"stage": "sft", "n": None, "controls": CONTROLS, "batch_size": 5, "media": {}} | changes
    return evaluate(None, None, benchmark, out_dir=folder / "eval", root=folder, answerer=answerer, **settings)


def untimed(row):
    return {k: v for k, v in row.items() if k not in ("wall_s", "commit")}


def test_a_row_says_everything(pictures, looker, tmp_path):
    row = check_row(judge(pictures(12), looker(wrong=["item-000", "item-001"], mute=["item-002"]), tmp_path))
    assert (row["n"], row["correct"], row["score"]) == (12, 9, 0.75)
    assert row["reasons"] == {"no_answer": 1, "ok": 9, "wrong": 2} and row["unfinished"] == 1
    assert row["tokens"] == {"sequential": round((11 * 7 + 3) / 12, 3), "total": round(80 / 12, 3), "scorer_total": 0}
    assert row["ci95"][0] == pytest.approx(0.46769, abs=1e-4)  # Wilson, 9 of 12
    assert row["breakdown"]["true_count"]["2"] == {"n": 4, "correct": 3, "score": 0.75}
    assert row["breakdown"]["family"]["even"] == {"n": 6, "correct": 4, "score": pytest.approx(2 / 3)}
    assert (row["stage"], row["benchmark"], row["protocol"], row["strategy"], row["modality"]) == ("sft", "records", "strict", "greedy", "image")
    assert row["gold_sha256"] == gold_sha256(list(read_jsonl(tmp_path / row["items"])))
    assert row["decoding"]["max_new_tokens"] == 20 and row["media_budget"] == {} and len(row["prompt_sha256"]) == 64


def test_controls_are_what_they_say(pictures, looker, tmp_path):
    """An observer that looks is right on everything; blank pictures leave it its first option, other pictures mislead it."""
    benchmark = pictures(12)
    row = judge(benchmark, looker(), tmp_path)
    records = benchmark.load(Wanted())
    first = sum(r.answer == ["A"] for r in records) / 12
    assert row["score"] == 1.0
    assert row["controls"]["blank_media"] == row["controls"]["always_first"] == pytest.approx(first)
    assert row["controls"]["shuffled_media"] < 0.7
    assert row["controls"]["shuffled_options"] == 1.0 and row["control_details"]["shuffled_options"]["consistency"] == 1.0
    assert row["controls"]["random_option"] == pytest.approx(1 / 3)
    repeats = row["control_details"]["shuffled_media"]["repeats"]
    assert len(repeats) == 3 and sum(repeats) / 3 == pytest.approx(row["controls"]["shuffled_media"])
    assert row["control_details"]["answer_wrapper"]["scores"]["X"] == 1.0


def test_per_item_rows(pictures, looker, tmp_path):
    row = judge(pictures(6), looker(wrong=["item-004"]), tmp_path)
    rows = read_items(tmp_path / row["per_item"])
    assert [r["id"] for r in rows] == [f"item-{i:03d}" for i in range(6)]
    wrong = rows[4]
    assert (wrong["correct"], wrong["reason"], wrong["true_count"], wrong["group"], wrong["finished"]) == (False, "wrong", 1, "g4", True)
    assert wrong["extracted"] in "ABC" and "<think>" in wrong["completion"]
    assert all(r["correct"] == (i != 4) for i, r in enumerate(rows))


@pytest.mark.parametrize("batches_before", [0, 1, 3, 7, 11])
def test_killed_and_run_again_gives_the_same_bytes(pictures, looker, tmp_path, batches_before):
    benchmark = pictures(12)
    whole = judge(benchmark, looker(mute=["item-003"]), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        judge(benchmark, looker(mute=["item-003"], die_after=batches_before), tmp_path / "killed")
    second = looker(mute=["item-003"])
    again = judge(benchmark, second, tmp_path / "killed")
    assert untimed(again) == untimed(whole)
    for path in sorted((tmp_path / "whole" / "eval").iterdir()):
        assert (tmp_path / "killed" / "eval" / path.name).read_bytes() == path.read_bytes()
    assert second.calls == 3 * 6 - batches_before  # 3 batches, 6 passes: nothing is asked twice
    idle = looker(mute=["item-003"], die_after=0)
    assert untimed(judge(benchmark, idle, tmp_path / "killed")) == untimed(whole) and idle.calls == 0


def test_other_decoding_or_other_items_start_anew(pictures, looker, tmp_path):
    judge(pictures(6), looker(), tmp_path, controls=())
    changed = looker()
    changed.settings["max_new_tokens"] = 21
    judge(pictures(6), changed, tmp_path, controls=())
    assert changed.calls == 2


def test_batches_do_not_depend_on_the_order_of_the_items(pictures):
    records = pictures(12).load(Wanted())
    laid = [[r.id for r in b] for b in batches(records, 5)]
    assert laid == [[r.id for r in b] for b in batches(records[::-1], 5)] and [len(b) for b in laid] == [5, 5, 2]


def test_each_medium_is_decoded_once_for_all_controls(pictures, looker, tmp_path, monkeypatch):
    stores = []
    first_init = MediaStore.__init__
    monkeypatch.setattr(MediaStore, "__init__", lambda self, *a, **k: (first_init(self, *a, **k), stores.append(self))[0])
    judge(pictures(12), looker(), tmp_path)
    assert [s.decoded for s in stores] == [12]


def test_a_small_cache_decodes_again_but_agrees(pictures):
    records = pictures(6).load(Wanted())
    small, large = MediaStore({}, max_bytes=200), MediaStore({})
    for record in [*records, *records]:
        assert (small.get(record)[0].array == large.get(record)[0].array).all()
    assert small.decoded == 12 and large.decoded == 6


def test_a_broken_medium_is_a_wrong_item_with_its_reason(pictures, looker, tmp_path):
    benchmark = pictures(6)
    bad = benchmark.load(Wanted())[2]
    open(bad.media[0].path, "wb").close()
    heard = []
    row = judge(benchmark, looker(), tmp_path, controls=("blank_media",), on_bad=lambda r, why: heard.append((r.id, why)))
    assert (row["n"], row["correct"], row["bad_media"], row["reasons"]["bad_media"]) == (6, 5, 1, 1)
    assert [h[0] for h in heard] == ["item-002"] and "empty" in heard[0][1]
    judge(benchmark, looker(), tmp_path, controls=("blank_media",), on_bad=lambda r, why: heard.append(r.id))
    assert len(heard) == 1  # heard once, also when the rows are read again


def test_intervals_are_clustered_where_items_share_a_group(pictures, looker, tmp_path):
    wrong = [f"item-{i:03d}" for i in range(12) if i % 4 == 0]
    alone = judge(pictures(12), looker(wrong=wrong), tmp_path / "a", controls=())
    shared = judge(pictures(12, groups=4), looker(wrong=wrong), tmp_path / "b", controls=())
    assert alone["score"] == shared["score"] and shared["ci95"] != alone["ci95"]
    assert shared["ci95"][1] == 1.0  # all four groups may be the right ones


def test_a_subset_is_drawn_by_the_seed_and_stays_in_order(pictures):
    benchmark = pictures(12)
    few = [r.id for r in benchmark.load(Wanted(n=5, seed=1))]
    assert few == sorted(few) == [r.id for r in benchmark.load(Wanted(n=5, seed=1))] and len(few) == 5
    assert few != [r.id for r in benchmark.load(Wanted(n=5, seed=2))]
    assert len(benchmark.load(Wanted(n=99))) == 12


def test_missing_media_and_double_ids_are_named_before_any_work(pictures, tmp_path):
    benchmark = pictures(4)
    text = benchmark.path.read_text().splitlines()
    benchmark.path.write_text("\n".join([*text, text[0]]))
    with pytest.raises(ValueError, match="item-000"):
        benchmark.load(Wanted())
    benchmark.path.write_text("\n".join(text).replace("001.png", "nowhere.png").replace("003.png", "neither.png"))
    with pytest.raises(ValueError, match=r"2 media files are missing: .*nowhere.png.*neither.png"):
        benchmark.load(Wanted())


def test_names_are_found_or_explained(tmp_path):
    world = open_benchmark("world/audio")
    assert (world.modality, world.variant, world.source.name) == ("audio", "audio", "audio")
    with pytest.raises(ValueError, match=r"unknown benchmark 'wrld'.*world"):
        open_benchmark("wrld/audio")
    with pytest.raises(ValueError, match="unknown world"):
        open_benchmark("world/smell")
    with pytest.raises(ValueError, match="needs a path"):
        open_benchmark("records")
    with pytest.raises(ValueError, match="no option 'colour'"):
        open_benchmark("world/audio", options={"colour": 1})
    with pytest.raises(ValueError, match="no protocol 'official'"):
        evaluate(None, None, world, stage="x", protocol="official", out_dir=tmp_path)
    with pytest.raises(ValueError, match="level 99"):
        world.load(Wanted(n=1, level=99, media_dir=tmp_path))
    with pytest.raises(ValueError, match="n and a folder"):
        world.load(Wanted(level=1))


def test_strategies_by_name():
    assert build_answerer({"name": "greedy"}, None, None, max_new_tokens=5, seed=0).settings["temperature"] == 0
    drawn = build_answerer({"name": "sample", "temperature": 0.7}, None, None, max_new_tokens=5, seed=3)
    assert isinstance(drawn, ModelAnswerer) and drawn.settings == {
        "strategy": "sample", "scorer": None, "samples": 1, "temperature": 0.7, "max_new_tokens": 5, "seed": 3,
    }  # fmt: skip
    for line, named in [({"name": "magic"}, "magic"), ({"name": "greedy", "temperature": 1.0}, "temperature"), ({"name": "greedy", "k": 2}, "'k'")]:
        with pytest.raises(ValueError, match=named):
            build_answerer(line, None, None, max_new_tokens=5, seed=0)


def test_file_names_tell_measurements_apart(tmp_path):
    greedy = {"strategy": "greedy", "scorer": None, "samples": 1, "temperature": 0.0}
    audio, video = open_benchmark("world/audio"), open_benchmark("world/video", families=["perceive"])
    assert per_item_stem(audio, 3, 0, greedy, "strict") == "world-audio-3"
    search = {"strategy": "best_of_n", "scorer": "prm", "samples": 8, "temperature": 1.0}
    assert per_item_stem(audio, 3, 0, search, "strict") == "world-audio-3-best_of_n-prm-8"
    assert per_item_stem(audio, 3, 0, search | {"temperature": 0.7}, "strict") == "world-audio-3-best_of_n-prm-8-t0.7"
    weights = [search | {"scorer_fingerprint": f"prm/{name}"} for name in ("small", "large")]
    widths = [search | {"strategy": "beam", "options": {"width": width}} for width in (2, 4)]
    assert len({per_item_stem(audio, 3, 0, settings, "strict") for settings in (search, *weights, *widths)}) == 5
    assert per_item_stem(open_benchmark("mmau/mini"), None, 0, greedy, "official") == "mmau-mini-official"
    assert per_item_stem(video, 2, 9, greedy, "transcription") == "world-video-2-perceive-transcription-s9"
    mine, other = (open_benchmark("records", tmp_path / name) for name in ("a.jsonl", "b.jsonl"))
    stems = {per_item_stem(bench, None, 0, greedy, "strict") for bench in (mine, other, open_benchmark("records", tmp_path / "a.jsonl"))}
    assert len(stems) == 2 and all(stem.startswith("records-") for stem in stems)


class Echo:
    """A tokenizer-free processor and model pair is too much for a unit test; the recipe's seam is tested with an answerer in its place."""

    media = {}


def test_the_lines_of_a_recipe_give_rows_below_the_run(pictures, looker, tmp_path, monkeypatch, capsys):
    from types import SimpleNamespace

    from data.readers.jsonl import JsonlReader

    benchmark = pictures(6)
    settings = SimpleNamespace(model_dump=lambda: {"num_frames": 3})
    recipe = SimpleNamespace(
        data=SimpleNamespace(root=str(tmp_path), quarantine_limit=5, media=settings),
        stages=[SimpleNamespace(name="align"), SimpleNamespace(name="sft")],
        protocol=SimpleNamespace(instruction="Say it."),
    )  # fmt: skip
    line = EvaluationConfig(benchmark="records", path=benchmark.path.name, n=4, seed=1, controls=["always_first"])
    monkeypatch.setattr("eval.run.build_answerer", lambda *a, **k: looker())
    assert JsonlReader is not None
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text('{"stage": "sft", "effective_ratio": 0.5}\n{"stage": "sft", "effective_ratio": 0.75}\n')
    rows = run_evaluations(Echo(), Echo(), recipe, [line], "sft", tmp_path / "run")
    assert rows[0]["per_item"].startswith("stages/1-sft/eval/records-s1-") and rows[0]["n"] == 4 and rows[0]["media_budget"] == {"num_frames": 3}
    assert describe(rows[0]) in capsys.readouterr().out
    assert stage_folder(recipe, "base", tmp_path).name == "base"
    again = run_evaluations(Echo(), Echo(), recipe, [line], "align", tmp_path / "run")
    assert (rows[0]["effective_ratio"], again[0]["effective_ratio"]) == (0.625, None)
    assert again[0]["items"] == rows[0]["items"] and again[0]["gold_sha256"] == rows[0]["gold_sha256"]  # the same items at every stage
    json.dumps(rows, allow_nan=False)
