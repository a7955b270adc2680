"""CLEVRER's files: layout and keys as its README has them, answers that their own programs yield, videos that decode to the frames they were made
of."""

import inspect
import json
from collections import Counter

import numpy as np
import pytest

from data.worlds.base import Sample
from data.worlds.video import VideoWorld
from data.worlds.video_clevrer import annotation, to_clevrer
from data.worlds.video_physics import Disc, simulate
from models.media import MediaSpec, decode


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    out = [VideoWorld([f]).sample(level, ("clevrer", f), "dev") for f in VideoWorld.all_families for level in (2, 3, 6)]
    return [*out, VideoWorld(["count"]).sample(1, "other split", "train")]


@pytest.fixture(scope="module")
def written(samples, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clevrer")
    files = to_clevrer(samples, folder)
    return folder, {f.stem: json.loads(f.read_text()) for f in files}


def test_layout_and_numbers(written, samples):
    folder, questions = written
    assert set(questions) == {"validation", "train"}
    assert [s["scene_index"] for s in questions["validation"]] == list(range(10_000, 10_000 + len(samples) - 1))
    assert questions["train"][0]["video_filename"] == "video_00000.mp4"
    assert (folder / "videos/train/video_00000-01000/video_00000.mp4").is_file()
    assert (folder / "videos/validation/video_10000-11000/video_10003.mp4").is_file()
    assert (folder / "annotations/validation/annotation_10000-11000/annotation_10003.json").is_file()


def test_question_fields(written):
    kinds = Counter()
    for scene in [s for scenes in written[1].values() for s in scenes]:
        assert set(scene) == {"scene_index", "video_filename", "questions"}
        assert [q["question_id"] for q in scene["questions"]] == list(range(len(scene["questions"])))
        for q in scene["questions"]:
            kinds[q["question_type"]] += 1
            assert q["question"] and q["program"] and all(isinstance(module, str) for module in q["program"])
            if q["question_type"] == "descriptive":
                assert len(q["answer"].split()) == 1 and "choices" not in q
            else:
                assert "answer" not in q and [c["choice_id"] for c in q["choices"]] == list(range(len(q["choices"])))
                assert all(c["answer"] in ("correct", "wrong") and c["choice"] and c["program"] for c in q["choices"])
    assert set(kinds) == {"descriptive", "explanatory", "predictive", "counterfactual"}


def test_annotation_fields_and_motion(samples):
    record = next(s.record for s in samples if s.record.meta["true_count"] == 2)
    out = annotation(record, 10_007)
    assert set(out) == {"scene_index", "video_filename", "object_property", "motion_trajectory", "collision"}
    assert [(o["object_id"], o["color"]) for o in out["object_property"]] == list(enumerate(d[0] for d in record.meta["discs"]))
    assert all(set(o) == {"object_id", "color", "material", "shape"} for o in out["object_property"])
    assert [f["frame_id"] for f in out["motion_trajectory"]] == list(range(10))
    keys = {"object_id", "location", "orientation", "velocity", "angular_velocity", "inside_camera_view"}
    assert all(set(o) == keys for f in out["motion_trajectory"] for o in f["objects"])
    first = out["motion_trajectory"][0]["objects"]
    assert [o["location"][:2] for o in first] == [pytest.approx(d[1:3]) for d in record.meta["discs"]]
    # 10 frames at 5 per second: the clip lasts 1.8 s, and speeds in clips become speeds in seconds
    assert [o["velocity"][0] * 1.8 for o in first] == [pytest.approx(d[3]) for d in record.meta["discs"]]
    facts = {tuple(k.split()) for k, v in record.meta["facts"].items() if v in ("early", "middle", "late")}
    names = [o["color"] for o in out["object_property"]]
    assert {tuple(names[i] for i in c["object_ids"]) for c in out["collision"]} == facts
    assert all(0 <= c["frame_id"] <= 9 and len(c["location"]) == 3 for c in out["collision"])


def test_cells_of_the_facts_follow_from_the_trajectory(samples):
    for sample in samples[:12]:
        frames = annotation(sample.record, 0)["motion_trajectory"]
        for number, (name, *_) in enumerate(sample.record.meta["discs"]):
            cells = []
            for k in (0, 3, 6, 9):
                state = frames[k]["objects"][number]
                x, y, _ = state["location"]
                cells.append("abcde"[int(x // 0.2)] + str(int(y // 0.2) + 1) if state["inside_camera_view"] else "out")
            assert " ".join(cells) == sample.record.meta["facts"][name]


class Executor:
    """A small stack machine: a method per module, which takes as many arguments from the stack as it has. Collisions are sets of object numbers in
    order of time, entries and exits pairs (word, number)."""

    def __init__(self, record):
        note, self._discs = annotation(record, 0), [Disc(*d) for d in record.meta["discs"]]
        self._colors = [o["color"] for o in note["object_property"]]
        self._frames = [f["objects"] for f in note["motion_trajectory"]]
        entries, exits = ([(word, o["object_id"]) for o in self._frames[k] if not o["inside_camera_view"]] for word, k in (("in", 0), ("out", -1)))
        self._happened = [*entries, *(frozenset(c["object_ids"]) for c in note["collision"]), *exits]

    def run(self, program):
        stack = []
        for word in program:
            module = getattr(self, word, None)
            count = len(inspect.signature(module).parameters) if module else 0
            arguments = [stack.pop() for _ in range(count)][::-1]
            stack.append(module(*arguments) if module else word)
        assert len(stack) == 1, stack
        return stack[0]

    def _collisions(self, discs, start, end):
        return [frozenset(self._colors.index(n) for n in c.pair) for c in simulate(discs, end).collisions if start < c.time]

    def objects(self):
        return list(range(len(self._colors)))

    def events(self):
        return self._happened

    def all_events(self):
        return [frozenset((i, j)) for i in self.objects() for j in range(i)]

    def unseen_events(self):
        return self._collisions(self._discs, 1.0, 1.6)

    def counterfact_events(self, gone):
        return self._collisions([d for d in self._discs if d.name != self._colors[gone]], 0.0, 1.0)

    def filter_color(self, objects, color):
        return [o for o in objects if self._colors[o] == color]

    def filter_collision(self, events, who):
        return [e for e in events if isinstance(e, frozenset) and e & set(who if isinstance(who, list) else [who])]

    def filter_in(self, events, who):
        return [e for e in events if isinstance(e, tuple) and e[0] == "in" and e[1] in who]

    def filter_out(self, events, who):
        return [e for e in events if isinstance(e, tuple) and e[0] == "out" and e[1] in who]

    def filter_start(self, events):
        return 0

    def filter_end(self, events):
        return len(self._frames) - 1

    def filter_order(self, events, order):
        return events[["first", "second"].index(order)]

    def unique(self, found):
        (one,) = found
        return one

    def count(self, found):
        return str(len(found))

    def exist(self, found):
        return "yes" if found else "no"

    def belong_to(self, one, events):
        return "yes" if any(one == e or (isinstance(one, int) and one in e) for e in events) else "no"

    def query_frame(self, event):
        return event

    def query_object(self, event):
        return event[1]

    def query_color(self, who):
        return self._colors[who]

    def query_collision_partner(self, event, who):
        (partner,) = event - {who}
        return partner

    def query_direction(self, who, frame):
        vx, vy, _ = self._frames[frame][who]["velocity"]
        return ("right" if vx > 0 else "left") if abs(vx) > abs(vy) else ("down" if vy > 0 else "up")

    def query_cell(self, frame, who):
        x, y, _ = self._frames[frame][who]["location"]
        return f"{'abcde'[int(x * 5)]}{int(y * 5) + 1}"


def test_programs_yield_the_answers(written, samples):
    """Every program, run on the annotation (and on a simulation for what cannot be seen), gives the answer that was written."""
    records = {s.record.id: s.record for s in samples}
    ran = 0
    for q in [q for scenes in written[1].values() for s in scenes for q in s["questions"]]:
        machine = Executor(records[q["record_id"]])
        if q["question_type"] == "descriptive":
            assert machine.run(q["program"]) == q["answer"], q
            ran += 1
        for choice in q.get("choices", []):
            assert {"yes": "correct", "no": "wrong"}[machine.run(choice["program"] + q["program"])] == choice["answer"], (q, choice)
            ran += 1
    assert ran > 50


def test_videos_decode_to_the_frames(written, samples):
    """mp4 loses a little: on average under one grey level in a hundred, more only at the rims of discs."""
    folder, _ = written
    for sample, index in [(samples[0], 10_000), (samples[7], 10_007)]:
        path = folder / f"videos/validation/video_10000-11000/video_{index}.mp4"
        media = decode(path, "video", MediaSpec(num_frames=10, frame_size=32))
        assert media.array.shape == sample.media[0].array.shape
        difference = np.abs(media.array.astype(int) - sample.media[0].array.astype(int))
        assert difference.mean() < 2.5 and np.quantile(difference, 0.99) < 25
        np.testing.assert_allclose(media.times, sample.media[0].times, atol=0.02)


def test_samples_of_one_scene_share_a_video(samples, tmp_path):
    (file,) = to_clevrer([samples[0], samples[0]], tmp_path)
    (scene,) = json.loads(file.read_text())
    assert [q["question_id"] for q in scene["questions"]] == [0, 1]
    assert len(list(tmp_path.rglob("*.mp4"))) == 1


def test_other_worlds_are_refused(samples, tmp_path):
    record = VideoWorld(["place"]).sample(1, 0).record
    with pytest.raises(ValueError, match=record.id):
        to_clevrer([Sample(record, [])], tmp_path)
