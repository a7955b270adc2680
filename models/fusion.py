"""How media tokens join the LLM: one idea with three settings (which tokens, as what, from which layer), and the layouts and masks that follow from
it.

`as: residual` makes media tokens positions of the stream from a layer on; below it they are *absent*, not masked. `as: kv` makes them keys and values
of chosen layers, never queries, never through a feed-forward. Their positions are those of their placeholders in every mode.

Shape legend: B rows, T columns of the full sequence (text and placeholders), S columns present at a layer, M media tokens of a row, d LLM width.
"""

import dataclasses

import torch
from torch import Tensor

from .registry import ENCODERS, PROJECTORS


@dataclasses.dataclass(frozen=True)
class Join:
    """tokens: `all` or `summary:k` (k averages over equal stretches); form: `residual` or `kv`; layers: the first layer, or (kv only) the layers
    themselves."""

    tokens: str
    form: str
    layers: int | tuple[int, ...]

    @classmethod
    def parse(cls, line: dict, where: str = "fusion") -> "Join":
        """From `{tokens, as, from_layer}`; a wrong key or value is a `ValueError` that names it."""
        if unknown := sorted(set(line) - {"tokens", "as", "from_layer"}):
            raise ValueError(f"{where}: unknown key {unknown[0]!r} (known: tokens, as, from_layer)")
        tokens, form, layers = line.get("tokens", "all"), line.get("as", "residual"), line.get("from_layer", 0)
        if tokens != "all" and not (tokens.startswith("summary:") and tokens[8:].isdigit() and int(tokens[8:]) > 0):
            raise ValueError(f"{where}: tokens {tokens!r} is neither all nor summary:k")
        if form not in ("residual", "kv"):
            raise ValueError(f"{where}: as {form!r} is not one of residual, kv")
        if isinstance(layers, (list, tuple)):
            if form != "kv":
                raise ValueError(f"{where}: a residual join has one from_layer, not the list {list(layers)}")
            return cls(tokens, form, tuple(sorted(layers)))
        return cls(tokens, form, int(layers))

    def count(self, tokens: int) -> int:
        return tokens if self.tokens == "all" else min(int(self.tokens[8:]), tokens)

    def active(self, layer: int) -> bool:
        return layer in self.layers if isinstance(self.layers, tuple) else layer >= self.layers


def stream_parts(stream: dict) -> tuple[object, object, list[Join]]:
    """(encoder config, projector config, joins) of a stream's plain dictionary."""
    encoder, projector = dict(stream["encoder"]), dict(stream.get("projector") or {"name": "mlp"})
    encoder_config = _typed(ENCODERS.get(encoder.pop("name")).config_class, encoder, "encoder")
    projector_config = _typed(PROJECTORS.get(projector.pop("name")).config_class, projector, "projector")
    return encoder_config, projector_config, [Join.parse(line) for line in stream.get("fusion") or [{}]]


def _typed(config_class: type, options: dict, what: str) -> object:
    known = [f.name for f in dataclasses.fields(config_class)]
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"{what} {config_class.__name__}: unknown key {unknown[0]!r} (known: {', '.join(known)})")
    for field in dataclasses.fields(config_class):
        kinds = {int: int, float: (int, float), str: str, bool: bool}.get(field.type)
        value = options.get(field.name, field.default)
        if kinds and field.name in options and (not isinstance(value, kinds) or (isinstance(value, bool) and field.type is not bool)):
            raise ValueError(f"{what} {config_class.__name__}: {field.name} must be {field.type.__name__}, not {value!r}")
    return config_class(**options)


def placeholder_count(parts: tuple, features_shape: tuple[int, ...]) -> int:
    """Columns that one medium takes in the sequence, from `stream_parts` and the shape of its features. Processor and model both ask here."""
    encoder, projector, joins = parts
    tokens = projector.num_tokens(encoder.num_tokens(features_shape))
    return sum(join.count(tokens) for join in joins)


@dataclasses.dataclass
class Joined:
    """The tokens of one join of one stream in a batch: embeds [M_all, d] at row and column [M_all] of the full sequence."""

    join: Join
    embeds: Tensor
    rows: Tensor
    cols: Tensor
    stream: str = ""


def place(joins: list[Join], tokens: Tensor, counts: Tensor, columns: Tensor, stream: str) -> list[Joined]:
    """Lay out the projected tokens [N, K, d] of a stream's N media over its placeholders.

    counts [N] valid tokens per medium; columns [P, 2] (row, column) of all placeholders of the stream in reading order. A medium fills consecutive
    placeholders, its joins one after the other. Too many or too few placeholders are an error, never cut.
    """
    sizes = counts.tolist()
    wanted = sum(join.count(n) for n in sizes for join in joins)
    if wanted != len(columns):
        raise ValueError(f"{stream}: the text holds {len(columns)} placeholders but the media give {wanted} tokens")
    if len(joins) == 1 and joins[0].tokens == "all":
        valid = torch.arange(tokens.shape[1], device=tokens.device) < counts[:, None]
        return [Joined(joins[0], tokens[valid], columns[:, 0], columns[:, 1], stream)]
    parts: dict[int, list[tuple[Tensor, Tensor]]] = {j: [] for j in range(len(joins))}
    start = 0
    for n, size in enumerate(sizes):
        for j, join in enumerate(joins):
            mine = tokens[n, :size]
            if join.tokens != "all":
                mine = torch.stack([part.mean(0) for part in mine.tensor_split(join.count(size))])
            parts[j].append((mine, columns[start : start + len(mine)]))
            start += len(mine)
    result = []
    for j, pieces in parts.items():
        places = torch.cat([p for _, p in pieces])
        result.append(Joined(joins[j], torch.cat([t for t, _ in pieces]), places[:, 0], places[:, 1], stream))
    return result


@dataclasses.dataclass
class Layout:
    """Which columns of the full sequence are present at a stretch of layers: cols [B, S], ok [B, S] (False at padding), tidy: ok is True up to the
    row's end (so a plain causal mask is exact), whole: nothing is absent."""

    cols: Tensor
    ok: Tensor
    tidy: bool
    whole: bool


def layout(present: Tensor) -> Layout:
    """Compact the present columns [B, T] of each row, keeping their order and the side of the padding."""
    B, T = present.shape
    if bool(present.all()):
        return Layout(torch.arange(T, device=present.device).expand(B, T), present, True, True)
    size = int(present.sum(1).max())
    left_padded = not bool(present[:, 0].all()) and bool(present[:, -1].all())
    order = torch.argsort((present if left_padded else ~present).to(torch.uint8), dim=1, stable=True)
    cols = order[:, -size:] if left_padded else order[:, :size]
    ok = present.gather(1, cols)
    tidy = bool((ok[:, 1:] <= ok[:, :-1]).all())
    return Layout(cols, ok, tidy, size == T and bool((cols == torch.arange(T, device=cols.device)).all()))


@dataclasses.dataclass
class KV:
    """Media keys and values of one layer, padded per row: cols [B, M], ok [B, M]; `slots` maps flat tokens to (row, place)."""

    cols: Tensor
    ok: Tensor


def pad_rows(rows: Tensor, cols: Tensor, batch: int) -> tuple[Tensor, KV]:
    """(place of each flat token within its row [M_all], padded columns). Rows come in ascending order."""
    counts = torch.bincount(rows, minlength=batch)
    size = int(counts.max()) if len(rows) else 0
    starts = counts.cumsum(0) - counts
    places = torch.arange(len(rows), device=rows.device) - starts[rows]
    padded = cols.new_zeros(batch, size)
    padded[rows, places] = cols
    return places, KV(padded, torch.arange(size, device=rows.device) < counts[:, None])


def attention_mask(queries: Layout, media: KV | None, scope: str) -> Tensor | None:
    """Boolean mask [B, 1, S, M + S] of a stretch of layers over their own sequence, or None where plain causal attention is exact.

    `scope: causal` lets a row see the media before it, `all` lets every row see all media of its sequence.
    """
    if media is None and queries.tidy:
        return None
    q, k = queries.cols[:, :, None], queries.cols[:, None, :]
    size = queries.cols.shape[1]
    itself = torch.eye(size, dtype=torch.bool, device=k.device)  # a padded row sees itself: no row is empty
    mask = ((k <= q) & queries.ok[:, None, :]) | itself
    if media is not None:
        seen = media.ok[:, None, :] & ((media.cols[:, None, :] < q) if scope == "causal" else True)
        mask = torch.cat([seen.expand(-1, size, -1), mask], -1)
    return mask[:, None]


def spread(hidden: Tensor, lay: Layout, onto: Tensor) -> Tensor:
    """Write the present rows of hidden [B, S, d] back to their columns of `onto` [B, T, d]."""
    if lay.whole:
        return hidden
    rows = torch.arange(len(hidden), device=hidden.device)[:, None].expand_as(lay.cols)
    return onto.index_put((rows[lay.ok], lay.cols[lay.ok]), hidden[lay.ok].to(onto.dtype))


def last_valid(valid: Tensor) -> Tensor:
    """Column [B, 1] of the last valid token of each row."""
    columns = torch.arange(valid.shape[1], device=valid.device)
    return (columns * valid).amax(1, keepdim=True)


def medium_columns(joins: list[Join], counts: Tensor) -> Tensor:
    """Columns [N] that each of N media takes in the sequence, from its valid tokens [N]: the sum over its joins."""
    return torch.tensor([sum(join.count(n) for join in joins) for n in counts.tolist()], dtype=torch.long, device=counts.device)


def check_rows(stream: str, per_medium: Tensor, rows: Tensor, columns: Tensor, batch: int) -> None:
    """Placeholders and media must match row by row, not only in total."""
    wanted = torch.zeros(batch, dtype=torch.long, device=rows.device)
    wanted.index_add_(0, rows, per_medium)
    found = torch.bincount(columns[:, 0], minlength=batch)
    if not torch.equal(wanted, found):
        row = int((wanted != found).nonzero()[0, 0])
        raise ValueError(f"row {row}: {int(found[row])} placeholders of {stream!r} but its media give {int(wanted[row])} tokens")


def split_columns(columns: Tensor, taken: list[Tensor]) -> list[Tensor]:
    """The columns [P, 2] of one placeholder among the streams that share it: one stream after the other fills each medium's, `taken` [N] each."""
    if len(taken) == 1:
        return [columns]
    sizes = torch.stack(taken, 1)  # media, streams
    owner = torch.arange(sizes.shape[1], device=columns.device).repeat(len(sizes)).repeat_interleave(sizes.flatten())
    return [columns[owner == i] for i in range(len(taken))]
