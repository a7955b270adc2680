"""A toy problem whose every completion is known, and a policy that plays it without any model."""

import numpy as np

from data.record import Record
from data.worlds.base import generator
from reasoning.policy import Asked
from reasoning.trace import Generation

FACTS = {"a": "1", "b": "2", "c": "3"}
END = "<|end|>"


def toy(i: int = 0) -> Record:
    return Record(f"toy-{i}", "What is a + b + c?", ["6"], "integer", meta={"facts": FACTS})


def solution(*values: int, answer: object = None) -> str:
    """A completion that claims these values for a, b, c and answers with their sum."""
    steps = "\n".join(f"{key}: {value}" for key, value in zip(FACTS, values, strict=False))
    return f"<think>{steps}</think><answer>{sum(values) if answer is None else answer}</answer>{END}"


class ToyPolicy:
    """Says each value right or one too large, by a coin of its seed; answers with the sum. One token a character. `script`: record id -> what its
    samples are; counts what it is asked."""

    name, fingerprint = "toy", "toy"

    def __init__(self, script=None, seed=0, luck=0.5):
        self.script, self.seed, self.luck, self.drawn = script or {}, seed, luck, 0

    def chat(self, turn):
        return f"<|user|>{turn}<|assistant|>"

    def ask(self, record, instruction=""):
        return Asked(record, self.chat(record.question), [], record.question)

    def problem(self, asked):
        return "no sound is taken" if any(m.kind == "audio" for m in asked.media) else None

    def prompt_tokens(self, asked):
        return len(asked.prompt)

    def spans(self, asked):
        return [("text", 0, len(asked.prompt))]

    def sample(self, asked, ks, temperature, max_new_tokens):
        return [[self._whole(item.record, k, max_new_tokens) for k in numbers] for item, numbers in zip(asked, ks, strict=True)]

    def _whole(self, record, k, longest):
        self.drawn += 1
        if record.id in self.script:
            text = self.script[record.id][k % len(self.script[record.id])]
        else:
            rng = generator(self.seed, record.id, k)
            text = solution(*(int(v) + (rng.random() >= self.luck) for v in FACTS.values()))
        return Generation(k, k, text[:longest], min(len(text), longest), text.endswith(END) and len(text) <= longest, logps=[-0.5] * 3)

    def begin(self, asked):
        return ToyStepper(self, [""] * len(asked))


class ToyStepper:
    def __init__(self, policy, texts):
        self.policy, self.texts = policy, texts

    def grow(self, parents, ks, seeds, temperature, max_new_tokens, whole=False):
        made, texts = [], []
        for parent, k, seed in zip(parents, ks, seeds, strict=True):
            before, piece = self.texts[parent], ""
            rng = np.random.default_rng(seed)
            while not piece.endswith(END) and (whole or not piece):
                piece += self._piece(before + piece, rng)
            piece = piece[:max_new_tokens]
            texts.append(before + piece)
            made.append(Generation(k, seed, piece, len(piece), piece.endswith(END), logps=[-0.1]))
        self.texts = texts
        return made

    def _piece(self, before, rng):
        if "</think>" in before:
            values = [int(line.split(": ")[1]) for line in before[len("<think>") :].split("</think>")[0].split("\n")]
            return f"<answer>{sum(values)}</answer>{END}"
        key = "abc"[before.count(": ")]
        value = int(FACTS[key]) + (rng.random() >= self.policy.luck)
        return ("<think>" if key == "a" else "") + f"{key}: {value}" + ("</think>" if key == "c" else "\n")
