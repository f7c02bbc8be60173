"""The ResNet50D space of Once-for-All: elastic depth, bottleneck expansion, stage widths and stem."""

from __future__ import annotations

from collections.abc import Iterable

from ofa.space.core import Head, SearchSpace, Stage, Stem, make_divisible
from ofa.space.mobilenet_v3 import IMAGENET_RESOLUTIONS

_WIDTHS = (0.65, 0.8, 1.0)
_EXPANDS = (0.2, 0.25, 0.35)
# base out channels, base depth, stride
_STAGES = ((256, 2, 1), (512, 2, 2), (1024, 4, 2), (2048, 2, 2))


def resnet50(width: float, channels: int, classes: int) -> SearchSpace:
    """Declare the ResNet50D space; ``width`` scales every elastic width and is 1.0 as published."""
    stem_out = _channels(64 * ratio * width for ratio in _WIDTHS)
    return SearchSpace(
        name="resnet50",
        family="bottleneck",
        width=width,
        channels=channels,
        classes=classes,
        resolutions=IMAGENET_RESOLUTIONS,
        stem=Stem(
            mid_channels=_channels(out // 2 for out in stem_out),
            out_channels=stem_out,
            act="relu",
            block_act="relu",
            stride=4,
        ),
        stages=tuple(
            Stage(
                out_channels=_channels(out * ratio * width for ratio in _WIDTHS),
                depths=(depth, depth + 1, depth + 2),
                stride=stride,
                kernels=(3,),
                expands=_EXPANDS,
                act="relu",
                se=False,
            )
            for out, depth, stride in _STAGES
        ),
        head=Head(expand_channels=None, mix_channels=None, act="relu"),
    )


def _channels(widths: Iterable[float]) -> tuple[int, ...]:
    """Round widths to channels, each once: two choices of equal channels would give one network two genomes."""
    return tuple(dict.fromkeys(make_divisible(width) for width in widths))
