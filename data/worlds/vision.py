"""The vision world: charts, tables, figures and grid puzzles, drawn from named colours and small numbers.

A level is a number of things to see: level 1 shows two, each level one more. Families: `bar, line, pie, table` (read, add, compare, order, count,
average), `figure` (sides, area, perimeter), `puzzle` (count, complete a pattern) and `perceive`, the dense transcription of any of them.
"""

import dataclasses
import hashlib

import numpy as np

from data.record import MediaRef, Record
from data.worlds import vision_render as render
from data.worlds.base import Sample, World
from data.worlds.question import Question
from models.media import Media

CHARTS = ("bar", "line", "pie", "table")
NOUNS = {"bar": "bar chart", "line": "line chart", "pie": "pie chart", "table": "table", "figure": "figure", "puzzle": "puzzle"}
DRAW = {"bar": render.bars, "line": render.line, "pie": render.pie, "table": render.table}
MOST_SLICES = 6  # a pie of twelve parts with more slices is a test of eyesight


@dataclasses.dataclass
class Scene:
    kind: str
    family: str
    values: list[tuple[str, int]]
    group: str


class VisionWorld(World):
    name = "vision"
    modality = "image"
    levels = (1, 2, 3, 4, 5, 6)
    all_families = (*CHARTS, "figure", "puzzle", "perceive")

    def draw(self, level: int, rng: np.random.Generator) -> Scene:
        family = str(rng.choice(self.families))
        kind = str(rng.choice([*CHARTS, "figure", "puzzle"], p=[0.22, 0.18, 0.18, 0.18, 0.1, 0.14])) if family == "perceive" else family
        colors = rng.permutation(list(render.COLORS)).tolist()
        if kind == "figure":
            values = [(colors[0], int(rng.integers(2, 4 + level))), ("height", int(rng.integers(2, 4 + level))), ("shape", int(rng.integers(2)))]
        elif kind == "puzzle":
            values = _puzzle(level, colors, rng)
        else:
            count = min(level + 1, MOST_SLICES) if kind == "pie" else level + 1
            numbers = _twelfths(count, rng) if kind == "pie" else rng.integers(1, 10, count).tolist()
            values = list(zip(colors, map(int, numbers), strict=False))
        return Scene(kind, family, values, f"vision/{kind}/{hashlib.blake2b(repr(values).encode(), digest_size=8).hexdigest()}")

    def build(self, scene: Scene, level: int, rng: np.random.Generator) -> Sample | None:
        q = Question(scene.kind)
        if scene.kind == "figure":
            array = _figure(scene, q, rng)
        elif scene.kind == "puzzle":
            array = _ask_puzzle(scene, q, level, rng)
        else:
            array = DRAW[scene.kind](scene.values)
            if scene.family != "perceive" and not CHART_QUESTIONS[_pick_chart_question(scene, rng)](scene, q, rng):
                return None
        if scene.family == "perceive":
            _perceive(scene, q)
        meta = {"level": level, "family": scene.family, "template": f"{q.template}/{level}", "facts": _facts(scene) | q.facts} | _mathvista(scene, q)
        uid = hashlib.blake2b(f"{scene.group}/{q.text}/{q.options}/{scene.family}".encode(), digest_size=8).hexdigest()
        medium = MediaRef("image", f"world://vision/{level}/{uid}")
        record = Record(
            f"vision-{level}-{uid}",
            q.text,
            q.answer,
            q.answer_type,
            [medium],
            q.options,
            q.precision,
            steps=q.steps,
            source="world/vision",
            meta=meta,
        )
        return Sample(record, [Media("image", array)])


def _facts(scene: Scene) -> dict[str, str]:
    """Everything that can be seen, whether or not this question needs it."""
    q = Question("")
    _perceive(scene, q)
    return q.facts


def _perceive(scene: Scene, q: Question) -> None:
    q.steps, q.options, q.answer_type, q.precision = [], None, "text", None
    q.text, q.answer, q.template = f"Describe the {NOUNS[scene.kind]}.", [NOUNS[scene.kind].split()[0]], f"perceive/{scene.kind}"
    if scene.kind == "figure":
        (color, width), (_, height), (_, triangle) = scene.values
        q.see("shape", "triangle" if triangle else "rectangle")
        q.see("color", color)
        q.see("width", width)
        q.see("height", height)
        return
    for key, value in named(scene):
        q.see(key, value)


def named(scene: Scene) -> list[tuple[str, object]]:
    """(key, value) of each thing in reading order: a chart's colours with their numbers, a puzzle's cells with their colours."""
    if scene.kind != "puzzle":
        return list(scene.values)
    side = round(len(scene.values) ** 0.5)
    return [(f"{'abcd'[i // side]}{i % side + 1}", color) for i, (color, _) in enumerate(scene.values)]


def _pick_chart_question(scene: Scene, rng: np.random.Generator) -> str:
    """Kinds that make sense for this many values; `count` only where its answer has at least six values, so that guessing it stays poor."""
    n = len(scene.values)
    kinds = ["read", "sum", "difference", "highest", "compare", "mean"]
    kinds += ["order"] if 3 <= n <= 5 else []
    kinds += ["count"] if n >= 5 and scene.kind != "pie" else []
    return str(rng.choice(kinds))


def _note(scene: Scene, q: Question, asked: tuple[str, ...] = ()) -> list[int]:
    """Notes the whole chart and keeps the values of the colours that are asked for, as `first` and `second`; returns the indices of these steps."""
    pairs = [pair for pair in scene.values if pair[0] in asked]
    return q.note(scene.values, {color: (key, value) for key, (color, value) in zip(("first", "second"), pairs, strict=False)})


def _read(scene: Scene, q: Question, rng: np.random.Generator) -> bool:
    color, value = scene.values[int(rng.integers(len(scene.values)))]
    q.template += "/read"
    q.text = f"What is the value of {color}?"
    q.conclude("value", value, parents=_note(scene, q, (color,)))
    q.answer, q.answer_type = [str(value)], "integer"
    return True


def _pair(scene: Scene, rng: np.random.Generator) -> list[tuple[str, int]]:
    i, j = rng.choice(len(scene.values), 2, replace=False).tolist()
    return [scene.values[i], scene.values[j]]


def _add(scene: Scene, q: Question, colors: tuple[str, str]) -> int:
    """Notes the chart and adds the values of two colours, in reading order; returns the index of the sum."""
    kept = _note(scene, q, colors)
    first, second = (int(q.steps[i].value) for i in kept)
    return q.conclude("sum", first + second, f"{first} + {second}", kept)


def _sum(scene: Scene, q: Question, rng: np.random.Generator) -> bool:
    (c1, v1), (c2, v2) = _pair(scene, rng)
    q.template += "/sum"
    q.text = f"What is the sum of {c1} and {c2}?"
    _add(scene, q, (c1, c2))
    q.answer, q.answer_type = [str(v1 + v2)], "integer"
    return not (scene.kind == "pie" and len(scene.values) == 2)  # two slices always make twelve


def _difference(scene: Scene, q: Question, rng: np.random.Generator) -> bool:
    (c1, v1), (c2, v2) = sorted(_pair(scene, rng), key=lambda cv: -cv[1])
    # Small differences are more frequent: keep each with the inverse of its frequency among two uniform numbers from 1 to 9.
    if v1 == v2 or (scene.kind != "pie" and rng.random() > 1 / (9 - (v1 - v2))):
        return False
    q.template += "/difference"
    q.text = f"What is {c1} minus {c2}?"
    parents = _note(scene, q, (c1, c2))
    q.conclude("difference", v1 - v2, f"{v1} - {v2}", parents)
    q.answer, q.answer_type = [str(v1 - v2)], "integer"
    return True


def _mean(scene: Scene, q: Question, rng: np.random.Generator) -> bool:
    (c1, v1), (c2, v2) = _pair(scene, rng)
    q.template += "/mean"
    q.text = f"What is the mean of {c1} and {c2}?"
    total = _add(scene, q, (c1, c2))
    q.conclude("mean", f"{(v1 + v2) / 2:.1f}", f"{v1 + v2} / 2", [total])
    q.answer, q.answer_type, q.precision = [f"{(v1 + v2) / 2:.1f}"], "float", 1
    return not (scene.kind == "pie" and len(scene.values) == 2)


def _highest(scene: Scene, q: Question, rng: np.random.Generator) -> bool:
    word = str(rng.choice(["highest", "lowest"]))
    ordered = sorted(scene.values, key=lambda cv: -cv[1] if word == "highest" else cv[1])
    if ordered[0][1] == ordered[1][1]:
        return False
    q.template += f"/{word}"
    q.text = f"Which color is the {word}?"
    _note(scene, q)
    q.conclude(word, ordered[0][0])
    q.answer, q.answer_type = [ordered[0][0]], "text"
    return True


def _compare(scene: Scene, q: Question, rng: np.random.Generator) -> bool:
    count = min(4, len(scene.values))
    shown = [scene.values[i] for i in rng.choice(len(scene.values), count, replace=False).tolist()]
    ordered = sorted(shown, key=lambda cv: -cv[1])
    if ordered[0][1] == ordered[1][1]:
        return False
    q.template += f"/compare/{count}"
    q.text = "Which of these is the highest?"
    q.choose(ordered[0][0], [c for c, _ in ordered[1:]], rng)
    _note(scene, q)
    q.conclude("highest", ordered[0][0])
    return True


def _order(scene: Scene, q: Question, rng: np.random.Generator) -> bool:
    if len({v for _, v in scene.values}) < len(scene.values):
        return False
    q.template += "/order"
    q.text = "List the colors from low to high."
    _note(scene, q)
    names = [c for c, _ in sorted(scene.values, key=lambda cv: cv[1])]
    q.conclude("order", " ".join(names))
    q.answer, q.answer_type = names, "list"
    return True


def _count(scene: Scene, q: Question, rng: np.random.Generator) -> bool:
    n, target = len(scene.values), int(rng.integers(len(scene.values) + 1))
    ordered = sorted((v for _, v in scene.values), reverse=True)
    low = ordered[target] if target < n else 0
    high = ordered[target - 1] if target else 10
    if high <= low:
        return False
    limit = int(rng.integers(low, high))  # exactly `target` values lie above it
    q.template += "/count"
    q.text = f"How many are higher than {limit}?"
    _note(scene, q)
    q.conclude("count", target)
    q.answer, q.answer_type = [str(target)], "integer"
    q.template += f"/{limit}"
    return 2 <= limit <= 7


CHART_QUESTIONS = {
    "read": _read, "sum": _sum, "difference": _difference, "mean": _mean, "highest": _highest, "compare": _compare, "order": _order, "count": _count,
}  # fmt: skip


def _figure(scene: Scene, q: Question, rng: np.random.Generator) -> np.ndarray:
    (color, width), (_, height), (_, triangle) = scene.values
    kind = str(rng.choice(["width", "height", "area"] + ([] if triangle else ["perimeter"])))
    q.template, q.answer_type = f"figure/{kind}", "integer"
    q.text = f"What is the {kind} of the figure?"
    seen = [q.see("shape", "triangle" if triangle else "rectangle")] if kind in ("area", "perimeter") else []
    seen += [q.see(key, value) for key, value in (("width", width), ("height", height)) if kind in (key, "area", "perimeter")]
    if kind == "area" and triangle:
        square = q.conclude("product", width * height, f"{width} * {height}", seen)
        q.conclude("area", f"{width * height / 2:.1f}", f"{width * height} / 2", [square])
        q.answer_type, q.precision = "float", 1
    elif kind == "area":
        q.conclude("area", width * height, f"{width} * {height}", seen)
    elif kind == "perimeter":
        half = q.conclude("half", width + height, f"{width} + {height}", seen)
        q.conclude("perimeter", 2 * (width + height), f"2 * {width + height}", [half])
    q.answer = [q.steps[-1].value]
    return render.figure("triangle" if triangle else "rectangle", color, width, height)


def _puzzle(level: int, colors: list[str], rng: np.random.Generator) -> list[tuple[str, int]]:
    """Either a Latin square with one cell left out (number 1), or cells of few colours (number 0); 2 x 2 up to level 1, else 3 x 3, from level 5 on 4
    x 4."""
    side = 2 if level == 1 else (3 if level < 5 else 4)
    if rng.random() < 0.5:
        shift = rng.permutation(side).tolist()
        square = [colors[(r + shift[c]) % side] for r in range(side) for c in range(side)]
        square[int(rng.integers(side * side))] = "?"
        return [(c, 1) for c in square]
    few = colors[:2] if level < 3 else colors[:3]
    weights = rng.dirichlet(np.ones(len(few)))  # uneven, so that counts are spread
    return [(str(c), 0) for c in rng.choice(few, side * side, p=weights)]


def _ask_puzzle(scene: Scene, q: Question, level: int, rng: np.random.Generator) -> np.ndarray:
    cells, colors = named(scene), [c for c, _ in scene.values]
    side = round(len(colors) ** 0.5)
    if scene.values[0][1]:
        q.note(cells)
        q.template, q.text = "puzzle/missing", "Each row has the same colors. Which color is missing?"
        lines = missing_color(colors)
        q.conclude(*lines[0])
        q.conclude(*lines[1])
        q.conclude(*lines[2], parents=[len(cells), len(cells) + 1])
        q.answer, q.answer_type = [lines[2][1]], "text"
    else:
        color = str(rng.choice(list(dict.fromkeys(colors))))
        count, most = colors.count(color), side * side
        q.template, q.text = f"puzzle/count/{most}", f"How many cells are {color}?"
        found = [key for key, value in cells if value == color]
        tally = q.note(cells, {key: (f"{color} {i}", key) for i, key in enumerate(found, 1)})
        q.conclude(f"count {color}", count, parents=tally)
        wrong = rng.choice([n for n in range(1, most + 1) if n != count], 3, replace=False).tolist()
        q.choose(str(count), [str(n) for n in wrong], rng)
    return render.cells(side, colors)


def missing_color(colors: list[str]) -> list[tuple[str, str]]:
    """(key, value) of what leads from a square's cells to the colour that `?` stands for: the colours of a whole row, those of its own, the rest."""
    side = round(len(colors) ** 0.5)
    rows = [colors[i : i + side] for i in range(0, len(colors), side)]
    broken = next(i for i, row in enumerate(rows) if "?" in row)
    whole, left = rows[0 if broken else 1], [c for c in rows[broken] if c != "?"]
    return [("colors", " ".join(whole)), (f"row {'abcd'[broken]}", " ".join(left)), ("missing", next(c for c in whole if c not in left))]


def _twelfths(count: int, rng: np.random.Generator) -> list[int]:
    """`count` positive numbers that add up to twelve, uniform over all such."""
    cuts = np.sort(rng.choice(np.arange(1, 12), count - 1, replace=False))
    return np.diff([0, *cuts, 12]).tolist()


def _mathvista(scene: Scene, q: Question) -> dict:
    """The metadata fields that MathVista breaks its scores down by."""
    context = {"bar": "bar chart", "line": "line plot", "pie": "pie chart", "table": "table", "figure": "geometry diagram", "puzzle": "puzzle test"}
    task = {"figure": "geometry problem solving"}.get(scene.kind, "figure question answering")
    skill = {"figure": "geometry reasoning", "puzzle": "logical reasoning"}.get(scene.kind, "statistical reasoning")
    skills = [skill, "arithmetic reasoning"] if any(" = " in s.text for s in q.steps) else [skill]
    return {
        "category": "math-targeted-vqa", "context": context[scene.kind], "grade": "elementary school", "language": "english",
        "skills": skills, "source": "Focal", "task": task,
    }  # fmt: skip
