"""The promise of the registries: one of each kind of component, defined here, registered with `add()`, and a smoke recipe run with all of them."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import configs.registry
import models.registry
from configs.load import load_recipe
from configs.schema import StageConfig
from data.record import LETTERS, MediaRef, Record
from data.worlds.base import Sample, World
from data.worlds.question import Question
from eval.benchmarks.base import Benchmark
from eval.report import write_report
from eval.results import read_results, write_results
from eval.run import run_evaluations
from models.media import Media
from models.registry import Registry
from reasoning.scorers.free import FreeScorer
from reasoning.strategies.sampling import SamplingStrategy
from training.losses import Kind
from training.rewards.algebra import build_terms
from training.run import Judge, run
from training.token_weights import Rule

USED: set[str] = set()  # which components did something


# --- models: an encoder and a projector


@dataclasses.dataclass
class GreyConfig:
    """The mean brightness of each quarter of a picture, one token each."""

    width: int = 8

    def features(self, media):
        USED.add("encoder")
        height, width = media.array.shape[:2]
        quarters = [media.array[y : y + height // 2, x : x + width // 2].mean() for y in (0, height // 2) for x in (0, width // 2)]
        return torch.tensor(quarters, dtype=torch.float32)[:, None] / 255

    def num_tokens(self, features_shape):
        return features_shape[0]


class GreyEncoder(torch.nn.Module):
    config_class = GreyConfig

    def __init__(self, config):
        super().__init__()
        self.width, self.proj = config.width, torch.nn.Linear(1, config.width)

    def forward(self, features, lengths=None):
        return self.proj(features), torch.full((len(features),), features.shape[1])


@dataclasses.dataclass
class HalfConfig:
    """Every other token."""

    def num_tokens(self, count):
        return (count + 1) // 2


class HalfProjector(torch.nn.Module):
    config_class = HalfConfig

    def __init__(self, config, width, hidden):
        super().__init__()
        self.proj = torch.nn.Linear(width, hidden)

    def forward(self, tokens, counts):
        USED.add("projector")
        return self.proj(tokens[:, ::2]), (counts + 1) // 2


# --- data: a world, a reader, a transform


class ShadeWorld(World):
    """Is the picture dark or bright?"""

    name, modality, levels, all_families = "shade", "image", (1,), ("shade",)

    def draw(self, level, rng):
        grey = int(rng.integers(0, 256))
        return dataclasses.make_dataclass("Shade", ["grey", "group"])(grey, f"shade/{grey}")

    def build(self, scene, level, rng):
        USED.add("world")
        q = Question("shade", text="Is the picture dark or bright?")
        right, wrong = ("bright", "dark") if scene.grey >= 128 else ("dark", "bright")
        q.see("shade", right)
        q.choose(right, [wrong], rng)
        meta = {"level": level, "family": "shade", "template": q.template, "facts": q.facts}
        refs = [MediaRef("image", f"world://shade/{scene.grey}")]
        record = Record(f"shade-{scene.grey}", q.text, q.answer, q.answer_type, refs, q.options, steps=q.steps, source="world/shade", meta=meta)
        return Sample(record, [Media("image", np.full((16, 16, 3), scene.grey, np.uint8))])


class FolderReader:
    """Pictures named after what they show: `dark-1.png`."""

    def __init__(self, path, kind="png"):
        self.files = sorted(Path(path).glob(f"*.{kind}"))

    def __iter__(self):
        USED.add("reader")
        for file in self.files:
            right = file.stem.partition("-")[0]
            yield Record(
                file.stem, "Dark or bright?", [LETTERS[int(right == "bright")]], "choice", [MediaRef("image", str(file))], ["dark", "bright"],
                group=file.stem,
            )  # fmt: skip


def politely(record, seed, word="Please"):
    """Ask politely."""
    USED.add("transform")
    return dataclasses.replace(record, question=f"{word}: {record.question}")


# --- learning: a stage, a reward, an advantage rule, a filter, a token-weight rule, a loss, a sink


class WaitConfig(StageConfig):
    kind: str = "note"
    text: str


class NoteStage:
    """Trains nothing, and leaves a note."""

    config_class = WaitConfig

    def __init__(self, config):
        self.config = config

    def run(self, context, stage_dir):
        USED.add("stage")
        (stage_dir / "note.txt").write_text(self.config.text)
        context.keep_weights(stage_dir)
        (stage_dir / "done.json").write_text("{}")


def variety(rollout, scale: float = 10.0) -> float:
    """How many different characters were said."""
    USED.add("reward")
    return len(set(rollout.completion)) / scale


def ranks(rewards):
    """[B, G] -> [B, G]: places in the group, around zero."""
    USED.add("advantage rule")
    return rewards.argsort(1).argsort(1).float() - (rewards.shape[1] - 1) / 2


def winners(advantages, rewards, lengths):
    """Only what is better than the rest."""
    USED.add("filter")
    return advantages.clamp(min=0)


def _half(divergence, alive, vocab):
    USED.add("token-weight rule")
    return torch.full_like(divergence, 0.5)


EVENLY = Rule(part=lambda logps, alive, vocab: torch.zeros(alive.shape[1]), share=_half)


def _reinforce(ratio, advantage, logps, bounds):
    USED.add("loss")
    return -logps * advantage


class ListSink:
    """Keeps the rows."""

    rows: ClassVar[list[dict]] = []

    def __init__(self, run_dir):
        self.closed = False

    def write(self, row):
        USED.add("sink")
        self.rows.append(row)

    def close(self):
        self.closed = True


# --- thinking and judging: a strategy, a scorer, a benchmark


class SecondBest(SamplingStrategy):
    """The sample with the second highest score."""

    name, needs_scorer = "second_best", True

    def choose(self, answers, scores):
        USED.add("strategy")
        known = sorted((i for i, answer in enumerate(answers) if answer is not None), key=lambda i: -scores[i])
        return known[min(1, len(known) - 1)] if known else None


class LengthScorer(FreeScorer):
    """The longer the better."""

    name = "length"

    def bind(self, policy):
        USED.add("scorer")  # a model with random weights finishes no answer, so there is nothing to score

    def value(self, asked, text, k, tokens):
        return float(tokens)


class ShadeBenchmark(Benchmark):
    """Black and white, one picture each; answered by anything that holds the letter."""

    name, modality, protocols, axes, extractor = "black_and_white", "image", ("anything",), ("shade",), "anything/1"

    def load(self, wanted):
        return [
            Record(name, "Black or white?", [LETTERS[i]], "choice", [MediaRef("image", str(self.path / f"{name}.png"))], ["dark", "bright"],
                   group=name, meta={"shade": name})
            for i, name in enumerate(("dark-0", "bright-0"))
        ][: wanted.n]  # fmt: skip

    def judge(self, record, completion, protocol_name):
        USED.add("benchmark")
        return super().judge(record, f"<think></think><answer>{'A' if 'A' in completion else 'B'}</answer>", protocol_name)


COMPONENTS = {
    "ENCODERS": ("grey", GreyEncoder), "PROJECTORS": ("half", HalfProjector), "WORLDS": ("shade", ShadeWorld), "READERS": ("pictures", FolderReader),
    "TRANSFORMS": ("politely", politely), "STAGES": ("note", NoteStage), "REWARDS": ("variety", variety), "ADVANTAGES": ("ranks", ranks),
    "FILTERS": ("winners", winners), "TOKEN_WEIGHTS": ("evenly", EVENLY), "LOSSES": ("reinforce", Kind(_reinforce)), "SINKS": ("list", ListSink),
    "STRATEGIES": ("second_best", SecondBest), "SCORERS": ("length", LengthScorer), "BENCHMARKS": ("black_and_white", ShadeBenchmark),
}  # fmt: skip
RECIPE = {
    "name": "extended",
    "threads": 1,
    "model": {
        "llm": {"config": {
            "model_type": "qwen3", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 512, "tie_word_embeddings": True,
        }},
        "tokenizer": {"worlds": ["shade"], "vocab_size": 320},
        "streams": {"image": {"encoder": {"name": "grey", "width": 4}, "projector": {"name": "half"}}},
    },
    "data": {"sources": {
        "shades": {"world": "shade", "level": 1, "transforms": [{"name": "politely", "chance": 0.9, "word": "Kindly"}]},
        "mine": {"reader": "pictures", "path": "pictures", "options": {"kind": "png"}},
    }},
    "stages": [
        {"name": "hello", "kind": "note", "text": "hello"},
        {"name": "sft", "kind": "sft", "mixture": {"shades": 1, "mine": 1}, "steps": 2, "batch_size": 4, "num_workers": 0},
        {"name": "rl", "kind": "tw_grpo", "mixture": {"shades": 1}, "steps": 2, "batch_size": 2, "num_generations": 3, "num_workers": 0,
         "max_new_tokens": 6, "rewards": [{"name": "variety", "scale": 5.0}], "advantage": {"name": "ranks"}, "filters": [{"name": "winners"}],
         "token_weights": {"mode": "evenly"}, "loss": "reinforce"},
    ],
    "evaluate": [
        {"benchmark": "black_and_white", "path": "pictures", "n": 2, "max_new_tokens": 5, "protocol": "anything", "controls": ["blank_media"],
         "strategies": [{"name": "greedy"}, {"name": "second_best", "n": 2, "scorer": "length"}]},
        {"benchmark": "world/shade", "level": 1, "n": 3, "max_new_tokens": 5, "controls": []},
        {"benchmark": "records/pictures", "path": "pictures", "n": 4, "max_new_tokens": 5, "controls": ["always_first"]},
    ],
    "sinks": ["list"],
    "release": False,
}  # fmt: skip


def tables() -> dict[str, Registry]:
    found = {name: table for module in (configs.registry, models.registry) for name, table in vars(module).items() if isinstance(table, Registry)}
    return {name: table for name, table in found.items() if name != "BENCHES"}  # measurements of speed, which no recipe starts


@pytest.fixture
def registered():
    """Adds every component, and takes it out again."""
    for name, (key, component) in COMPONENTS.items():
        tables()[name].add(key, component)
    yield
    for name, (key, _) in COMPONENTS.items():
        del tables()[name]._objects[key]


@pytest.fixture
def run_dir(tmp_path, registered, monkeypatch):
    import training.tokenizer

    monkeypatch.setattr(training.tokenizer, "build_tokenizer", functools.partial(training.tokenizer.build_tokenizer, per_level=20))
    (tmp_path / "pictures").mkdir()
    for i in range(6):
        Image.new("RGB", (16, 16), (40 * (i % 2) * 5,) * 3).save(tmp_path / "pictures" / f"{'bright' if i % 2 else 'dark'}-{i // 2}.png")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    USED.clear()
    recipe = load_recipe(tmp_path / "recipe.yaml", [f"data.root={tmp_path}"])
    return run(recipe, tmp_path / "runs" / "extended", Judge(run_evaluations, write_results, write_report))


def test_every_registry_has_an_example_here():
    assert set(COMPONENTS) == set(tables())


def test_a_recipe_made_of_components_that_were_added(run_dir):
    assert {table.kind for table in tables().values()} == USED
    rows = read_results(run_dir)["evaluations"]
    assert [(r["benchmark"], r["strategy"], r["scorer"], r["n"]) for r in rows] == [
        ("black_and_white", "greedy", None, 2), ("black_and_white", "second_best", "length", 2), ("world/shade", "greedy", None, 3),
        ("records/pictures", "greedy", None, 4),
    ]  # fmt: skip
    assert rows[0]["protocol"] == "anything" and "blank_media" in rows[0]["controls"] and "always_first" in rows[3]["controls"]
    assert (run_dir / "stages/0-hello/note.txt").read_text() == "hello"
    logged = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [row for row in ListSink.rows if row["stage"] == "rl"] == [row for row in logged if row["stage"] == "rl"] != []
    assert not (run_dir / "quarantine.jsonl").exists()
    assert (run_dir / "report.html").stat().st_size > 10_000


def test_a_release_could_not_carry_them(run_dir, registered):
    from models.releasable import check_releasable
    from training.build import load_checkpoint

    model, _ = load_checkpoint(str(run_dir / "stages/1-sft/checkpoint"))
    with pytest.raises(ValueError, match=r"stream 'image': GreyEncoder is defined in .*test_extension"):
        check_releasable(model)


@pytest.mark.parametrize("name", sorted(COMPONENTS))
def test_a_name_is_given_once_and_unknown_ones_are_named(registered, name):
    key, component = COMPONENTS[name]
    table = tables()[name]
    with pytest.raises(ValueError, match=key):
        table.add(key, component)
    assert table.get(key) is component and key in table.names()
    with pytest.raises(ValueError, match=rf"unknown {table.kind} '{key}s?x'; did you mean '{key}'"):
        table.get(f"{key}x")


def test_wrong_options_of_an_added_component_are_named(registered):
    with pytest.raises(ValueError, match="'variety' has no option 'scal'"):
        build_terms([{"name": "variety", "scal": 3.0}], configs.registry.REWARDS.get)
