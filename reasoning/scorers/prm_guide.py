"""The process reward model along a search: each new step is read behind the keys and values of the branch that it continues, never again."""

from collections.abc import Sequence
from typing import Any

from reasoning.policy import Asked
from reasoning.scorers.guide import UNDECIDED, Judged


class PRMGuide:
    """`session` holds one row per distinct branch; `places` says which row each of the search's branches stands on."""

    def __init__(self, scorer: Any, asked: Sequence[Asked]):
        self.scorer, self.session = scorer, scorer.prefill(asked)
        self.prompt_tokens = [scorer.prompt_tokens(item) for item in asked]
        self.places = list(range(len(asked)))
        self.names = [item.record.id for item in asked]  # per row of the session, as what follows
        self.parts: list[tuple[str, ...]] = [()] * len(asked)
        self.scores: list[list[float]] = [[] for _ in asked]
        self.lengths = list(self.prompt_tokens)
        self.evidence: Any = None  # of the rows, once something was read

    @property
    def tokens_read(self) -> int:
        return self.session.tokens_read

    def judge(self, parents: Sequence[int], texts: Sequence[str]) -> list[Judged]:
        return self.follow(parents, [self.scorer.parts(text) for text in texts])

    def follow(self, parents: Sequence[int], heads: Sequence[tuple[str, ...]]) -> list[Judged]:
        """Row i continues row `parents[i]` up to the parts `heads[i]`. Branches that say the same from the same parent are read once."""
        wanted: dict[tuple[int, tuple[str, ...]], int] = {}
        places, first = [], []
        for parent, head in zip(parents, heads, strict=True):
            row = self.places[parent]
            key = (row, tuple(head[len(self.parts[row]) :]))
            first.append(key not in wanted)
            places.append(wanted.setdefault(key, len(wanted)))
        rows = [row for row, _ in wanted]
        read = self._read(rows, [new for _, new in wanted])
        self.places = places
        return [self._judged(row, read[row] * fresh) for row, fresh in zip(places, first, strict=True)]

    def _judged(self, row: int, tokens: int) -> Judged:
        scores = self.scores[row]
        if any(score != score for score in scores):
            raise ValueError(f"scorer {self.scorer.name!r}: record {self.names[row]!r} got a score that is not a number: its weights are broken")
        return Judged(self.scorer.combine(scores, self.lengths[row]) if scores else UNDECIDED, scores, tokens)

    def _read(self, rows: list[int], parts: list[tuple[str, ...]]) -> list[int]:
        """Move the session to these rows and read the new parts of each; returns the tokens read per row."""
        self._move(rows, parts)
        before = list(self.lengths)
        self._extend(parts)
        return [now - then for now, then in zip(self.lengths, before, strict=True)]

    def _move(self, rows: list[int], parts: list[tuple[str, ...]]) -> None:
        self.session = self.session.fork(rows)
        if self.evidence is not None:
            self.evidence = type(self.evidence)(*(values[rows] for values in self.evidence))
        self.names = [self.names[r] for r in rows]
        self.parts = [(*self.parts[r], *new) for r, new in zip(rows, parts, strict=True)]
        self.scores, self.lengths = [list(self.scores[r]) for r in rows], [self.lengths[r] for r in rows]

    def _extend(self, parts: Sequence[Sequence[str]]) -> None:
        import torch

        model, before = self.scorer.loaded[0], self.session.hidden
        lines = [[t for part in new for t in self.scorer.ids(part)] for new in parts]
        hidden = torch.nn.utils.rnn.pad_sequence(self.session.extend(lines), batch_first=True)
        pad = next(t for t in (0, 1) if t != model.config.step_token_id)
        ids = torch.full(hidden.shape[:2], pad, device=hidden.device)
        for row, line in enumerate(lines):
            ids[row, : len(line)] = torch.tensor(line, dtype=torch.long)
        with torch.no_grad():
            logits, self.evidence = model.judge_marks(ids, hidden, before, self.evidence)
        for row, (line, new) in enumerate(zip(lines, model.split_scores(logits, ids), strict=True)):
            self.scores[row] += new
            self.lengths[row] += len(line)
