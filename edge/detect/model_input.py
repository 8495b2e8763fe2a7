"""How pictures go into one model, known from its manifest alone.

Camera workers letterbox their pictures themselves and never load a network: this file imports no runtime.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.detect.letterbox import Letterbox, fit_size
from edge.detect.manifest import CENTRED, RGB, ModelManifest
from edge.errors import ModelError


@dataclass(frozen=True, slots=True)
class ModelInput:
    """The rule by which a source picture gets its place in the model's input. All lengths in pixels."""

    longest_side: int
    multiple: int
    centred: bool
    swap_colours: bool
    fixed_px: tuple[int, int] | None = None  # (width, height) that the model insists on

    @classmethod
    def of(cls, manifest: ModelManifest, *, longest_side: int | None = None) -> ModelInput:
        """`longest_side`: instead of the manifest's own. Raises ModelError where the model insists on another."""
        problem = manifest.misfit_of(longest_side) if longest_side else ""
        if problem:
            raise ModelError(f"{manifest.path}: {problem}")
        return cls(
            longest_side=longest_side or manifest.longest_side,
            multiple=manifest.input_multiple,
            centred=manifest.padding == CENTRED,
            swap_colours=manifest.colour == RGB,
            fixed_px=manifest.fixed_px,
        )

    @property
    def side_px(self) -> int:
        """What no side of an input exceeds."""
        return (
            max(self.fixed_px)
            if self.fixed_px
            else fit_size(width=1, height=1, longest_side=self.longest_side, multiple=self.multiple)[0]
        )

    def letterbox(self, *, width: int, height: int, pixel_aspect: float = 1.0) -> Letterbox:
        """How a picture of this size goes into the model's input. `pixel_aspect`: see `fit_size`."""
        input_px = self.fixed_px or fit_size(
            width=width,
            height=height,
            longest_side=self.longest_side,
            multiple=self.multiple,
            pixel_aspect=pixel_aspect,
        )
        return Letterbox.fit(
            source_px=(width, height),
            input_px=input_px,
            pixel_aspect=pixel_aspect,
            centred=self.centred,
            swap_colours=self.swap_colours,
        )

    def accepts(self, input_px: tuple[int, int]) -> bool:
        """Whether the model can run on an input of this (width, height). How large one may be is the slot's affair:
        cameras may look with a larger input than the manifest's."""
        if self.fixed_px:
            return input_px == self.fixed_px
        return all(side > 0 and side % self.multiple == 0 for side in input_px)
