"""One step's gradients by hand: what each subnet's loss counts, who teaches whom, where dropout and bfloat16 act."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ofa.nn.supernet import Supernet, build, extract
from ofa.space.core import SearchSpace, Subnet
from ofa.train import augment, data, distill, evaluate, schedule, step, teacher
from ofa.train.data import Data, Feed
from ofa.train.recipes import Recipe
from ofa.train.sampling import resolution_of
from ofa.train.schedule import Phase
from ofa.train.sources.arrays import Arrays
from ofa.train.step import Task
from ofa.train.teacher import Teacher

Gradients = dict[str, Tensor]
CPU = torch.device("cpu")


@pytest.fixture
def eight(recipe: Recipe) -> Recipe:
    """Subnets learn from the teacher alone, and count one and a half times."""
    return dataclasses.replace(recipe, batch=8, hard_weight=0.0, student_weight=1.5)


@pytest.fixture
def few(scenes: Arrays, eight: Recipe) -> Data:
    return data.divided(scenes, eight)


@pytest.fixture
def net(space: SearchSpace) -> Supernet:
    return build(space, seed=3)


@pytest.fixture
def number(space: SearchSpace, eight: Recipe) -> int:
    """Return a step at the smallest resolution, which is quick."""
    return next(at for at in range(100) if resolution_of(space, eight, at) == 16)


def sandwich(recipe: Recipe) -> Phase:
    (phase,) = recipe.phases
    return phase


def alone(teacher: schedule.Teacher = "none", random: int = 0) -> Phase:
    """Return a phase of the smallest subnet and random ones, without the largest."""
    return Phase(name="alone", epochs=1, learning_rate=1, smallest=True, random=random, teacher=teacher)


def task_of(recipe: Recipe, few: Data, phase: Phase, number: int, frozen: Teacher | None = None) -> Task:
    return Task(recipe=recipe, data=few, phase=phase, step=number, device=CPU, teacher=frozen)


def gradients(net: Supernet, task: Task) -> tuple[Gradients, Tensor]:
    """Return the gradients that a step leaves in a supernet, by name, and its losses."""
    shards = range(task.recipe.shards)
    net.zero_grad(set_to_none=True)
    losses = step.backward(net, task, shards, Feed(task.data, task.recipe, net.space, shards)[task.step])
    return {name: value.grad.clone() for name, value in net.named_parameters() if value.grad is not None}, losses


def by_hand(net: Supernet, task: Task) -> tuple[Gradients, Tensor]:
    """Return the same for no augmentation and the sandwich rule, as its description says it."""
    recipe, shards = task.recipe, range(task.recipe.shards)
    net.zero_grad(set_to_none=True)
    told = torch.zeros(3, dtype=torch.float64)
    for shard, batch in zip(shards, Feed(task.data, recipe, net.space, shards)[task.step], strict=True):
        largest, *students = task.subnets(net, shard)
        x = augment.prepared(batch.images, largest.resolution, task.data.mean, task.data.std)
        logits = net(x, largest)
        losses = [F.cross_entropy(logits, batch.labels, label_smoothing=recipe.label_smoothing)]
        for student in students:
            found = net(x, student)
            soft = -(logits.detach().softmax(1) * found.log_softmax(1)).sum(1).mean()
            true = F.cross_entropy(found, batch.labels, label_smoothing=recipe.label_smoothing)
            losses.append(soft + recipe.hard_weight * true)
        shared = sum(losses[1:]) / (len(students) if recipe.gradients == "mean" else 1)
        ((losses[0] + recipe.student_weight * shared) / recipe.shards).backward()
        values = torch.stack(losses).detach().double()
        told += torch.stack([values.mean(), values[0], values[-1]])
    return {name: value.grad.clone() for name, value in net.named_parameters() if value.grad is not None}, told


def assert_close(found: Gradients, expected: Gradients, tolerance: float = 1e-4) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name] - value).abs().max() <= tolerance * value.abs().max() + 1e-6, name


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gradients": "sum", "student_weight": 0.7},
        {"hard_weight": 0.5, "label_smoothing": 0.2},
        {"shards": 2},
    ],
    ids=lambda changes: ",".join(changes) or "as it is",
)
def test_a_steps_gradient_is_its_description(
    changes: dict[str, Any], net: Supernet, eight: Recipe, few: Data, number: int
) -> None:
    recipe = dataclasses.replace(eight, **changes)
    task = task_of(recipe, few, sandwich(recipe), number)
    found, losses = gradients(net, task)
    expected, told = by_hand(net, task)
    assert_close(found, expected)
    torch.testing.assert_close(losses, told, rtol=1e-5, atol=1e-6)
    assert all(value.grad is not None for name, value in net.named_parameters() if "norms" in name)


def test_the_sum_is_the_mean_times_the_students(net: Supernet, eight: Recipe, few: Data, number: int) -> None:
    """Two students: sum and mean differ by a factor of two, and so does twice the weight."""
    kinds: dict[str, dict[str, Any]] = {
        "mean": {},
        "sum": {"gradients": "sum"},
        "twice": {"student_weight": 3.0},
        "none": {"student_weight": 0.0},
    }
    found = {}
    for kind, changes in kinds.items():
        recipe: Recipe = dataclasses.replace(eight, **changes)
        found[kind], _ = gradients(net, task_of(recipe, few, sandwich(recipe), number))
    largest = found["none"]
    shares = {kind: {name: found[kind][name] - largest[name] for name in largest} for kind in ("mean", "sum", "twice")}
    doubled = {name: 2 * value for name, value in shares["mean"].items()}
    assert max(float(value.abs().max()) for value in doubled.values()) > 1e-2
    assert_close(shares["sum"], doubled, 1e-3)
    assert_close(shares["twice"], doubled, 1e-3)


def test_shards_draw_subnets_of_their_own_unless_synced(net: Supernet, eight: Recipe, few: Data, number: int) -> None:
    phase = dataclasses.replace(sandwich(eight), random=3)
    task = task_of(eight, few, phase, number)
    assert task.subnets(net, 0) != task.subnets(net, 1) and task.subnets(net, 0) == task.subnets(net, 0)
    synced = task_of(dataclasses.replace(eight, sampling="synced"), few, phase, number)
    assert synced.subnets(net, 0) == synced.subnets(net, 1) == task.subnets(net, 0)
    drawn = {task_of(eight, few, phase, at).subnets(net, 0)[2].genome[1:] for at in range(5)}
    assert len(drawn) == 5, "another step draws others"


def test_images_are_changed_as_the_recipe_says(net: Supernet, eight: Recipe, few: Data, number: int) -> None:
    shifted = dataclasses.replace(eight, augmentation="crop_flip")
    plain, changed = (gradients(net, task_of(one, few, alone(), number))[1] for one in (eight, shifted))
    assert not torch.equal(plain, changed)
    torch.testing.assert_close(gradients(net, task_of(shifted, few, alone(), number))[1], changed, rtol=0, atol=0)


class Heard:
    """A supernet that remembers for which subnets it was asked to drop what share of the classifier's inputs."""

    def __init__(self, net: Supernet) -> None:
        self.net, self.space = net, net.space
        self.drops: list[tuple[bool, float]] = []

    def __call__(self, x: Tensor, subnet: Subnet, **options: Any) -> Tensor:
        share = options["dropout"][0] if options["dropout"] else 0.0
        self.drops.append((subnet == self.space.corner("max", subnet.resolution), share))
        return self.net(x, subnet, **options)


def heard(net: Supernet, task: Task) -> list[tuple[bool, float]]:
    listener: Any = Heard(net)
    shards = range(task.recipe.shards)
    step.backward(listener, task, shards, Feed(task.data, task.recipe, net.space, shards)[task.step])
    drops: list[tuple[bool, float]] = listener.drops
    return drops


def test_dropout_is_for_the_largest_or_where_there_is_none_for_all(
    net: Supernet, eight: Recipe, few: Data, number: int
) -> None:
    dropping = dataclasses.replace(eight, dropout=0.5)
    in_sandwich = heard(net, task_of(dropping, few, sandwich(eight), number))
    assert in_sandwich == [(True, 0.5), (False, 0.0), (False, 0.0)]
    assert heard(net, task_of(dropping, few, alone(random=1), number)) == [(False, 0.5), (False, 0.5)]
    assert [share for _, share in heard(net, task_of(eight, few, sandwich(eight), number))] == [0.0] * 3


def test_dropout_is_drawn_from_the_steps_own_generator(net: Supernet, eight: Recipe, few: Data, number: int) -> None:
    task = task_of(dataclasses.replace(eight, dropout=0.5), few, alone(), number)
    torch.manual_seed(1)
    first, _ = gradients(net, task)
    torch.manual_seed(2)
    again, _ = gradients(net, task)
    assert all(torch.equal(first[name], again[name]) for name in first)
    plain, _ = gradients(net, task_of(eight, few, alone(), number))
    assert not torch.equal(first["head.convs.classifier.weight"], plain["head.convs.classifier.weight"])


@pytest.fixture
def frozen_net(space: SearchSpace) -> Supernet:
    return build(space, seed=8)


def test_a_frozen_teacher_is_calibrated_or_uses_the_batchs_statistics(
    frozen_net: Supernet, few: Data, space: SearchSpace
) -> None:
    calibration = few.images("calibration")
    x = next(iter(few.images("holdout").batches(16, 8)))
    largest = space.corner("max", 16)
    with torch.no_grad():
        plain = extract(frozen_net, largest, evaluate.statistics(frozen_net, largest, calibration))
        calibrated, own = plain(x), frozen_net(x, largest)
    found = {mode: teacher.frozen(frozen_net, calibration, mode)(x) for mode in ("eval", "train")}
    torch.testing.assert_close(found["eval"], calibrated, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found["train"], own)
    assert (found["eval"] - found["train"]).abs().max() > 1e-2


def test_a_calibrated_teacher_answers_image_by_image(frozen_net: Supernet, few: Data) -> None:
    """In train mode an image's logits depend on its neighbours in the batch; calibrated they must not."""
    x = next(iter(few.images("holdout").batches(16, 8)))
    answer = teacher.frozen(frozen_net, few.images("calibration"), "eval")
    torch.testing.assert_close(answer(x)[:3], answer(x[:3]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("hard_weight", [0.0, 1.0])
def test_students_of_a_frozen_teacher_learn_its_answers_and_never_change_it(
    hard_weight: float, net: Supernet, frozen_net: Supernet, eight: Recipe, few: Data, number: int
) -> None:
    recipe = dataclasses.replace(eight, hard_weight=hard_weight, student_weight=0.5, distillation="mse")
    before = {name: value.clone() for name, value in frozen_net.state_dict().items()}
    answer = teacher.frozen(frozen_net, few.images("calibration"), "eval")
    task = task_of(recipe, few, alone("frozen"), number, answer)
    found, losses = gradients(net, task)
    assert all(value.grad is None and not value.requires_grad for value in frozen_net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in frozen_net.state_dict().items())
    (batch,) = Feed(few, recipe, net.space, (0,))[number]
    (student,) = task.subnets(net, 0)
    net.zero_grad(set_to_none=True)
    x = augment.prepared(batch.images, 16, few.mean, few.std)
    logits = net(x, student)
    loss = (logits - answer(x)).square().mean()
    loss = loss + hard_weight * distill.hard(logits, batch.labels, recipe.label_smoothing)
    # Nothing beside which it would weigh half: the largest is not trained in this phase.
    loss.backward()
    assert_close(found, {name: v.grad for name, v in net.named_parameters() if v.grad is not None})
    torch.testing.assert_close(losses, loss.detach().double().expand(3), rtol=1e-5, atol=1e-6)


def test_the_largest_subnet_learns_the_labels_whatever_the_teacher_says(
    net: Supernet, frozen_net: Supernet, eight: Recipe, few: Data, number: int
) -> None:
    phase = dataclasses.replace(alone("frozen"), largest=True)
    answer = teacher.frozen(frozen_net, few.images("calibration"), "train")
    _, losses = gradients(net, task_of(eight, few, phase, number, answer))
    (batch,) = Feed(few, eight, net.space, (0,))[number]
    x = augment.prepared(batch.images, 16, few.mean, few.std)
    with torch.no_grad():
        largest, smallest = (net(x, net.space.corner(corner, 16)) for corner in ("max", "min"))
        true = F.cross_entropy(largest, batch.labels, label_smoothing=0.05)
        soft = distill.soft_cross_entropy(smallest, answer(x))
    assert losses.tolist() == pytest.approx([float(true + soft) / 2, float(true), float(soft)], rel=1e-5)


def test_without_a_teacher_students_learn_the_labels(net: Supernet, eight: Recipe, few: Data, number: int) -> None:
    _, losses = gradients(net, task_of(eight, few, alone(), number))
    (batch,) = Feed(few, eight, net.space, (0,))[number]
    x = augment.prepared(batch.images, 16, few.mean, few.std)
    with torch.no_grad():
        expected = F.cross_entropy(net(x, net.space.corner("min", 16)), batch.labels, label_smoothing=0.05)
    assert float(losses[0]) == pytest.approx(float(expected), rel=1e-5)


def test_a_step_in_bfloat16_gives_nearly_the_same_gradient(
    net: Supernet, eight: Recipe, few: Data, number: int
) -> None:
    ran: list[torch.dtype] = []
    kept: Callable[..., Any] = net.stem.register_forward_hook
    handle = kept(lambda _module, _inputs, output: ran.append(output.dtype))
    found = {}
    for precision in ("fp32", "bf16"):
        recipe: Recipe = dataclasses.replace(eight, precision=precision)
        found[precision], losses = gradients(net, task_of(recipe, few, sandwich(recipe), number))
        assert losses.isfinite().all() and all(value.dtype == torch.float32 for value in found[precision].values())
    handle.remove()
    assert ran == [torch.float32] * 3 + [torch.bfloat16] * 3
    full, short = (torch.cat([value.flatten() for value in found[one].values()]) for one in ("fp32", "bf16"))
    assert float(F.cosine_similarity(full, short, dim=0)) > 0.9 and not torch.equal(full, short)


def test_a_frozen_teacher_in_bfloat16_has_statistics_of_all_digits(
    net: Supernet, frozen_net: Supernet, eight: Recipe, few: Data, number: int
) -> None:
    """What a step calibrates first gives the answers that statistics measured outside of it give."""
    calibration = few.images("calibration")
    x = next(iter(calibration.batches(16)))
    first, known = (teacher.frozen(frozen_net, calibration, "eval") for _ in range(2))
    known(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(first(x), known(x))
    rounded = dataclasses.replace(eight, precision="bf16")
    answer = teacher.frozen(frozen_net, calibration, "eval")
    _, losses = gradients(net, task_of(rounded, few, alone("frozen"), number, answer))
    assert torch.isfinite(losses).all()
