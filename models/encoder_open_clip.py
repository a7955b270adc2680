"""`open_clip`: the image tower of any open_clip model, by name, by name and pretrained tag, or from `local-dir:` folders; its patch tokens, not the
pooled vector.

Videos are frames through the same tower, each pooled to `pool` x `pool` tokens, plus a learned time embedding. Shape legend: N media, F frames, S
pixels, G side of the token grid, K tokens.
"""

import dataclasses
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .media import Media
from .pretrained import copy_weights

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclasses.dataclass
class OpenClipConfig:
    """model, pretrained: open_clip's own names (`local-dir:FOLDER` is looked up under the weights root); vision, embed_dim, quick_gelu, grid, width,
    mean, std: filled by `resolve`. layer: which block's output, -1 the last (then normalised). resize: `squash` cuts nothing, `shortest` crops to a
    square as CLIP was trained, `longest` pads. pool: side to which the grid is averaged (None: as it is)."""

    model: str | None = None
    pretrained: str | None = None
    kind: str = "image"
    vision: dict = dataclasses.field(default_factory=dict)
    embed_dim: int = 512
    quick_gelu: bool = False
    grid: int = 0
    width: int = 0
    layer: int = -1
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD
    resize: str = "squash"
    pool: int | None = None
    max_frames: int = 16

    def __post_init__(self):
        if not self.vision or not self.grid:
            raise ValueError(f"open_clip encoder {self.model!r} is not resolved: pass the streams through models.pretrained.resolve_streams")
        for key, known in (("kind", ("image", "video")), ("resize", ("squash", "shortest", "longest"))):
            if getattr(self, key) not in known:
                raise ValueError(f"open_clip encoder: {key} {getattr(self, key)!r} is not one of {', '.join(known)}")
        if self.pool is not None and not 0 < self.pool <= self.grid:
            raise ValueError(f"open_clip encoder: pool {self.pool} does not fit a grid of {self.grid}")

    @property
    def size(self) -> int:
        size = self.vision.get("image_size", 224)
        return size[0] if isinstance(size, (list, tuple)) else size

    @property
    def tokens_per_frame(self) -> int:
        return (self.pool or self.grid) ** 2

    def features(self, media: Media) -> Tensor:
        """Image -> [3, S, S], video -> [F, 3, S, S], normalised by the tower's mean and deviation."""
        if media.kind != self.kind:
            raise ValueError(f"open_clip encoder for {self.kind} was given {media.kind}")
        if media.kind == "image":
            return self._pixels(media.array[None])[0]
        if len(media.array) > self.max_frames:
            raise ValueError(f"video of {len(media.array)} frames reached an encoder for {self.max_frames}: set data.media.num_frames")
        return self._pixels(media.array)

    def _pixels(self, frames: np.ndarray) -> Tensor:
        x = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255
        height, width = x.shape[-2:]
        if self.resize == "squash":
            shape = (self.size, self.size)
        else:
            scale = self.size / (min if self.resize == "shortest" else max)(height, width)
            shape = (max(1, round(height * scale)), max(1, round(width * scale)))
        if shape != (height, width):
            x = F.interpolate(x, shape, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        # Negative padding crops, positive pads with black: both centred.
        down, right = self.size - shape[0], self.size - shape[1]
        x = F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))
        return (x - torch.tensor(self.mean)[:, None, None]) / torch.tensor(self.std)[:, None, None]

    def num_tokens(self, features_shape: tuple[int, ...]) -> int:
        return self.tokens_per_frame * (features_shape[0] if self.kind == "video" else 1)


class OpenClipEncoder(nn.Module):
    """features [N, 3, S, S], or [N, F, 3, S, S] with lengths [N] in frames -> (tokens [N, K, width], counts [N])."""

    config_class = OpenClipConfig
    keeps_features = True  # large enough that, frozen, looking a medium up is cheaper than encoding it again

    def __init__(self, config: OpenClipConfig):
        super().__init__()
        self.config, self.width = config, config.width
        self.visual = build_tower(config.vision, config.embed_dim, config.quick_gelu)
        self.time = nn.Parameter(0.02 * torch.randn(config.max_frames, 1, config.width)) if config.kind == "video" else None

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = features.to(next(self.visual.parameters()).dtype)
        N, per_frame = len(x), self.config.tokens_per_frame
        if self.config.kind == "image":
            return self._tokens(x), torch.full((N,), per_frame, device=x.device)
        frames = x.shape[1]
        tokens = self._tokens(x.flatten(0, 1)).view(N, frames, per_frame, self.width) + self.time[:frames]
        counts = torch.full((N,), frames, device=x.device) if lengths is None else lengths
        return tokens.flatten(1, 2), counts * per_frame

    def _tokens(self, pixels: Tensor) -> Tensor:
        """[n, 3, S, S] -> [n, tokens_per_frame, width]."""
        grid = grid_of(self.visual, pixels, self.config.layer)
        if self.config.pool:
            grid = F.adaptive_avg_pool2d(grid, self.config.pool)
        return grid.flatten(2).transpose(1, 2)

    @staticmethod
    def resolve(options: dict, weights_root: str | Path) -> tuple[dict, str | None]:
        """Fill the tower's settings from open_clip's registry or a local folder, and its grid and width from one pass without data."""
        if not options.get("model"):
            return measured(options), None
        open_clip = _open_clip()
        name = options["model"]
        local = name.startswith("local-dir:")
        if local:
            name = f"local-dir:{_local_folder(name.removeprefix('local-dir:'), weights_root)}"
        settings = open_clip.get_model_config(name)
        if settings is None:
            raise ValueError(f"open_clip knows no model {options['model']!r} (python -c 'import open_clip; print(open_clip.list_models())')")
        found = {"vision": settings["vision_cfg"], "embed_dim": settings["embed_dim"], "quick_gelu": settings.get("quick_gelu", False)}
        tag = options.get("pretrained")
        if tag:
            pretrained = open_clip.get_pretrained_cfg(options["model"], tag)
            if not pretrained:
                raise ValueError(
                    f"open_clip has no weights {tag!r} of {options['model']!r} (known: {open_clip.list_pretrained_tags_by_model(options['model'])})"
                )
            found |= {k: list(pretrained[k]) for k in ("mean", "std") if pretrained.get(k)}
            found["quick_gelu"] = pretrained.get("quick_gelu", found["quick_gelu"])
        if local:
            found |= _local_preprocessing(Path(name.removeprefix("local-dir:")))
        return measured({**found, **options}), (name if local else f"{name}:{tag}" if tag else None)

    def load_pretrained(self, source: str) -> None:
        """Copy the image tower's weights: `local-dir:FOLDER` or `MODEL:TAG`."""
        open_clip = _open_clip()
        if source.startswith("local-dir:"):
            full = open_clip.create_model(source, force_quick_gelu=self.config.quick_gelu)
        else:
            name, _, tag = source.partition(":")
            full = open_clip.create_model(name, pretrained=tag)
        copy_weights(self.visual, full.visual.state_dict(), source)


def _open_clip():
    try:
        import open_clip
    except ImportError as error:
        raise ValueError("encoder open_clip needs the package open_clip_torch: pip install open_clip_torch") from error
    return open_clip


def build_tower(vision: dict, embed_dim: int, quick_gelu: bool) -> nn.Module:
    """The image tower alone (no text tower), without its pooling head, whose output is not used."""
    try:
        from open_clip.model import _build_vision_tower
    except ImportError as error:
        raise ValueError("encoder open_clip needs the package open_clip_torch: pip install open_clip_torch") from error
    tower = _build_vision_tower(embed_dim, {**vision, "timm_model_pretrained": False}, quick_gelu)
    for head in ("proj", "attnpool", "attn_pool"):
        if getattr(tower, head, None) is not None:
            setattr(tower, head, None)
    if hasattr(tower, "trunk"):
        tower.head = nn.Identity()
    return tower


def grid_of(tower: nn.Module, pixels: Tensor, layer: int) -> Tensor:
    """Patch features [n, width, G, G] of block `layer` (negative counts from the end; the last one is normalised)."""
    found = tower.forward_intermediates(pixels, indices=[layer], normalize_intermediates=layer == -1, intermediates_only=True)
    return found["image_intermediates"][0]


def measured(options: dict) -> dict:
    """`grid` and `width` from one pass over a meta image: no memory, no arithmetic."""
    if not options.get("vision"):
        raise ValueError("open_clip encoder: give `model` (a name of open_clip) or `vision` (its vision_cfg)")
    size = options["vision"].get("image_size", 224)
    size = size[0] if isinstance(size, (list, tuple)) else size
    with torch.device("meta"), torch.no_grad():
        tower = build_tower(options["vision"], options.get("embed_dim", 512), options.get("quick_gelu", False)).eval()
        grid = grid_of(tower, torch.zeros(1, 3, size, size), options.get("layer", -1))
    if grid.shape[-1] != grid.shape[-2]:
        raise ValueError(f"open_clip encoder: a grid of {tuple(grid.shape[-2:])} is not square")
    return {**options, "grid": grid.shape[-1], "width": grid.shape[1]}


def _local_folder(path: str, weights_root: str | Path) -> Path:
    for folder in (Path(weights_root) / path, Path(path)):
        if (folder / "open_clip_config.json").is_file():
            return folder
    raise ValueError(f"no open_clip_config.json in {path!r}, neither as given nor under the weights root {str(weights_root)!r}")


def _local_preprocessing(folder: Path) -> dict:
    import json

    stored = json.loads((folder / "open_clip_config.json").read_text()).get("preprocess_cfg", {})
    return {k: list(stored[k]) for k in ("mean", "std") if stored.get(k)}
