"""Does a completion keep the protocol: a think tag, then an answer tag, and nothing else?"""

import re

from data import protocol
from training.rewards.rollout import Rollout

_OFFICIAL = re.compile(r"<think>.*?</think>\s*<answer>.*?</answer>[\s!]*$", re.DOTALL)


def format_reward(completion: str, rule: str = "strict") -> float:
    """1.0 or 0.0.

    `strict`: after an outer strip the completion is exactly one think and one answer tag, in order, nothing outside them, answer not empty.
    `official`: the TW-GRPO release's search: at most one of each opening tag, text before the thought allowed, only white space and `!` after
    the answer.
    """
    if rule == "strict":
        return float(protocol.parse(completion).format_ok)
    if rule != "official":
        raise ValueError(f"format rule {rule!r} is not one of official, strict")
    if completion.count("<think>") > 1 or completion.count("<answer>") > 1:
        return 0.0
    return float(_OFFICIAL.search(completion) is not None)


def keeps_format(rollout: Rollout, rule: str = "strict") -> float:
    """`format_reward` as a reward on records."""
    return format_reward(rollout.completion, rule) if rule == "official" else float(rollout.verdict.format_ok)
