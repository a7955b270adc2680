"""A judge of steps on fresh questions of a world: solutions that a policy draws now, every score beside its exact label."""

import json
import re
from pathlib import Path
from typing import Any

from data import protocol
from data.drawn_solutions import SCORES, Drawn, distinct_solutions, pass_rates, score_line
from data.label_report import LABEL_REPORT, label_report
from data.solutions import mark_steps
from eval.passes import batches
from eval.results import write_atomic
from eval.run import full_name, load_items, open_benchmark, short_hash
from reasoning.policy import ModelPolicy, Policy
from reasoning.scorers.base import Scorer
from reasoning.trace import Generation


def write_fresh(
    policy: Policy, scorer: Scorer, bench: Any, folder: Path, *, level: int | None, n: int, seed: int, samples: int = 8, temperature: float = 1.0,
    max_new_tokens: int = 200, batch_size: int = 64, instruction: str = "",
) -> Path:  # fmt: skip
    """Leave in `folder` what the `prm` stage leaves of its held-out prompts, so that everything in `eval/prm_report.py` reads it. Solutions without
    an answer are left out; questions without a world, which nothing labels step by step, are a `ValueError`, and so is a scorer that does not judge
    steps."""
    if bench.wants != "world":
        raise ValueError(f"benchmark {full_name(bench)!r} has no exact labels of steps: take world/… here, or `python -m eval score processbench`")
    records = load_items(bench, folder, level, n, seed, bench.check_protocol(None))
    lines, solutions = [], []
    for batch in batches(records, batch_size):
        asked = [policy.ask(record, instruction) for record in batch]
        texts = [g.text for row in policy.sample(asked, [range(samples)] * len(asked), temperature, max_new_tokens) for g in row]
        drawn = distinct_solutions(batch, texts, samples)
        rates = pass_rates(drawn, len(batch), samples)
        mine = [[d for d in drawn if d.owner == owner] for owner in range(len(batch))]
        scored = scorer.score(asked, [[Generation(k, 0, text_of(d), 0, True) for k, d in enumerate(row)] for row in mine])
        for row, judged in zip(mine, scored, strict=True):
            if any(len(steps) != len(d.solution.labels) for d, steps in zip(row, judged.steps, strict=True)):
                raise ValueError(f"scorer {scorer.name!r} gives no score to every step: take prm:DIR, or self_judge, which asks step by step")
            solutions += [d.solution for d in row]
            lines += [score_line(d, steps, rates[d.owner], None) for d, steps in zip(row, judged.steps, strict=True)]
    if not lines:
        raise ValueError(f"no completion had an answer on {full_name(bench)!r}, so there is nothing to score: look at what the policy says")
    write_atomic(folder / SCORES, "".join(json.dumps(line) + "\n" for line in lines))
    write_atomic(folder / LABEL_REPORT, json.dumps(label_report(solutions), indent=1))
    return folder


def text_of(drawn: Drawn) -> str:
    """The completion again, without its end token."""
    return mark_steps(drawn.solution.parsed).replace(protocol.STEP, "")


def judge_scorer(
    model: Path,
    wanted: str | None,
    benchmark: str,
    *,
    level: int | None,
    n: int,
    seed: int,
    samples: int,
    stage: str | None,
    out: Path | None,
    batch_size: int,
) -> Path:
    """Open what the command names (`wanted`: a scorer as in recipes; None: the process reward model of `model`'s run), and write; returns the
    folder."""
    from eval.loading import find_model, instruction_of, load_reasoner
    from reasoning.build import build_scorer

    bench = open_benchmark(benchmark)
    scorer = build_scorer(wanted or "prm", {}, model, seed)
    found = find_model(model, stage)
    level = bench.source.levels[0] if level is None and bench.wants == "world" else level
    folder = (
        out
        or Path("runs") / f"prm-{re.sub(r'[^A-Za-z0-9_.-]+', '-', benchmark)}-{level}-s{seed}-{short_hash([str(model), stage, scorer.fingerprint])}"
    )
    policy = ModelPolicy(*load_reasoner(found.folder), seed=seed)
    scorer.bind(policy)
    return write_fresh(
        policy, scorer, bench, folder, level=level, n=n, seed=seed, samples=samples, batch_size=batch_size, instruction=instruction_of(found.run),
    )  # fmt: skip
