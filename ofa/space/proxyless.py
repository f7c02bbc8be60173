"""The ProxylessNAS space of Once-for-All (arXiv 1908.09791, section 4.1): ReLU6, no squeeze-excite, six stages."""

from __future__ import annotations

from ofa.space.core import Head, SearchSpace, Stem, make_divisible
from ofa.space.mobilenet_v3 import IMAGENET_RESOLUTIONS, elastic_stage

# base out channels, stride, depths; the last stage is one block whose kernel and width are elastic
_STAGES = (
    (24, 2, (2, 3, 4)),
    (40, 2, (2, 3, 4)),
    (80, 2, (2, 3, 4)),
    (96, 1, (2, 3, 4)),
    (192, 2, (2, 3, 4)),
    (320, 1, (1,)),
)


def proxyless(width: float, channels: int, classes: int) -> SearchSpace:
    """Declare the ProxylessNAS space; published at width 1.3."""
    return SearchSpace(
        name="proxyless",
        family="mbconv",
        width=width,
        channels=channels,
        classes=classes,
        resolutions=IMAGENET_RESOLUTIONS,
        stem=Stem(
            mid_channels=(make_divisible(32 * width),),
            out_channels=(make_divisible(16 * width),),
            act="relu6",
            block_act="relu6",
            stride=2,
        ),
        stages=tuple(
            elastic_stage(out, width, stride=stride, depths=depths, act="relu6", se=False)
            for out, stride, depths in _STAGES
        ),
        head=Head(expand_channels=make_divisible(1280 * width), mix_channels=None, act="relu6"),
    )
