"""The video world: the same bytes from the same seed, splits that cannot leak, facts that a second simulator confirms, and answers that nothing but
the video tells."""

import copy
import dataclasses
import json
import re
from collections import Counter

import numpy as np
import pytest

from data import protocol
from data.record import LETTERS, Record, answer_text
from data.worlds import video
from data.worlds.base import split_of
from data.worlds.video import DISCS, MOST, VideoWorld
from data.worlds.video_physics import Disc, simulate
from data.worlds.video_render import COLORS, GROUND, SIZE, frames
from data.worlds.video_scene import CLIP_END, group_of, is_clear
from tests.unit.data.worlds.blind import by_template, guess
from tests.unit.data.worlds.small_steps import step_through

QUESTIONS = [f for f in VideoWorld.all_families if f != "perceive"]


@pytest.fixture(scope="module")
def every():
    """Three samples of every family at every level."""
    return {
        (family, level): [VideoWorld([family]).sample(level, ("every", i)) for i in range(3)]
        for family in VideoWorld.all_families
        for level in VideoWorld.levels
    }


@pytest.fixture
def unrendered(monkeypatch):
    """Samples without pictures: the facts are the same and come five times faster."""
    monkeypatch.setattr(video, "frames", lambda motion: np.zeros((1, 1, 1, 3), np.uint8))


def test_same_arguments_same_bytes():
    for level in VideoWorld.levels:
        one, two = (VideoWorld().sample(level, (7, level), "dev") for _ in range(2))
        assert json.dumps(one.record.to_json()) == json.dumps(two.record.to_json())
        assert one.media[0].array.tobytes() == two.media[0].array.tobytes()
        assert one.record.id != VideoWorld().sample(level, (8, level), "dev").record.id


def test_every_family_and_level_is_valid_and_ordered(every):
    for (family, level), samples in every.items():
        for sample in samples:
            r = Record.from_json(json.loads(json.dumps(sample.record.to_json())))
            assert r == sample.record  # plain data through JSON
            assert (r.meta["family"], r.meta["level"]) == (family, level)
            assert r.meta["question_type"] == (family if family in ("explanatory", "predictive", "counterfactual") else "descriptive")
            assert len(r.meta["discs"]) <= max(3, *DISCS[level])
            assert r.meta["true_count"] <= (2 if family == "order" else MOST[level])
            kinds = [s.kind for s in r.steps]
            assert kinds == sorted(kinds) and kinds[0] == "perception"  # seeing first, then reasoning
            assert all(s.parents for s in r.steps if s.kind == "reasoning")
            assert all(r.meta["facts"][s.text.partition(":")[0]] == s.value for s in r.steps)
            assert len({r.id for r in (s.record for s in samples)}) == len(samples)


def test_the_ladder_rises():
    sizes = [(sum(DISCS[level]) / len(DISCS[level]), MOST[level]) for level in VideoWorld.levels]
    assert len(sizes) >= 5 and sizes == sorted(sizes) and len(set(sizes)) == len(sizes)


def test_media_is_a_short_clip_of_small_frames(every):
    media = every["which", 3][0].media[0]
    assert (media.kind, media.array.shape, media.array.dtype) == ("video", (10, SIZE, SIZE, 3), np.uint8)
    np.testing.assert_allclose(media.times, np.arange(10) / media.rate)


def test_discs_are_where_the_facts_say():
    """The pixel under each centre has the disc's colour, and a corner that no disc is near has the ground's."""
    discs = [Disc("blue", 0.3, 0.7, 0.4, 0.0), Disc("white", 0.8, 0.2, 0.0, 0.0)]
    clip = frames(simulate(discs, 1.0))
    for k in (0, 4, 9):
        column = int((0.3 + 0.4 * k / 9) * SIZE)
        assert tuple(clip[k, int(0.7 * SIZE), column]) == COLORS["blue"]
        assert tuple(clip[k, int(0.2 * SIZE), int(0.8 * SIZE)]) == COLORS["white"]
        assert tuple(clip[k, 0, 0]) == GROUND


def test_transcription_order_and_words(every):
    for level in VideoWorld.levels:
        for sample in every["perceive", level]:
            keys = [s.text.partition(":")[0] for s in sample.record.steps]
            names = [d[0] for d in sample.record.meta["discs"]]
            pairs = [f"{a} {b}" for i, a in enumerate(names) for b in names[i + 1 :]]
            assert names == sorted(names) and keys == names + pairs
            for step in sample.record.steps:
                if " " in step.text.partition(":")[0]:
                    assert step.value in ("early", "middle", "late", "no")
                else:
                    assert all(re.fullmatch("[a-e][1-5]|out", c) for c in step.value.split()) and len(step.value.split()) == 4
            assert sample.record.answer == [str(sample.record.meta["true_count"])]


def test_gold_completions_verify_and_changes_are_caught(every):
    world = VideoWorld()
    for samples in every.values():
        r = samples[0].record
        verdict = world.verify(r, protocol.completion(r))
        assert verdict.answer_ok and verdict.format_ok and verdict.process_accuracy == 1.0 and verdict.first_error is None
        for i, step in enumerate(r.steps):
            bad = copy.deepcopy(r)
            key, _, value = step.text.partition(": ")
            bad.steps[i].text = f"{key}: {value[:-1]}{'x' if value[-1] != 'x' else 'y'}"
            verdict = world.verify(r, protocol.completion(bad))
            assert verdict.first_error == i and verdict.answer_ok
        bad = copy.deepcopy(r)
        if r.options:
            rest = [x for x in LETTERS[: len(r.options)] if x not in r.answer]
            bad.answer = [rest[0]]
        else:
            bad.answer = [str(int(r.answer[0]) + 1)]
        assert not world.verify(r, protocol.completion(bad)).answer_ok


def test_groups_of_different_splits_never_meet(unrendered):
    groups = {split: {VideoWorld().sample(1 + i % 6, i, split).record.group for i in range(120)} for split in ("train", "dev", "test")}
    for split, members in groups.items():
        assert all(split_of(g) == split for g in members)
    assert not groups["train"] & groups["dev"] and not groups["train"] & groups["test"] and not groups["dev"] & groups["test"]


def test_look_alikes_share_a_group(unrendered):
    """A group depends on the discs alone, not on the question; and a nudge inside a cell does not change it."""
    for family in ("which", "perceive", "predictive"):
        r = VideoWorld([family]).sample(4, family).record
        discs = [Disc(*d) for d in r.meta["discs"]]
        assert r.group == group_of(discs) == group_of(discs[::-1])
        middle = [dataclasses.replace(d, x=(int(d.x * 5) + 0.5) / 5, y=(int(d.y * 5) + 0.5) / 5) for d in discs if 0 < d.x < 1 and 0 < d.y < 1]
        nudged = [dataclasses.replace(d, x=d.x + 0.04, y=d.y - 0.04) for d in middle]
        assert group_of(middle) == group_of(nudged)


def test_everything_that_is_asked_can_be_seen(every):
    for samples in every.values():
        for sample in samples:
            discs = [Disc(*d) for d in sample.record.meta["discs"]]
            assert is_clear(simulate(discs, CLIP_END), 9)


def _pair(text: str) -> tuple[str, ...]:
    return tuple(text.split(" and "))


def test_options_agree_with_a_second_simulator(every):
    """Every statement about collisions, in the clip, after it and without a disc, by small time steps instead of the closed form."""
    for (family, _), samples in every.items():
        for sample in samples[:1]:
            r = sample.record
            discs = [tuple(d) for d in r.meta["discs"] if d[0] != r.meta.get("removed")]
            _, hits = step_through(discs, 1.6 if family == "predictive" else 1.0, dt=5e-4)
            seen, later = {p for t, p in hits if t <= 1.03}, {p for t, p in hits if t > 1.03}
            right = answer_text(r)
            if family in ("which", "pairs"):
                assert {o for o in r.options if _pair(o) in seen} == set(right)
            elif family == "count":
                assert right == [str(len(seen))]
            elif family == "order":
                assert right == [" and ".join(hits[0][1])]
            elif family == "explanatory":
                asked = r.question.split()[-2]
                assert {o for o in r.options if tuple(sorted((o, asked))) in seen} == set(right)
            elif family == "predictive":
                assert {o for o in r.options if _pair(o) in later} == set(right)
            elif family == "counterfactual" and r.answer_type == "choice":
                assert right == ["yes" if _pair(r.question.partition(", do ")[2].removesuffix(" collide?")) in seen else "no"]
            elif family == "counterfactual":
                assert {o for o in r.options if _pair(o) in seen} == set(right)
                assert not any(r.meta["removed"] in o.split() for o in r.options)


def test_which_has_one_collision_whatever_the_level(every):
    assert {s.record.meta["true_count"] for level in VideoWorld.levels for s in every["which", level]} == {1}


def test_counts_are_equally_likely(unrendered):
    """Drawing scenes again must not make rare counts rarer: 400 items, four counts, 100 +- 4 sigma each."""
    seen = Counter(VideoWorld(["count"]).sample(6, ("counts", i)).record.meta["true_count"] for i in range(400))
    assert set(seen) == {0, 1, 2, 3} and all(abs(n - 100) < 4 * np.sqrt(400 * 0.25 * 0.75) for n in seen.values()), seen


def _words(r: Record) -> tuple[tuple, str]:
    """What a reader sees of a question (template, level, options in sorted order), and the answer in words, whichever letters they have."""
    return (r.meta["template"], r.meta["level"], *sorted(r.options)), ",".join(sorted(answer_text(r)))


def _structure(r: Record) -> tuple[tuple, str]:
    """The same with the question's text, and colours by order of mention: what the shape of a question gives away, whichever the colours."""
    names: dict[str, str] = {}

    def rename(text: str) -> str:
        return re.sub("|".join(COLORS), lambda m: names.setdefault(m[0], f"c{len(names)}"), text)

    shape = (r.meta["level"], rename(r.question), *(rename(o) for o in sorted(r.options)))
    return shape, ",".join(sorted(map(rename, answer_text(r))))


def test_a_reader_without_the_video_is_at_chance(unrendered):
    """Guessers learn from one half of 4,200 items and answer the other, both ways, so that every item is scored: the letters of a template's answers,
    the words of the answers to the same options, the same with colours by order of mention. Chance is one over the number of options; the standard
    error is 0.7 points."""
    world = VideoWorld()
    records = [world.sample(1 + i % 6, ("blind", i)).record for i in range(4200)]
    assert {r.meta["family"] for r in records} == set(QUESTIONS)
    assert all(r.answer_type in ("choice", "choices") for r in records)
    chance = np.mean([1 / len(r.options) for r in records])
    guessers = {
        "letters": lambda r: (r.meta["template"], ",".join(r.answer)),
        "letters by level": by_template,
        "words": _words,
        "structure": _structure,
    }
    scores = {name: guess(records, view) for name, view in guessers.items()}
    assert max(scores.values()) <= chance + 0.03, (scores, chance)


def test_families_are_equally_likely(unrendered):
    """A family that many scenes do not suit is asked as often as one that suits all: 12 families, 720 items, 60 +- 4 sigma each."""
    world = VideoWorld()
    seen = Counter(world.sample(3, ("families", i)).record.meta["family"] for i in range(720))
    assert set(seen) == set(QUESTIONS)
    assert all(abs(n - 60) < 4 * np.sqrt(720 * (1 / 12) * (11 / 12)) for n in seen.values()), seen


def test_unknown_family_and_level_are_named():
    with pytest.raises(ValueError, match="unknown family 'wich'"):
        VideoWorld(["wich"])
    with pytest.raises(ValueError, match="level 9"):
        VideoWorld().sample(9, 0)


def test_reading_off_the_clip_does_not_answer_counterfactuals(unrendered):
    """Half of the answers with three discs and two collisions differ from what happens in the clip: 300 items, sigma 0.03."""
    same = []
    for i in range(300):
        r = VideoWorld(["counterfactual"]).sample(3, ("clip", i)).record
        pair = r.question.partition(", do ")[2].removesuffix(" collide?").replace(" and ", " ")
        same.append(("no" if r.meta["facts"][pair] == "no" else "yes") == answer_text(r)[0])
    assert abs(np.mean(same) - 0.5) < 0.12
