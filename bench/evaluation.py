"""Evaluation speed: `eval.run.evaluate` with two media controls against the loop that every evaluation script starts as: decode, generate, grade."""

import itertools
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from bench.harness import Comparison, DifferentError, Setting
from configs.load import load_recipe
from data import protocol
from data.media import decode_ref
from data.record import Record
from eval.benchmarks.base import Benchmark
from eval.controls import blank, donors
from eval.item_log import read_items
from eval.run import evaluate, load_items, open_benchmark
from reasoning.policy import stop_ids
from training.build import build_reasoner

RECIPE = Path(__file__).resolve().parents[1] / "configs/smoke/tiny.yaml"
CONTROLS = ("blank_media", "shuffled_media")
SEED, LEVEL = 7, 1


def evaluation(setting: Setting) -> Comparison:
    """Evaluated samples/s on world/audio with blank and shuffled media, against one item at a time; and seconds to score 10,000 predictions."""
    n, new = setting.pick((4, 4), (64, 48), (64, 48))
    model, processor = build_reasoner(load_recipe(RECIPE, [f"seed={setting.seed}"]))
    model = model.to(setting.device).eval()
    folder = tempfile.TemporaryDirectory(prefix="focal-bench-")
    root, bench, number = Path(folder.name), open_benchmark("world/audio"), itertools.count()
    records = load_items(bench, root, LEVEL, n, SEED, bench.protocols[0])

    def ours() -> dict[str, list[dict[str, Any]]]:
        assert folder  # kept for as long as the comparison is
        out = root / str(next(number))
        row = evaluate(
            model, processor, bench, stage="bench", level=LEVEL, n=n, seed=SEED, controls=CONTROLS, max_new_tokens=new, out_dir=out, root=root
        )
        stem = (root / row["per_item"]).with_suffix("")
        return {name: read_items(stem.with_name(f"{stem.name}{end}.jsonl")) for name, end in PASSES.items()}

    def peer() -> dict[str, list[dict[str, Any]]]:
        return {name: one_by_one(model, processor, bench, records, name, new) for name in PASSES}

    return Comparison(
        ours, peer, "one item at a time: decode, transformers generate, grade", same_rows(setting),
        sizes={"items": n, "passes": len(PASSES), "new tokens": new, "parameters": sum(p.numel() for p in model.parameters())},
        goals={"time": 3.0}, work=(n * len(PASSES),) * 2, unit="samples", facts={"score_10000_s": scoring_seconds(setting.pick(100, 10_000, 10_000))},
    )  # fmt: skip


PASSES = {"sighted": "", "blank_media": ".blank_media", "shuffled_media": ".shuffled_media-0"}


@torch.no_grad()
def one_by_one(model: Any, processor: Any, bench: Benchmark, records: Sequence[Record], name: str, new: int) -> list[dict[str, Any]]:
    """What an evaluation script does without batches: each item decoded, asked and graded before the next."""
    tokenizer, by_id, lent = processor.tokenizer, {r.id: r for r in records}, donors(records, SEED)
    rows = []
    for record in records:
        shown = by_id[lent.get(record.id, record.id)] if name == "shuffled_media" else record
        media = [decode_ref(ref, processor.media) for ref in shown.media]
        media = [blank(m) for m in media] if name == "blank_media" else media
        turn = [{"role": "user", "content": bench.prompt(record, bench.protocols[0])}]
        prompt = tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
        batch = {k: v.to(model.device) for k, v in processor.collate([processor.encode(prompt, media)]).items()}
        pad = tokenizer.pad_token_id
        ids = model.generate(**batch, max_new_tokens=new, do_sample=False, eos_token_id=stop_ids(tokenizer), pad_token_id=pad)
        said = tokenizer.decode(ids[0, batch["input_ids"].shape[1] :], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        graded = bench.judge(record, said, bench.protocols[0])
        rows.append({"id": record.id, "correct": graded.correct, "extracted": graded.extracted, "completion": said})
    return rows


def same_rows(setting: Setting) -> Callable[[Any, Any], str]:
    """Every item of every pass has the same completion and the same judgement; on a GPU, where kernels depend on the batch, nine of ten."""

    def same(ours: dict[str, list[dict[str, Any]]], peer: dict[str, list[dict[str, Any]]]) -> str:
        pairs = [(a, b) for name in PASSES for a, b in zip(ours[name], peer[name], strict=True) if a["counted"]]
        keys = ("id", "correct", "extracted")
        equal = [all(a[k] == b[k] for k in keys) and trimmed(a["completion"]) == trimmed(b["completion"]) for a, b in pairs]
        if sum(equal) < (0.9 if setting.gpu else 1.0) * len(equal):
            raise DifferentError(f"per-item results: only {sum(equal)} of {len(equal)} are equal")
        return f"per-item results equal ({sum(equal)} of {len(equal)})"

    return same


def trimmed(completion: str) -> str:
    return completion.split(protocol.END)[0]


def scoring_seconds(count: int) -> float:
    """Seconds to score so many predictions offline under MMAU's strict protocol, files read from disk included, imports not."""
    from eval.benchmarks.mmau import MMAU
    from eval.score import score_files

    choices = ["rain on a tin roof", "a dog that barks twice", "a man who laughs", "a passing train"]
    gold = [{"id": str(i), "question": "What is it?", "choices": choices, "answer": choices[i % 4], "audio_id": f"{i}.wav"} for i in range(count)]
    said = [{"id": str(i), "response": f"I hear it. The answer is ({'ABCD'[i % 4]}) {choices[i % 4]}."} for i in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / "gold.json", Path(folder) / "said.json"]
        for path, rows in zip(paths, (gold, said), strict=True):
            path.write_text(json.dumps(rows))
        start = time.perf_counter()
        report = score_files(MMAU(), paths[1], paths[0], "strict")
        seconds = time.perf_counter() - start
    if report.correct != count:
        raise DifferentError(f"scoring: {report.correct} of {count} gold answers were read as right")
    return round(seconds, 3)
