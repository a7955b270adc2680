"""`timm`: any image model of timm that gives a grid of features, by name (`vit_base_patch14_dinov2.lvd142m`) or from a `local-dir:` folder.

It is the `open_clip` encoder around another tower (open_clip builds timm's models itself), so images, videos, layers and pooling are as there.
"""

import dataclasses
from pathlib import Path

import torch

from .encoder_open_clip import OpenClipConfig, OpenClipEncoder, measured
from .pretrained import copy_weights


@dataclasses.dataclass
class TimmConfig(OpenClipConfig):
    """model: timm's own name, with the tag of its weights behind a dot, or `local-dir:FOLDER` under the weights root. Without a tag the weights are
    random. Images are taken at the size that the model was made for. The rest as in `OpenClipConfig`."""


class TimmEncoder(OpenClipEncoder):
    """As `OpenClipEncoder`: features [N, 3, S, S] or [N, F, 3, S, S] -> (tokens [N, K, width], counts [N])."""

    config_class = TimmConfig

    @staticmethod
    def resolve(options: dict, weights_root: str | Path) -> tuple[dict, str | None]:
        """Fill the tower's settings, its grid and width, and mean and deviation from what timm knows of the model or the folder says."""
        timm, name = _timm(), options.get("model")
        if options.get("vision") or not name:
            return measured(options), None
        folder = _folder(name, weights_root)
        if folder is not None:
            name = f"local-dir:{folder}"
        elif not timm.is_model(name.partition(".")[0]):
            raise ValueError(f"timm knows no model {name!r} (python -c 'import timm; print(timm.list_models())')")
        try:
            with torch.device("meta"):
                known = timm.create_model(name, pretrained=False, num_classes=0).pretrained_cfg
        except (RuntimeError, ValueError) as error:  # a tag that the model does not have
            raise ValueError(f"timm encoder {name!r}: {error}") from None
        vision = {"timm_model_name": known["architecture"], "timm_pool": "", "timm_proj": "none", "image_size": known["input_size"][-1]}
        found = {"vision": vision, "mean": list(known["mean"]), "std": list(known["std"])}
        return measured({**found, **options}), (name if folder is not None or "." in name else None)

    def load_pretrained(self, source: str) -> None:
        """Copy the weights of a tagged name or a folder into the tower."""
        full = _timm().create_model(source, pretrained=True, num_classes=0)
        copy_weights(self.visual.trunk, full.state_dict(), source)


def _folder(name: str, weights_root: str | Path) -> Path | None:
    if not name.startswith("local-dir:"):
        return None
    path = name.removeprefix("local-dir:")
    for folder in (Path(weights_root) / path, Path(path)):
        if (folder / "config.json").is_file():
            return folder
    raise ValueError(f"no timm model (config.json) in {path!r}, neither as given nor under the weights root {str(weights_root)!r}")


def _timm():
    try:
        import timm
    except ImportError as error:
        raise ValueError("encoder timm needs the packages timm and open_clip_torch: pip install timm open_clip_torch") from error
    return timm
