"""How a supernet is trained: one frozen recipe holds every choice, and its JSON is kept beside what it made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

import ofa.space as S
from ofa.files import canonical_json, sha256_bytes
from ofa.space.core import SearchSpace, Subnet
from ofa.train.schedule import Phase, Schedule, Teacher, progressive_shrinking, sandwich, scheduled

# What changes neither weights nor order: how often files are written, and what is watched.
UNIMPORTANT = {"log_steps", "corner_steps", "checkpoint_steps", "checkpoint_s", "workers"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One way to train a supernet.

    ``batch`` images make one optimiser step, cut into ``shards`` (one or more for each process): a shard draws its own
    random subnets (``sampling`` independent) and has its own batch-norm statistics, whoever computes it, so the result
    does not depend on the number of processes. Learning rates of the phases hold for a batch of ``rate_batch`` and
    scale with ``batch`` (None: they hold as they are).

    The largest subnet's loss (weight 1) is the cross-entropy; a subnet with a teacher has ``hard_weight`` times its
    cross-entropy plus its ``distillation`` loss. Subnets trained beside the largest count ``student_weight`` times the
    mean of their losses, or with ``gradients`` sum, times their sum. ``importance`` orders channels where a phase
    sorts. ``dropout`` is for the classifier's inputs, in the sandwich for the largest subnet alone (BigNAS, section 3).
    ``transform_decay`` draws kernel transforms towards identity. ``mean`` and ``std`` (of pixels in 0-1, by
    channel) normalise images; None measures them on the training images. ``subnet`` (a genome) is trained alone, at its
    own resolution, where it is given; ``origin`` is the SHA-256 of the checkpoint whose weights a training begins with.
    """

    name: str
    space: str
    phases: tuple[Phase, ...]
    batch: int
    seed: int = 0
    width: float | None = None
    shards: int = 1
    rate_batch: int | None = None
    optimiser: Literal["sgd", "adamw"] = "adamw"
    momentum: float = 0.9
    weight_decay: float = 0.02
    transform_decay: float = 0.0
    clip_norm: float | None = 2.0
    label_smoothing: float = 0.1
    dropout: float = 0.0
    ema_decay: float | None = None
    distillation: Literal["soft_cross_entropy", "mse", "alpha"] = "soft_cross_entropy"
    teacher_mode: Literal["eval", "train"] = "eval"
    hard_weight: float = 0.0
    student_weight: float = 1.5
    gradients: Literal["mean", "sum"] = "mean"
    sampling: Literal["independent", "synced"] = "independent"
    importance: Literal["input", "output", "none"] = "input"
    augmentation: Literal["none", "crop_flip", "imagenet"] = "crop_flip"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    holdout: int = 0
    calibration: int = 2000
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: Literal["off", "regional"] = "off"
    guard_factor: float | None = 2.0
    guard_steps: int = 5
    subnet: tuple[int, ...] | None = None
    origin: str = ""
    log_steps: int = 10
    corner_steps: int = 0
    checkpoint_steps: int = 500
    checkpoint_s: float = 120.0
    workers: int = 4

    def search_space(self, channels: int, classes: int) -> SearchSpace:
        """Return the space this recipe trains on images of so many channels and classes."""
        return S.load(self.space, width=self.width, channels=channels, classes=classes)

    def schedule(self, images: int) -> Schedule:
        """Return the schedule over a training set of so many images, with learning rates for this recipe's batch."""
        factor = 1.0 if self.rate_batch is None else self.batch / self.rate_batch
        phases = [replace(phase, learning_rate=phase.learning_rate * factor) for phase in self.phases]
        return scheduled(phases, max(1, images // self.batch))

    def to_json(self) -> dict[str, Any]:
        """Return every choice as JSON; ``from_json`` inverts it."""
        return asdict(self)

    @property
    def id(self) -> str:
        """Return 12 hex digits over all that changes the trained weights."""
        facts = {key: value for key, value in asdict(self).items() if key not in UNIMPORTANT}
        return sha256_bytes(canonical_json(facts).encode())[:12]


def from_json(facts: Mapping[str, Any]) -> Recipe:
    """Return the recipe that ``to_json`` wrote; TypeError where keys are missing or unknown."""
    given = dict(facts)
    given["phases"] = tuple(Phase(**phase) for phase in given["phases"])
    for name in ("mean", "std", "subnet"):
        given[name] = None if given[name] is None else tuple(given[name])
    return Recipe(**given)


def demo() -> Recipe:
    """Train the small MobileNetV3 space on cluttered digits: minutes on two cores.

    Subnets learn true labels too: from the largest one alone, which knows nothing at first, they would learn nothing
    then.
    """
    return Recipe(
        name="demo",
        space="mobilenet_v3_tiny",
        phases=sandwich(epochs=1, learning_rate=1e-2, warmup_epochs=40 / 400),
        batch=64,
        hard_weight=1.0,
        student_weight=1.0,
        label_smoothing=0.05,
        augmentation="none",
        mean=(0.25,),
        std=(0.25,),
        calibration=256,
        corner_steps=200,
        checkpoint_steps=100,
        checkpoint_s=20.0,
    )


def small_images() -> Recipe:
    """Train the small MobileNetV3 space on images of 16-64 px by the sandwich rule: hours on two cores.

    Subnets learn true labels too: in so short a training the largest one is no better a teacher than they are.
    """
    return Recipe(
        name="small_images",
        space="mobilenet_v3_tiny",
        phases=sandwich(epochs=30, learning_rate=4e-3, warmup_epochs=1),
        batch=128,
        hard_weight=1.0,
        student_weight=1.0,
        holdout=5000,
    )


def small_images_shrinking() -> Recipe:
    """Train the small MobileNetV3 space on images of 16-64 px by progressive shrinking, as long as ``small_images``.

    The phases that open the space are short, and the teacher of each is the largest network as it goes on learning: in
    so short a training one that learned by itself first is a weaker teacher, and took the time of all others.
    """
    lasting = {"largest": 2.0, "kernel": 1.0, "depth-2": 1.0, "expand-2": 25.0}
    phases = []
    for phase in progressive_shrinking():
        epochs = lasting.get(phase.name, 0.5)
        teacher: Teacher = "in_place" if phase.random else "none"
        timed = replace(phase, epochs=epochs, learning_rate=4e-3, warmup_epochs=min(0.5, epochs / 10))
        # Widths open last: from then on it is a sandwich.
        phases.append(replace(timed, largest=True, smallest=phase.sort, random=min(phase.random, 2), teacher=teacher))
    return replace(small_images(), name="small_images_shrinking", phases=tuple(phases))


def finetune_rate(recipe: Recipe) -> float:
    """Return the highest rate of a fine-tuning by a recipe's optimiser, at its batch.

    With SGD it is what the reference code gives phases of 25 epochs, 0.08 at a batch of 2,048 (arXiv 1908.09791).
    """
    return 5e-4 if recipe.optimiser == "adamw" else 0.08 * recipe.batch / 2048


def finetune(trained: Recipe, subnet: Subnet, *, origin: str, epochs: float, learning_rate: float) -> Recipe:
    """Train one subnet of a supernet on alone, with true labels and half a cosine from a lower rate.

    25 and 75 epochs are what the published networks of Once-for-All were given; how is not published (issue 4 of the
    reference), so rate and loss are ours. ``origin`` is the SHA-256 of the supernet's checkpoint, with "-ema" behind it
    where its average was taken; "" begins from random weights, as a network that is trained alone from the start does.
    """
    phase = Phase(
        name="finetune" if origin else "alone",
        epochs=epochs,
        learning_rate=learning_rate,
        warmup_epochs=min(0.5, epochs / 10),
        random=1,
    )
    return replace(
        trained,
        name=phase.name,
        phases=(phase,),
        rate_batch=None,
        hard_weight=0.0,
        student_weight=1.0,
        subnet=subnet.genome,
        origin=origin,
    )


def imagenet() -> Recipe:
    """Train MobileNetV3 w1.0 by the sandwich rule on an ImageNet folder, in bfloat16 on one or many GPUs."""
    return Recipe(
        name="imagenet",
        space="mobilenet_v3",
        phases=sandwich(epochs=360, learning_rate=1.6, warmup_epochs=5),
        batch=2048,
        shards=8,
        rate_batch=4096,
        optimiser="sgd",
        weight_decay=1e-5,
        transform_decay=1e-5,
        clip_norm=1.0,
        dropout=0.1,
        augmentation="imagenet",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        holdout=10_000,
        precision="bf16",
    )


def imagenet_shrinking() -> Recipe:
    """Train MobileNetV3 w1.0 by progressive shrinking with the paper's epochs, rates and loss (arXiv 1908.09791)."""
    return replace(
        imagenet(),
        name="imagenet_shrinking",
        phases=progressive_shrinking(),
        shards=32,
        rate_batch=2048,
        weight_decay=3e-5,
        transform_decay=3e-5,
        clip_norm=None,
        hard_weight=1.0,
        student_weight=1.0,
        gradients="sum",
    )


RECIPES: Mapping[str, Callable[[], Recipe]] = {
    "demo": demo,
    "small_images": small_images,
    "small_images_shrinking": small_images_shrinking,
    "imagenet": imagenet,
    "imagenet_shrinking": imagenet_shrinking,
}
NAMES = tuple(field.name for field in fields(Recipe))
