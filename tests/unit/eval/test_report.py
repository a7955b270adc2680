"""The report: one self-contained page that says everything beside every number, and that works in a browser, on a phone, without a network."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from data.media import write_media
from data.record import MediaRef, Record, write_jsonl
from eval.answering import Answered
from eval.leaderboard import browser, gather, panels, write_leaderboard
from eval.report import track, write_report
from eval.report_charts import number, reduce_points, running_mean, span
from eval.report_media import show, spectrogram
from eval.report_samples import choose, outcome
from eval.results import read_results, write_results
from eval.run import describe, evaluate, open_benchmark
from models.media import Media

NASTY = 'Is <script>alert(1)</script> & "this" {{ 7 * 7 }} safe?'


class FirstOption:
    """Answers A, and says nothing at all of every third item."""

    settings = {"strategy": "greedy", "scorer": None, "samples": 1, "temperature": 0.0, "max_new_tokens": 20, "seed": 0}

    def chat(self, turn):
        return turn

    def answer(self, asked):
        return [Answered("hm" if item.record.id.endswith("0") else "<think>a: b</think><answer>A</answer>", 3, 3) for item in asked]


def sounds(folder):
    """Two tones and a film in a JSONL file."""
    time = np.arange(8000) / 16_000
    media = [Media("audio", np.sin(2 * np.pi * f * time).astype(np.float32), rate=16_000) for f in (440, 880)]
    frames = np.zeros((12, 16, 16, 3), dtype=np.uint8)
    media.append(Media("video", frames, rate=5.0, times=np.arange(12) / 5))
    records = []
    for i, medium in enumerate(media):
        path = write_media(folder / f"m{i}", medium)
        records.append(Record(f"s{i}", NASTY, ["A"], "choice", [MediaRef(medium.kind, path.name)], ["<b>one</b>", "two"], group=f"g{i}"))
    write_jsonl(folder / "sounds.jsonl", records)
    return open_benchmark("records", folder / "sounds.jsonl")


@pytest.fixture
def run(pictures, looker, tmp_path):
    """A run directory with two stages over pictures and one over sounds and a film."""
    folder = tmp_path / "run"
    options = {"n": None, "root": folder, "media": {}, "controls": ["blank_media", "shuffled_media"]}
    bench = pictures(9)
    rows = [
        evaluate(None, None, bench, stage=stage, out_dir=folder / "stages" / stage / "eval", answerer=answerer, **options)
        for stage, answerer in (("sft", looker(wrong=["item-001", "item-004"], mute=["item-002"])), ("tw_grpo", looker(wrong=["item-003"])))
    ]
    (tmp_path / "media").mkdir()
    rows.append(evaluate(None, None, sounds(tmp_path / "media"), stage="sft", out_dir=folder / "s", answerer=FirstOption(), **options))
    write_results(folder, {"name": "a <run>"}, rows, {"sft": 3.0, "tw_grpo": 1.5})
    (folder / "recipe.yaml").write_text("name: x # </pre><script>\n")
    lines = [{"stage": "sft", "step": i, "loss": 3.0 / (i + 1)} for i in range(40)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"stage": "sft", "st')
    (folder / "quarantine.jsonl").write_text(json.dumps({"id": "q", "file": "x.wav", "reason": "too short: 0 samples"}) + "\n")
    return folder


def test_one_file_that_refers_to_nothing(run):
    text = write_report(run).read_text()
    assert not re.findall(r"""(?:src|href|action)=["'](?!data:|#)""", text) and "@import" not in text and "url(" not in text
    assert "http" not in re.sub(r"data:[^\"']*", "", text).replace("http://www.w3.org", "")


def test_a_search_is_called_the_same_everywhere(run):
    row = read_results(run)["evaluations"][0]
    searched = row | {"strategy": "best_of_n", "scorer": "prm", "samples": 8}
    voted = row | {"strategy": "majority", "samples": 4}
    assert [track(r)["strategy"] for r in (row, searched, voted)] == ["", "best of n of 8 by prm", "majority of 4"]
    assert f" {track(searched)['strategy']}  " in describe(searched)


def test_every_number_stands_with_what_it_must_be_read_against(run):
    text = write_report(run).read_text()
    for part in ("strict", "blank", "shuffled", "best fixed letter", "n&nbsp;9", "88.9", "gain", "leakage", "tags/1", "over chance"):
        assert part in text, part
    assert "too short" in text and "4.5 s" in text  # what was left out, and the time of both phases


def test_what_comes_from_files_is_text(run):
    text = write_report(run).read_text()
    assert "<script>alert" not in text and "<b>one</b>" not in text and "&lt;b&gt;one" in text and "{{ 7 * 7 }}" in text
    assert text.count("<script>") == 1


def test_items_show_what_the_model_was_given(run):
    text = write_report(run).read_text()
    assert text.count("<audio controls") == 2 and "log-mel spectrogram" in text and "frame at" in text and 'class="still' in text
    assert 'class="step ok"' in text and "the answer is" in text and "cut at the token limit" not in text


def test_a_run_without_results_says_so(tmp_path):
    (tmp_path / "recipe.yaml").write_text("name: x\n")
    assert "Nothing has been evaluated yet" in write_report(tmp_path).read_text()
    with pytest.raises(ValueError, match="no run directory"):
        write_report(tmp_path / "nowhere")


def test_wrong_right_and_unparsed_take_turns_and_changed_ones_come_first():
    items = [{"id": i, "correct": i in "cd", "extracted": None if i == "e" else "A"} for i in "abcde"]
    before = {i["id"]: {**i, "correct": i["correct"] != (i["id"] in "bd")} for i in items}
    assert [outcome(i) for i in items] == ["wrong", "wrong", "right", "right", "unparsed"]
    assert choose(items, before, 4) == ["b", "d", "e", "a"]


class TestLeaderboard:
    def test_runs_beside_each_other_on_every_axis_and_item(self, run, tmp_path):
        other = tmp_path / "other"
        shutil.copytree(run, other)
        board = gather([run, other, tmp_path / "media"])
        assert [line["run"] for line in board.lines] == ["other", "run"] and [name for name, _ in board.left_out] == ["media"]
        panel = next(p for p in panels(board) if p["axis"] == "family")
        assert set(panel["values"]) == {"even", "odd"} and {d["run"] for d in panel["values"]["even"]} == {0, 1}
        found = browser(board)
        assert found["changed"] == "changed between runs" and [h["stage"] for h in found["groups"][0]["cards"][0]["history"]] == ["run", "other"]
        page = tmp_path / "board.html"
        write_leaderboard([run, other], page)
        text = page.read_text()
        assert "Where each is right" in text and "changed between runs" in text and not re.findall(r'src="(?!data:)', text)

    def test_folders_without_results_are_an_error_only_when_there_is_nothing_else(self, tmp_path):
        with pytest.raises(ValueError, match="none of 1 folders"):
            gather([tmp_path])


class TestDrawings:
    def test_numbers(self):
        assert [number(x) for x in (0, 12345, 123.4, 1.234, 0.00012)] == ["0", "12k", "123", "1.23", "1e-4"]

    def test_curves_are_thinned_by_means(self):
        xs, ys = reduce_points([(float(i), float(i % 2)) for i in range(1000)], 100)
        assert len(xs) == 100 and set(ys) == {0.5} and xs[0] == 4.5
        assert running_mean([0, 3, 0], 1) == [1.5, 1, 1.5] and span([5, 5]) == (pytest.approx(2.5), pytest.approx(7.5)) and span([1, 9]) == (0.0, 9)

    def test_a_tone_lights_its_band(self):
        tone = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
        image = spectrogram(tone, 16_000).astype(int).sum(-1).mean(1)
        high = spectrogram(np.sin(2 * np.pi * 4000 * np.arange(16_000) / 16_000), 16_000).astype(int).sum(-1).mean(1)
        assert image.argmax() > high.argmax()  # low tones stand at the bottom
        assert spectrogram(np.zeros(10), 16_000).shape[0] == 64

    def test_media_become_data(self):
        film = show(Media("video", np.zeros((3, 8, 8, 3), np.uint8), rate=2.0))
        assert film["times"] == [0.0, 0.5, 1.0] and all(f.startswith("data:image/png;base64,") for f in film["frames"])
        assert show(Media("audio", np.zeros(800, np.float32), rate=16_000))["clip"].startswith("data:audio/wav;base64,")


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PROBE = """
const click = (text) => [...document.querySelectorAll(".chips button")].find((b) => b.textContent.trim() === text).click();
const shown = () => document.querySelectorAll(".card:not([hidden])").length;
const found = { all: shown() };
for (const name of ["wrong", "right", "unparsed", "CHANGED", "every outcome"]) { click(name); found[name] = shown(); }
document.getElementById("theme").click();
found.theme = document.documentElement.dataset.theme;
found.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
found.width = window.innerWidth;
found.images = [...document.images].every((i) => i.loading === "lazy" || i.naturalWidth > 0);
document.body.innerHTML = "<pre id=found>" + JSON.stringify(found) + "</pre>";
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)")
@pytest.mark.parametrize("page", ["report", "leaderboard"])
def test_in_a_browser_on_a_phone(run, tmp_path, page):
    if page == "report":
        path, changed = write_report(run), "changed since the stage before"
    else:
        path, changed = run / "board.html", "changed between runs"
        write_leaderboard([run], path)
    probe = f"<script>window.addEventListener('load', () => {{ {PROBE.replace('CHANGED', changed)} }});</script></body>"
    path.write_text(path.read_text().replace("</body>", probe))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=500,900",
               "--virtual-time-budget=5000", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", path.as_uri()]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True).stdout
    found = json.loads(re.search(r'<pre id="found">(.*?)</pre>', dom)[1])
    assert found["all"] == found["every outcome"] == found["wrong"] + found["right"] + found["unparsed"] == 12
    assert found["changed " + changed.partition(" ")[2]] == (4 if page == "report" else 0)
    assert found["theme"] in ("light", "dark") and found["images"]
    assert found["overflow"] <= 0, f"{found['overflow']} px wider than a window of {found['width']}"
