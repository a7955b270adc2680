"""`eval run --model http://…/v1`: a model behind a server is judged like one of ours, controls and all."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from eval.__main__ import main
from eval.item_log import read_items
from eval.results import read_results
from tests.unit.eval.conftest import shade_of
from tests.unit.reasoning.stand_in import reply, serving


def looks(_, body):
    """Names the letter of the colour that it is sent, `A` where it sees none; the options are read from the text."""
    parts = body["messages"][0]["content"]
    picture = next(p["image_url"]["url"] for p in parts if p["type"] == "image_url")
    seen = shade_of(np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2])))))
    text = " ".join(p.get("text", "") for p in parts)
    letter = next((line[0] for line in text.splitlines() if line[1:] == f". {seen}"), "A")
    return reply(f"<think>colour: {seen}</think><answer>{letter}</answer>")


def run(url, tmp_path, *more):
    told = ["--benchmark", "records", "--data", str(tmp_path / "pictures.jsonl"), "--out", str(tmp_path / "out")]
    return main(["run", "--model", url, "--model-name", "some/eye", *told, "--control", "blank_media", "--control", "shuffled_media", *more])


def test_a_server_is_judged_with_controls(pictures, tmp_path, capsys):
    benchmark = pictures(12)
    with serving(looks) as (server, url):
        assert run(url, tmp_path, "--json") == 0
        assert len(server.bodies) == 3 * 12 and {b["model"] for _, _, b in server.bodies} == {"some/eye"}
        assert {b["temperature"] for _, _, b in server.bodies} == {0.0}
        row = json.loads(capsys.readouterr().out)
        assert (row["stage"], row["score"], row["n"]) == ("some-eye", 1.0, 12)
        assert max(row["controls"]["blank_media"], row["controls"]["shuffled_media"]) < 0.7 and row["tokens"]["total"] == 5
        assert run(url, tmp_path) == 0  # done already: nobody is asked again
        assert len(server.bodies) == 3 * 12
    tree = read_results(tmp_path / "out")
    assert tree["recipe"] == url and len(tree["evaluations"]) == 1
    assert len(read_items(tmp_path / "out" / row["per_item"])) == 12 and (tmp_path / "out" / "report.html").is_file()
    assert benchmark.protocols[0] == row["protocol"]


def test_samples_of_a_server_are_voted_on(pictures, tmp_path):
    pictures(6)
    with serving(looks) as (server, url):
        assert run(url, tmp_path, "--strategy", "majority", "n=3") == 0
        assert {b["temperature"] for _, _, b in server.bodies} == {1.0} and len({b["seed"] for _, _, b in server.bodies}) > 6
    assert read_results(tmp_path / "out")["evaluations"][0]["samples"] == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "http://127.0.0.1:9/v1"], "needs the name of its model too (--model-name)"),
        (["--model", "http://127.0.0.1:9/v1", "--model-name", "m"], "http://127.0.0.1:9/v1: cannot be reached"),
    ],
)
def test_what_is_wrong_with_a_server_is_said(pictures, tmp_path, capsys, monkeypatch, arguments, said):
    monkeypatch.setattr("time.sleep", lambda s: None)
    pictures(3)
    data = ["--benchmark", "records", "--data", str(tmp_path / "pictures.jsonl"), "--out", str(tmp_path / "out")]
    assert main(["run", *arguments, *data]) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error
