"""The policy judges its own solutions (Self-PRM, arXiv 2505.11227): the same weights, asked whether a solution is right, step by step or as a whole.

The verdict is read, not sampled: the probability of the letter of "yes" against that of "no" as the first token of an answer to a lettered question,
the form that our models answer in. Claims of the paper to check: it gains with n, and its precision falls on hard items.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from data import protocol
from data.protocol import escape
from reasoning.policy import Asked, ModelPolicy, Policy, encode
from reasoning.scorers.base import ScorerConfig
from reasoning.scorers.prm import How, Parts, PRMScorer
from reasoning.scorers.prm_guide import PRMGuide

QUERY = {"stepwise": "Is it right so far?", "whole": "Is it right?"}
LETTERS = ("A", "B")
MARK = "\x00"


class SelfJudgeConfig(ScorerConfig):
    """`mode`: one verdict per step, or one per solution; `aggregate` makes one number of the steps'."""

    mode: Literal["stepwise", "whole"] = "stepwise"
    aggregate: How = Field("min")


class SelfJudgeScorer(PRMScorer):
    """Solutions share their prompt and their steps; each question about a step is asked on a side branch, so that no verdict is read by a later
    step. Needs our own model as the policy."""

    config_class: ClassVar[type[ScorerConfig]] = SelfJudgeConfig
    takes_path = False

    def __init__(self, config: Any, seed: int = 0, **options: Any):
        super().__init__(config, seed, **options)
        self.name = "self_judge" + ("" if config.mode == "stepwise" else "_whole") + ("" if config.aggregate == "min" else f"_{config.aggregate}")

    @property
    def fingerprint(self) -> str:
        return f"{self.name}/{QUERY[self.config.mode]}"

    def bind(self, policy: Policy) -> None:
        own = getattr(policy, "policy", policy)
        if not isinstance(own, ModelPolicy):
            raise ValueError(
                f"scorer {self.name!r} reads the policy's own probabilities, which {type(own).__name__} does not give: take our own model"
            )
        self._loaded = (own.model, own.processor)

    def parts(self, text: str) -> Parts:
        parsed = protocol.parse(text)
        lines = [f"{escape(step)}\n" for step in parsed.steps] + ([f"answer: {escape(parsed.answer)}\n"] if parsed.answer is not None else [])
        return tuple(lines) if self.config.mode == "stepwise" else ("".join(lines),)

    def layout(self, asked: Asked) -> tuple[str, str]:
        """(what stands before a solution, what stands between it and the verdict)."""
        turn = (asked.turn or protocol.prompt(asked.record)) + f"\nSolution:\n{MARK}{QUERY[self.config.mode]}\nA. yes\nB. no"
        chat = self.loaded[1].tokenizer.apply_chat_template([{"role": "user", "content": turn}], add_generation_prompt=True, tokenize=False)
        before, _, behind = chat.partition(MARK)
        return before, f"{behind}{protocol.THINK}{protocol.END_THINK}{protocol.ANSWER}"

    def encode(self, asked: Asked) -> Any:
        return encode(asked, self.loaded[1], self.layout(asked)[0], f"self_judge {self.config.mode}")

    def cost(self, asked: Sequence[Asked], solutions: Sequence[Sequence[Any]]) -> list[int]:
        costs = []
        for item, cost, generations in zip(asked, super().cost(asked, solutions), solutions, strict=True):
            rows = {row for row in (self._whole(g.text) for g in generations) if row is not None}
            nodes = {row[: depth + 1] for row in rows for depth in range(len(row))}
            costs.append(cost + len(nodes) * len(self.ids(self.layout(item)[1])))
        return costs

    def reader(self, asked: Sequence[Asked]) -> Any:
        return SelfJudgeGuide(self, asked)

    def letters(self) -> list[int]:
        """The tokens of the two letters; a tokenizer that writes them in several is a `ValueError`."""
        pieces = [self.ids(letter) for letter in LETTERS]
        if any(len(piece) != 1 for piece in pieces):
            raise ValueError(f"scorer {self.name!r}: this tokenizer has no single token for {' and '.join(LETTERS)}")
        return [piece[0] for piece in pieces]


class SelfJudgeGuide(PRMGuide):
    """As the reward model's, with the question on a side branch in place of the mark."""

    def __init__(self, scorer: SelfJudgeScorer, asked: Sequence[Asked]):
        super().__init__(scorer, asked)
        self.query = scorer.ids(scorer.layout(asked[0])[1])

    def _read(self, rows: list[int], parts: list[tuple[str, ...]]) -> list[int]:
        self._move(rows, parts)
        before = list(self.lengths)
        for i in range(max(map(len, parts), default=0)):
            self._ask([new[i : i + 1] for new in parts])
        return [now - then for now, then in zip(self.lengths, before, strict=True)]

    def _ask(self, parts: Sequence[Sequence[str]]) -> None:
        import torch

        ids = [[t for part in new for t in self.scorer.ids(part)] for new in parts]
        self.session.extend(ids)
        live = [row for row, line in enumerate(ids) if line]
        hidden = torch.stack([h[-1] for h in self.session.fork(live).extend([self.query] * len(live))])
        with torch.no_grad():
            scores = self.scorer.loaded[0].logits(hidden)[:, self.scorer.letters()].float().softmax(-1)[:, 0].tolist()
        for row, score in zip(live, scores, strict=True):
            self.scores[row].append(score)
            self.lengths[row] += len(ids[row]) + len(self.query)
