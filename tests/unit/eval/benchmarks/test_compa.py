"""CompA: strict inequality, pairs and triplets, and the chance of each score."""

import itertools

import numpy as np
import pytest

from eval.benchmarks.compa import CHANCE, CompAAttribute, CompAOrder, audio_score, text_score


@pytest.mark.parametrize(
    "table, text, audio",
    [
        ([[0.9, 0.1], [0.2, 0.8]], True, True),
        ([[0.9, 0.85], [0.2, 0.8]], False, True),  # the second sound prefers the first caption
        ([[0.5, 0.4], [0.6, 0.7]], False, True),
        ([[0.5, 0.5], [0.5, 0.5]], False, False),  # ties lose
        ([[3, 1, 1], [1, 3, 1], [1, 1, 3]], True, True),
    ],
)
def test_scores(table, text, audio):
    assert (text_score(table), audio_score(table)) == (text, audio)
    transposed = [list(column) for column in zip(*table, strict=True)]
    assert (text_score(transposed), audio_score(transposed)) == (audio, text)


def test_chance_by_counting_all_orders():
    """Independent continuous scores are a random order of the K x K entries. K = 2: 24 orders, counted here. K = 3: text is (1/3)^3; group is 1/60 by
    counting all 362,880 orders, checked here on 200,000 random tables."""
    orders = [np.reshape(order, (2, 2)) for order in itertools.permutations(range(4))]
    assert sum(text_score(t) for t in orders) / 24 == CHANCE["text", 2] == 1 / 4
    assert sum(audio_score(t) for t in orders) / 24 == CHANCE["audio", 2] == 1 / 4
    assert sum(text_score(t) and audio_score(t) for t in orders) / 24 == pytest.approx(CHANCE["group", 2])
    tables = np.random.default_rng(0).random((200_000, 3, 3))
    diagonal = tables[:, range(3), range(3)]
    text = (diagonal == tables.max(1)).all(1)
    audio = (diagonal == tables.max(2)).all(1)
    assert text.mean() == pytest.approx(CHANCE["text", 3], abs=0.002)
    assert audio.mean() == pytest.approx(CHANCE["audio", 3], abs=0.002)
    assert (text & audio).mean() == pytest.approx(CHANCE["group", 3], abs=0.001)


CSV = (
    "pair_file,pair_caption,reversed_pair_file,reversed_pair_caption,triplet_file,triplet_caption\n"
    "a.wav,a dog then a cat,b.wav,a cat then a dog,,\n"
    "c.wav,rain then wind,d.wav,wind then rain,e.wav,rain with wind\n"
)


@pytest.fixture
def gold(tmp_path):
    path = tmp_path / "order.csv"
    path.write_text(CSV)
    return path


def test_pairs_and_triplets(score, gold):
    rows = [{"id": 0, "scores": [[0.9, 0.85], [0.2, 0.8]]}, {"id": 1, "scores": [[3, 1, 1], [1, 3, 1], [1, 1, 3]]}]
    results = {protocol: score(CompAOrder(), gold, rows, protocol) for protocol in CompAOrder.protocols}
    assert {name: r.score for name, r in results.items()} == {"group": 0.5, "text": 0.5, "audio": 1.0}
    assert results["group"].breakdown["size"] == {"2": {"n": 1, "correct": 0, "score": 0.0}, "3": {"n": 1, "correct": 1, "score": 1.0}}
    assert results["text"].remarks == [f"chance for 1 pairs and 1 triplets: {(1 / 4 + 1 / 27) / 2:.4f}"]
    assert results["group"].score <= min(results["text"].score, results["audio"].score)


def test_tables_of_the_wrong_shape_are_named(score, gold):
    rows = [{"id": 0, "scores": [[1, 2, 3], [1, 2, 3], [1, 2, 3]]}, {"id": 1, "scores": [[float("nan")] * 3] * 3}]
    assert score(CompAAttribute(), gold, rows).reasons == {"bad_scores": 2}


def test_a_row_without_a_second_caption_is_named(score, tmp_path):
    path = tmp_path / "broken.csv"
    path.write_text(CSV + "f.wav,alone,,,,\n")
    report = score(CompAOrder(), path, [{"id": 0, "scores": [[1, 0], [0, 1]]}])
    assert [(p.kind, p.where) for p in report.problems] == [("gold_broken", "2")]
    assert (report.n, report.missing) == (2, 1)
