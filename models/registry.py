"""One table from a name to a component, imported on first use.

Only encoders and projectors are listed here, because they travel with a release; every other kind is listed in `configs/registry.py`.
"""

import difflib
import importlib
from typing import Any


class Registry:
    """Names of one kind of component. A line is `name: "package.module:Object"`; a leading dot makes the module relative to this package.

    `add` registers an object at run time (a user's own component, a test's). A name is given once: a second `add` of it is a `ValueError`.
    """

    def __init__(self, kind: str, lines: dict[str, str]):
        self.kind = kind
        self._lines = dict(lines)
        self._objects: dict[str, Any] = {}

    def get(self, name: str) -> Any:
        if name not in self._objects:
            if name not in self._lines:
                near = difflib.get_close_matches(name, self.names(), n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"unknown {self.kind} {name!r}{hint} (known: {', '.join(self.names())})")
            module, _, attribute = self._lines[name].partition(":")
            package = __package__ if module.startswith(".") else None
            self._objects[name] = getattr(importlib.import_module(module, package), attribute)
        return self._objects[name]

    def add(self, name: str, component: Any) -> None:
        if name in self.names():
            raise ValueError(f"{self.kind} {name!r} is already registered")
        self._objects[name] = component

    def names(self) -> list[str]:
        return sorted({*self._lines, *self._objects})


ENCODERS = Registry(
    "encoder",
    {
        "conv": ".encoder_conv:ConvEncoder",
        "frames": ".encoder_frames:FramesEncoder",
        "open_clip": ".encoder_open_clip:OpenClipEncoder",
        "timm": ".encoder_timm:TimmEncoder",
        "hf_audio": ".encoder_hf_audio:HFAudioEncoder",
    },
)
PROJECTORS = Registry(
    "projector",
    {
        "linear": ".projector:LinearProjector",
        "mlp": ".projector:MLPProjector",
        "merge": ".projector:MergeProjector",
        "resampler": ".projector:ResamplerProjector",
    },
)


def _travelling() -> tuple:
    """Never called. transformers copies into a release the files that it finds by such import lines, and lines of a table it does not see: each
    module named above stands here as well (tested)."""
    from .encoder_conv import ConvEncoder
    from .encoder_frames import FramesEncoder
    from .encoder_hf_audio import HFAudioEncoder
    from .encoder_open_clip import OpenClipEncoder
    from .encoder_timm import TimmEncoder
    from .projector import LinearProjector

    return ConvEncoder, FramesEncoder, HFAudioEncoder, OpenClipEncoder, TimmEncoder, LinearProjector
