"""A network of another program: its tensors by its own names, and how they fit a config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from alexnet.config import Config
from alexnet.errors import AlexNetError
from alexnet.network import AlexNet


class ForeignModelError(AlexNetError):
    """A file of another program that is damaged, or holds no AlexNet."""


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """What a file of another program holds."""

    path: Path
    kind: str
    """For people: which program's file it is."""
    config: Config
    names: Mapping[str, str]
    """Our name of a tensor (`conv1.weight`), and the file's."""
    tensors: Mapping[str, Tensor]
    """By the file's names."""

    def weights(self) -> dict[str, Tensor]:
        """The weights by our names, as float32.

        Raises:
            ForeignModelError: a tensor is missing, superfluous, or of another shape than its layer;
                the sentence names the first one, in the order of the layers.
        """
        with torch.device("meta"):
            expected = {name: w.shape for name, w in AlexNet(self.config).state_dict().items()}
        for ours, shape in expected.items():
            theirs = self.names.get(ours, ours)
            if theirs not in self.tensors:
                raise ForeignModelError(
                    f"{self.path} lacks '{theirs}': {ours} of the preset {self.config.preset} has "
                    f"the shape {tuple(shape)}."
                )
            found = self.tensors[theirs].shape
            if found != shape:
                raise ForeignModelError(
                    f"{self.path}: '{theirs}' has the shape {tuple(found)}, and {ours} of the "
                    f"preset {self.config.preset} has {tuple(shape)}."
                )
        used = {self.names[ours] for ours in expected}
        extra = [name for name in self.tensors if name not in used]
        if extra:
            raise ForeignModelError(
                f"{self.path} holds '{extra[0]}', which the preset {self.config.preset} has no "
                "layer for."
            )
        return {ours: self.tensors[self.names[ours]].float() for ours in expected}
