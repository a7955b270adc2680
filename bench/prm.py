"""Scoring candidates step by step: our shared reading against reading prompt and solution again for every step."""

from typing import Any

import numpy as np
import torch

from bench import reasoner
from bench.harness import Comparison, DifferentError, Setting
from data import protocol
from data.record import Record
from models.media import Media
from models.prm import FocalPRM
from models.processing import FocalProcessor
from reasoning.policy import Asked
from reasoning.scorers.prm import PRMScorer, PRMScorerConfig
from reasoning.trace import Generation

CANDIDATES = 16
PROMPT_STEPS = 5  # a prompt is at least so many steps long


def build_scorer(setting: Setting) -> PRMScorer:
    """A reward model of the bench's sizes with a head of random weights, over a tokenizer of the video world's words."""
    from training.tokenizer import build_tokenizer

    tokenizer = build_tokenizer(["video"], 512, per_level=1)
    token = tokenizer.convert_tokens_to_ids(protocol.PLACEHOLDERS["video"])
    policy = reasoner.build(setting, vocab_size=max(len(tokenizer), setting.pick(128, 4096, 151_936)), pad_token_id=tokenizer.pad_token_id)
    config = policy.config.to_dict()
    config["streams"]["video"]["token_id"] = token
    torch.manual_seed(setting.seed)
    model = FocalPRM(type(policy.config).from_dict(config | {"step_token_id": tokenizer.convert_tokens_to_ids(protocol.STEP)}))
    stream = {k: v for k, v in config["streams"]["video"].items() if k != "token_id"} | {"placeholder": protocol.PLACEHOLDERS["video"]}
    processor = FocalProcessor(tokenizer, streams={"video": stream})
    return PRMScorer(PRMScorerConfig(aggregate="min"), model=model.to(setting.device, setting.dtype).eval(), processor=processor)


def candidates(steps: int, seed: int) -> list[Generation]:
    """Solutions that differ from their first step on, so that nothing but the prompt is shared: the case that is hardest for us."""
    made = []
    for k in range(CANDIDATES):
        rng = np.random.default_rng((seed, k))
        lines = [f"{i}: {k} {' '.join(rng.choice(list('0123456789'), 6))}" for i in range(steps - 1)]
        text = f"<think>{protocol.STEP_DELIMITER.join(lines)}</think><answer>{k}</answer>{protocol.END}"
        made.append(Generation(k, k, text, len(text), True))
    return made


def prm(setting: Setting) -> Comparison:
    """N = 16 candidates of K steps by a process reward model, against re-reading prompt and steps so far for every step."""
    steps, frames = setting.pick(4, 10, 24), setting.pick(2, 4, 16)
    scorer = build_scorer(setting)
    video = Media("video", np.random.default_rng(setting.seed).integers(0, 255, (frames, 32, 32, 3), dtype=np.uint8), 8.0, np.arange(frames) / 8)
    turn = f"{protocol.PLACEHOLDERS['video']}Which sum is right?"
    asked, solutions = Asked(Record("bench", turn, ["1"], "text"), turn, [video], turn), candidates(steps, setting.seed)
    prompt_text = scorer.loaded[1].tokenizer.apply_chat_template([{"role": "user", "content": turn}], add_generation_prompt=True, tokenize=False)
    parts = [scorer.parts(g.text) for g in solutions]
    step_length = sum(len(scorer.ids(p)) for row in parts for p in row) / (CANDIDATES * steps)
    counts: dict[str, int] = {}

    def ours() -> list[list[float]]:
        asked.encoded.clear()
        guide = scorer.begin([asked])
        scored = guide.judge([0] * CANDIDATES, [g.text for g in solutions])
        counts["ours"] = guide.tokens_read  # type: ignore[attr-defined]
        return [judged.steps for judged in scored]

    @torch.no_grad()
    def peer() -> list[list[float]]:
        counts["peer"] = 0
        scores: list[list[float]] = [[] for _ in parts]
        for depth in range(1, steps + 1):  # kind to the peer: the candidates of a depth are one batch, and media features are made once
            rows = [scorer.loaded[1].encode(prompt_text, [video], "".join(row[:depth])) for row in parts]
            counts["peer"] += sum(len(row.prompt) + len(row.completion) for row in rows)
            batch = {k: v.to(setting.device) for k, v in dict(scorer.loaded[1].collate(rows, "right")).items() if k != "labels"}
            batch = {k: v.to(scorer.loaded[0].dtype) if v.is_floating_point() else v for k, v in batch.items()}
            for known, fresh in zip(scores, scorer.loaded[0].step_scores(**batch), strict=True):
                known.append(fresh[-1])
        return scores

    def same(*_) -> str:
        # In float32, also where bfloat16 is timed: that has three digits, and batches of another shape round them otherwise.
        scorer.loaded[0].float()
        gap = float((torch.tensor(ours()) - torch.tensor(peer())).abs().max())
        scorer.loaded[0].to(setting.dtype)
        share, limit = counts["ours"] / counts["peer"], 1 / (0.6 * steps)
        if not gap <= 1e-5:
            raise DifferentError(f"step scores differ by {gap:.1e} > 1e-5")
        if share > limit:
            raise DifferentError(f"{counts['ours']} tokens are read, {share:.3f} of the peer's {counts['peer']}: more than 1 / (0.6 K) = {limit:.3f}")
        facts.update({"tokens": f"{counts['ours']} read, the peer {counts['peer']}: {share:.3f} of them; goal at most {limit:.3f}: reached"})
        return f"step scores equal (largest difference {gap:.1e})"

    facts: dict[str, Any] = {}
    prompt = scorer.prompt_tokens(asked)
    if prompt < PROMPT_STEPS * step_length:
        raise ValueError(f"the prompt has {prompt} tokens, fewer than {PROMPT_STEPS} steps of {step_length:.1f}")
    sizes = {"candidates": CANDIDATES, "steps": steps, "tokens a step": round(step_length, 1), "prompt tokens": prompt}
    return Comparison(
        ours, peer, "re-scoring every prefix from its beginning", same, sizes | reasoner.shape(scorer.loaded[0]), goals={"time": 3.0}, facts=facts
    )
