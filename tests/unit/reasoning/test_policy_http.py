"""A policy behind a server: a small stand-in on this machine speaks the protocol, well or badly."""

import base64
import io
import time
from contextlib import ExitStack

import numpy as np
import pytest

from data.media import write_media
from data.record import MediaRef, Record
from models.media import Media
from reasoning.policy_http import HttpPolicy, content
from reasoning.scorers.oracle import OracleScorer
from reasoning.strategies.guided_greedy import GuidedGreedy
from reasoning.strategies.majority import Majority
from reasoning.strategies.sampling import SamplingConfig
from reasoning.strategies.stepwise import StepConfig
from tests.unit.reasoning.stand_in import reply, serving
from tests.unit.reasoning.toy import toy

TEXTS = ["<think>a: 1\nb: 2\nc: 3</think><answer>6</answer>", "<think>a: 1\nb: 2\nc: 4</think><answer>7</answer>"]


@pytest.fixture
def serve():
    with ExitStack() as servers:
        yield lambda behave: servers.enter_context(serving(behave))


def test_samples_with_their_log_probabilities(serve):
    server, url = serve(lambda _, body: reply(TEXTS[body["seed"] % 2], token_ids=[1, 2, 3, 4, 5]))
    policy = HttpPolicy(url, "some/model", seed=4, key="secret")
    result = Majority(SamplingConfig(n=6)).run(toy(), policy)
    assert result.answer in ("6", "7") and result.ledger.models["some/model"].prompt == 11
    assert result.ledger.tokens() == {"sequential": 5, "total": 30, "scorer_total": 0}
    path, headers, body = server.bodies[0]
    assert path == "/v1/chat/completions" and headers["Authorization"] == "Bearer secret"
    assert body["model"] == "some/model" and body["temperature"] == 1.0 and body["logprobs"] and body["n"] == 1
    assert len({b["seed"] for _, _, b in server.bodies}) == 6
    call = result.trace.calls[0]
    assert call.generation.logps == [-0.25] * 5 and call.generation.ids == [1, 2, 3, 4, 5] and call.spans == [("prompt", 0, 11)]
    again = Majority(SamplingConfig(n=6)).run(toy(), policy)
    assert again.completion == result.completion


def test_media_stand_in_their_places(serve, tmp_path):
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    path = write_media(tmp_path / "x", Media("image", picture))
    server, url = serve(lambda *_: reply(TEXTS[0]))
    record = Record("r", "What is this?", ["6"], "integer", [MediaRef("image", str(path))])
    HttpPolicy(url, "m").sample([HttpPolicy(url, "m").ask(record)], [[0]], 0.0, 9)
    parts = server.bodies[0][2]["messages"][0]["content"]
    assert [p["type"] for p in parts] == ["image_url", "text"] and parts[1]["text"] == "What is this?"
    from PIL import Image

    head, _, data = parts[0]["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), picture)
    sound, clip = Media("audio", np.zeros(160, np.float32), 16000.0), Media("video", np.zeros((3, 4, 4, 3), np.uint8), 8.0)
    kinds = [p["type"] for p in content("Hear <|audio|> then see <|video|>.", [sound, clip])]
    assert kinds == ["text", "input_audio", "text", "image_url", "image_url", "image_url", "text"]
    bad = HttpPolicy(url, "m")
    item = bad.ask(toy())
    item.media = [sound]
    assert "0 media placeholders but 1 media" in bad.problem(item)


def test_step_by_step_by_continuing_the_message(serve):
    def behave(_, body):
        before = body["messages"][-1]["content"] if body["messages"][-1]["role"] == "assistant" else ""
        whole = TEXTS[body["seed"] % 2]
        rest = whole[len(before) :]
        if "stop" not in body:
            return reply(rest)
        cut = min((rest.find(end) + len(end) for end in body["stop"] if end in rest), default=len(rest))
        return reply(rest[:cut])

    server, url = serve(behave)
    result = GuidedGreedy(StepConfig(n=8)).run(toy(), HttpPolicy(url, "m"), OracleScorer(OracleScorer.config_class()))
    assert result.answer == "6" and result.completion == TEXTS[0]
    later = [b for _, _, b in server.bodies if b["messages"][-1]["role"] == "assistant"]
    assert later and all(b["continue_final_message"] and not b["add_generation_prompt"] and b["include_stop_str_in_output"] for b in later)


def test_a_cut_completion_is_no_answer(serve):
    _, url = serve(lambda *_: reply(TEXTS[0][:20], finish="length"))
    result = Majority(SamplingConfig(n=2)).run(toy(), HttpPolicy(url, "m"))
    assert result.answer is None and not result.finished and "no completion ended" in result.note


def test_a_busy_server_is_asked_again(serve, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda s: None)
    server, url = serve(lambda number, _: (503, {"error": "starting"}) if number < 3 else reply(TEXTS[0]))
    policy = HttpPolicy(url, "m")
    assert policy.sample([policy.ask(toy())], [[0]], 0.0, 9)[0][0].text == TEXTS[0] and len(server.bodies) == 3


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((404, {"error": "no such model"}), "404 .*no such model"),
        ((503, {"error": "overloaded"}), "503 .*overloaded"),
        ((200, b"<html>hello"), "not JSON"),
        ((200, {"object": "list"}), "OpenAI-compatible"),
        ((200, {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}), "counts no tokens"),
    ],
)
def test_what_a_server_says_is_passed_on(serve, monkeypatch, answer, message):
    monkeypatch.setattr(time, "sleep", lambda s: None)
    _, url = serve(lambda *_: answer)
    policy = HttpPolicy(url, "m")
    with pytest.raises(ValueError, match=message) as error:
        policy.sample([policy.ask(toy())], [[0]], 0.0, 9)
    assert url in str(error.value)


def test_a_silent_or_absent_server_is_named(serve):
    def slow(*_):
        time.sleep(0.6)
        return reply("late")

    _, url = serve(slow)
    policy = HttpPolicy(url, "m", timeout=0.1, tries=1)
    with pytest.raises(ValueError, match=r"no answer within 0.1 s"):
        policy.sample([policy.ask(toy())], [[0]], 0.0, 9)
    gone = HttpPolicy("http://127.0.0.1:9/v1", "m", tries=1)
    with pytest.raises(ValueError, match=r"127.0.0.1:9/v1: cannot be reached"):
        gone.sample([gone.ask(toy())], [[0]], 0.0, 9)
    with pytest.raises(ValueError, match="is no address of a server"):
        HttpPolicy("localhost:8000", "m")
