"""What a release must be: every component a file of this package, so that it loads without the repository."""

from torch import nn


def check_releasable(model: nn.Module) -> None:
    """A component defined outside this package cannot travel with a release: a `ValueError` naming it and the remedy."""
    for name, stream in model.streams.items():
        for part in (stream.encoder, stream.projector):
            if type(part).__module__.rpartition(".")[0] != __package__:
                raise ValueError(
                    f"stream {name!r}: {type(part).__name__} is defined in {type(part).__module__}; to be released it must be a file of models/ "
                    "with its line in models/registry.py"
                )
