"""The MobileNetV3 spaces: of Once-for-All (arXiv 1908.09791, section 4.1), small for 16-32 px images, lite for int8."""

from __future__ import annotations

from dataclasses import replace

from ofa.space.core import Head, SearchSpace, Stage, Stem, make_divisible

IMAGENET_RESOLUTIONS = tuple(range(128, 225, 4))
_KERNELS = (3, 5, 7)
_EXPANDS = (3.0, 4.0, 6.0)


def mobilenet_v3(width: float, channels: int, classes: int) -> SearchSpace:
    """Declare the MobileNetV3 space; published at widths 1.0 and 1.2."""
    return _space(
        name="mobilenet_v3",
        width=width,
        channels=channels,
        classes=classes,
        resolutions=IMAGENET_RESOLUTIONS,
        depths=(2, 3, 4),
        # out channels, stride, activation, squeeze-excite
        stages=(
            (24, 2, "relu", False),
            (40, 2, "relu", True),
            (80, 2, "hswish", False),
            (112, 1, "hswish", True),
            (160, 2, "hswish", True),
        ),
        head=(960, 1280),
    )


def mobilenet_v3_tiny(width: float, channels: int, classes: int) -> SearchSpace:
    """Declare the same space in small, for images of 16-32 px: three stages of depth 1-3."""
    return _space(
        name="mobilenet_v3_tiny",
        width=width,
        channels=channels,
        classes=classes,
        resolutions=(16, 20, 24, 28, 32),
        depths=(1, 2, 3),
        stages=((24, 1, "relu", False), (40, 2, "relu", True), (64, 2, "hswish", True)),
        head=(256, 256),
    )


def mobilenet_v3_lite(width: float, channels: int, classes: int) -> SearchSpace:
    """Declare the MobileNetV3 space for accelerators and int8: ReLU6 everywhere, no squeeze-excite."""
    return _lite(mobilenet_v3(width, channels, classes))


def mobilenet_v3_tiny_lite(width: float, channels: int, classes: int) -> SearchSpace:
    """Declare the small MobileNetV3 space for accelerators and int8: ReLU6 everywhere, no squeeze-excite."""
    return _lite(mobilenet_v3_tiny(width, channels, classes))


def elastic_stage(
    base_channels: int, width: float, *, stride: int, depths: tuple[int, ...], act: str, se: bool
) -> Stage:
    """Return a stage whose kernels and expand ratios are elastic, its output channels scaled by ``width``."""
    return Stage(
        out_channels=(make_divisible(base_channels * width),),
        depths=depths,
        stride=stride,
        kernels=_KERNELS,
        expands=_EXPANDS,
        act=act,
        se=se,
    )


def _lite(space: SearchSpace) -> SearchSpace:
    """Return a space with what int8 and most accelerators do badly left out: h-swish and squeeze-excite."""
    return replace(
        space,
        name=f"{space.name}_lite",
        stem=replace(space.stem, act="relu6", block_act="relu6"),
        stages=tuple(replace(stage, act="relu6", se=False) for stage in space.stages),
        head=replace(space.head, act="relu6"),
    )


def _space(
    *,
    name: str,
    width: float,
    channels: int,
    classes: int,
    resolutions: tuple[int, ...],
    depths: tuple[int, ...],
    stages: tuple[tuple[int, int, str, bool], ...],
    head: tuple[int, int],
) -> SearchSpace:
    """Scale a base declaration by ``width`` and give it the shared kernels, expand ratios and stem."""
    stem_channels = make_divisible(16 * width)
    return SearchSpace(
        name=name,
        family="mbconv",
        width=width,
        channels=channels,
        classes=classes,
        resolutions=resolutions,
        stem=Stem(
            mid_channels=(stem_channels,), out_channels=(stem_channels,), act="hswish", block_act="relu", stride=2
        ),
        stages=tuple(
            elastic_stage(out, width, stride=stride, depths=depths, act=act, se=se) for out, stride, act, se in stages
        ),
        head=Head(
            expand_channels=make_divisible(head[0] * width), mix_channels=make_divisible(head[1] * width), act="hswish"
        ),
    )
