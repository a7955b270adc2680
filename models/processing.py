"""From text and media to a batch: placeholders expanded, features made, both counted by one function (`fusion.placeholder_count`)."""

import dataclasses
import os
import re
from collections.abc import Sequence

import numpy as np
import torch
from transformers import AutoProcessor, BatchFeature
from transformers.processing_utils import ProcessorMixin

from .configuration import FocalConfig
from .fusion import placeholder_count, stream_parts
from .media import Media, MediaSpec, decode

STREAM_KIND = {"audio": "audio", "image": "image", "video": "video"}


@dataclasses.dataclass(slots=True)
class Encoded:
    """One row before padding: token ids of prompt and completion, and the features of its media by stream."""

    prompt: list[int]
    completion: list[int]
    features: dict[str, list[torch.Tensor]]


class FocalProcessor(ProcessorMixin):
    """tokenizer; streams: name -> `{encoder, projector, fusion, placeholder}` (a stream takes media of the kind that its name begins with); media:
    the fields
    of `MediaSpec`: sampling rate, frame count and limits at which paths are decoded."""

    attributes = ["tokenizer"]
    tokenizer_class = "AutoTokenizer"

    def __init__(self, tokenizer=None, streams: dict | None = None, media: dict | None = None, **kwargs):
        self.streams = streams or {}
        self.media = media or {}
        super().__init__(tokenizer, chat_template=kwargs.pop("chat_template", getattr(tokenizer, "chat_template", None)))

    def parts(self) -> dict[str, tuple]:
        """Encoder config, projector config and joins by stream; built once."""
        if not hasattr(self, "_parts"):
            self._parts = {name: stream_parts({k: v for k, v in options.items() if k != "placeholder"}) for name, options in self.streams.items()}
        return self._parts

    def to_dict(self, *args, **kwargs) -> dict:
        return {k: v for k, v in super().to_dict(*args, **kwargs).items() if k != "_parts"}

    def __call__(
        self,
        text: str | Sequence[str] | None = None,
        media: Sequence | None = None,
        *,
        messages: Sequence | None = None,
        padding_side: str = "left",
        return_tensors: str = "pt",
        **kwargs,
    ) -> BatchFeature:
        """text: one string or one per row, with a placeholder per medium; or `messages` (one chat per row). media: per row a list of `Media`,
        paths or arrays (a path's
        kind, and an array's, follows from the row's placeholders). Returns input_ids, attention_mask [B, T] and per stream features, rows,
        lengths."""
        if messages is not None:
            chats = [messages] if messages and isinstance(messages[0], dict) else messages
            text = [self.tokenizer.apply_chat_template(m, add_generation_prompt=True, tokenize=False) for m in chats]
        texts = [text] if isinstance(text, str) else list(text or [])
        rows = media if media is not None else [[] for _ in texts]
        if len(texts) == 1 and media is not None and not (len(rows) == 1 and isinstance(rows[0], (list, tuple))):
            rows = [rows]
        if len(rows) != len(texts):
            raise ValueError(f"{len(texts)} texts but media for {len(rows)} rows")
        encoded = []
        for row, (prompt, items) in enumerate(zip(texts, rows, strict=True)):
            try:
                encoded.append(self.encode(prompt, items))
            except ValueError as error:
                raise ValueError(f"row {row}: {error}") from None
        return self.collate(encoded, padding_side)

    def encode(self, prompt: str, media: Sequence, completion: str = "") -> Encoded:
        """One row: placeholders expanded, features made, prompt and completion tokenised apart, so that the border between them is exact."""
        features: dict[str, list[torch.Tensor]] = {}
        ids = self.tokenizer(self._expand(prompt, list(media), features), add_special_tokens=False)["input_ids"]
        answer = self.tokenizer(completion, add_special_tokens=False)["input_ids"] if completion else []
        return Encoded(ids, answer, features)

    def collate(self, rows: Sequence[Encoded], padding_side: str = "left") -> BatchFeature:
        """Pad rows to one batch. Rows with completions also give `labels` [B, T]: -100 on prompt and padding."""
        ids = [torch.tensor([*row.prompt, *row.completion], dtype=torch.long) for row in rows]
        batch = pad_ids(ids, self.tokenizer.pad_token_id, padding_side)
        if any(row.completion for row in rows):
            marked = [torch.tensor([-100] * len(row.prompt) + list(row.completion), dtype=torch.long) for row in rows]
            batch["labels"] = pad_ids(marked, -100, padding_side)["input_ids"]
        for name in self.streams:
            entries = [(i, tensor) for i, row in enumerate(rows) for tensor in row.features.get(name, [])]
            if entries:
                batch |= self._stack(name, entries)
        return BatchFeature(batch)

    def _expand(self, prompt: str, items: list, features: dict[str, list[torch.Tensor]]) -> str:
        """Replace each placeholder by as many copies as its medium takes columns; placeholders and media must match one to one."""
        owners: dict[str, list[str]] = {}
        for name, options in self.streams.items():
            owners.setdefault(options["placeholder"], []).append(name)
        pattern = re.compile("|".join(re.escape(p) for p in owners) or r"(?!)")
        found = pattern.findall(prompt)
        if len(found) != len(items):
            raise ValueError(f"the text holds {len(found)} media placeholders but {len(items)} media were given")
        queue = iter(items)

        def replacement(match: re.Match) -> str:
            copies, medium = 0, next(queue)
            for name in owners[match.group()]:
                tensor = self.parts()[name][0].features(self._decode(medium, name))
                features.setdefault(name, []).append(tensor)
                copies += placeholder_count(self.parts()[name], tuple(tensor.shape))
            return match.group() * copies

        return pattern.sub(replacement, prompt)

    def _decode(self, medium, stream: str) -> Media:
        kind = STREAM_KIND[re.match(r"[a-z]+", stream).group()]
        if isinstance(medium, Media):
            return medium
        spec = MediaSpec(**self.media)
        if isinstance(medium, (str, os.PathLike)):
            return decode(os.fspath(medium), kind, spec)
        array = np.asarray(medium)
        return Media(kind, array, rate=float(spec.sample_rate) if kind == "audio" else None)

    @staticmethod
    def _stack(name: str, entries: list[tuple[int, torch.Tensor]]) -> dict[str, torch.Tensor]:
        batch = {f"{name}_rows": torch.tensor([row for row, _ in entries])}
        tensors = [t for _, t in entries]
        if all(t.shape == tensors[0].shape for t in tensors):
            batch[f"{name}_features"] = torch.stack(tensors)
        else:
            batch[f"{name}_features"], batch[f"{name}_lengths"] = pad_features(tensors)
        return batch

    @property
    def model_input_names(self) -> list[str]:
        return ["input_ids", "attention_mask", *(f"{n}_{part}" for n in self.streams for part in ("features", "rows", "lengths"))]


def pad_ids(ids: list[torch.Tensor], pad: int, side: str) -> dict[str, torch.Tensor]:
    """Rows of token ids -> input_ids, attention_mask [B, T], padded on the given side."""
    size = max(len(row) for row in ids)
    batch, mask = torch.full((len(ids), size), pad), torch.zeros(len(ids), size, dtype=torch.long)
    for i, row in enumerate(ids):
        where = slice(size - len(row), size) if side == "left" else slice(0, len(row))
        batch[i, where], mask[i, where] = row, 1
    return {"input_ids": batch, "attention_mask": mask}


def pad_features(tensors: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ragged features -> (padded with zeros, lengths). The ragged axis is the one that differs: time for sound, frames for video."""
    shapes = torch.tensor([t.shape for t in tensors])
    ragged = (shapes != shapes[0]).any(0).nonzero()[:, 0].tolist()
    if len(ragged) != 1:
        raise ValueError(f"media of one stream differ in more than their length: {sorted({tuple(t.shape) for t in tensors})}")
    axis, lengths = ragged[0], shapes[:, ragged[0]]
    padded = tensors[0].new_zeros(len(tensors), *shapes.amax(0).tolist())
    for i, t in enumerate(tensors):
        padded[i].narrow(axis, 0, t.shape[axis]).copy_(t)
    return padded, lengths


FocalProcessor.register_for_auto_class("AutoProcessor")
if __package__ == "models":
    AutoProcessor.register(FocalConfig, FocalProcessor, exist_ok=True)
