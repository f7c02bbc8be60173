"""Channel sorting: what matters most comes first, and no subnet trained so far computes anything else than before."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ofa.errors import UsageInvalid
from ofa.nn.calibrate import calibrate
from ofa.nn.sort import Importance, apply, sort_channels
from ofa.nn.supernet import Supernet
from ofa.space.core import SearchSpace, Subnet, make_divisible

# Weights are float64 here: sums in another order differ by far less, and what differs more is an error.
TOLERANCE = 1e-9
IMPORTANCES: tuple[Importance, ...] = ("input", "output")
FREELY = {"expand": 1, "width": 1}
TRAINED = [{}, FREELY, {"expand": 2}, {"expand": 2, "width": 1}, {"width": 2}, {"expand": 2, "width": 2}]
EVERYTHING = {"expand": 3, "width": 3}

Shake = Callable[[SearchSpace], Supernet]
Images = Callable[..., Tensor]


@torch.no_grad()
def output(supernet: Supernet, subnet: Subnet, images: Images, *, calibrated: bool = False) -> Tensor:
    """Return the logits of a subnet, with the batch's own statistics or with those of other images."""
    if not calibrated:
        return supernet(images(subnet, 2).double(), subnet)
    found = calibrate(supernet, subnet, [images(subnet, 2, seed=1).double()])
    return supernet(images(subnet, 2).double(), subnet, found)


def difference(found: Tensor, right: Tensor) -> float:
    return float((found - right).abs().max() / right.abs().max())


def kind_of(gene_name: str) -> str:
    kind = gene_name.rsplit(".", 1)[-1]
    return "width" if kind in ("mid", "out") else kind


def trained_subnets(space: SearchSpace, trained: Mapping[str, int], count: int, seed: int = 0) -> list[Subnet]:
    """Draw subnets of the largest ratios and widths that have been trained, at the smallest resolution."""
    rng = np.random.default_rng(seed)
    genomes = rng.integers(1, space.cardinalities + 1, size=(count, len(space.genes))).astype(np.uint8)
    for column, gene in enumerate(space.genes):
        if kind_of(gene.name) in ("expand", "width"):
            most = min(trained.get(kind_of(gene.name), 1), len(gene.choices))
            assert list(gene.choices) == sorted(gene.choices)
            genomes[:, column] = rng.integers(len(gene.choices) - most + 1, len(gene.choices) + 1, size=count)
    genomes[:, space.at("resolution")] = 1
    return [space.subnet(genome) for genome in space.canonical(genomes)]


def cases(space: SearchSpace) -> list[dict[str, int]]:
    """Return what may have been trained so far of a space."""
    return [trained for trained in TRAINED if space.family == "bottleneck" or "width" not in trained]


@pytest.mark.parametrize("importance", IMPORTANCES)
def test_the_largest_network_computes_what_it_did(
    importance: Importance, every_space: SearchSpace, shaken: Shake, images: Images
) -> None:
    supernet = shaken(every_space).double()
    subnet = every_space.corner("max", min(every_space.resolutions))
    right = [output(supernet, subnet, images, calibrated=calibrated) for calibrated in (False, True)]
    assert sort_channels(supernet, importance, FREELY)
    for calibrated in (False, True):
        assert difference(output(supernet, subnet, images, calibrated=calibrated), right[calibrated]) <= TOLERANCE


@pytest.mark.slow
def test_subnets_trained_so_far_compute_what_they_did(small_space: SearchSpace, shaken: Shake, images: Images) -> None:
    for trained in [*cases(small_space), EVERYTHING]:
        supernet = shaken(small_space).double()
        subnets = trained_subnets(small_space, trained, 3)
        before = [output(supernet, subnet, images) for subnet in subnets]
        sort_channels(supernet, "input", trained)
        for subnet, right in zip(subnets, before, strict=True):
            assert difference(output(supernet, subnet, images), right) <= TOLERANCE, (trained, subnet.to_json())


@pytest.mark.slow
def test_subnets_of_every_space_compute_what_they_did(every_space: SearchSpace, shaken: Shake, images: Images) -> None:
    supernet, trained = shaken(every_space).double(), {"expand": 2, "width": 2}
    subnets = trained_subnets(every_space, trained, 6, seed=1)
    before = [output(supernet, subnet, images, calibrated=True) for subnet in subnets]
    sort_channels(supernet, "input", trained)
    for subnet, right in zip(subnets, before, strict=True):
        assert difference(output(supernet, subnet, images, calibrated=True), right) <= TOLERANCE, subnet.to_json()


@pytest.mark.parametrize("importance", IMPORTANCES)
@pytest.mark.parametrize("trained", [FREELY, {"expand": 2, "width": 2}], ids=str)
def test_smaller_subnets_change(
    trained: dict[str, int], importance: Importance, small_space: SearchSpace, shaken: Shake, images: Images
) -> None:
    supernet = shaken(small_space).double()
    subnet = small_space.corner("min")
    before = output(supernet, subnet, images)
    sort_channels(supernet, importance, trained)
    assert difference(output(supernet, subnet, images), before) > 1e-2


# Importance, written down once more: what is sorted, by which scores, within which groups.

Ranked = tuple[str, Tensor, set[int]]


def ranked(supernet: Supernet, importance: Importance, trained: Mapping[str, int]) -> Iterator[Ranked]:
    """Yield the name of each run of channels that is sorted, its scores, and where its groups end."""
    weights = dict(supernet.named_parameters())

    def score(reads: Sequence[str], computes: Sequence[str]) -> Tensor:
        axis, names = (1, reads) if importance == "input" else (0, computes)
        found = [weights[name].detach().abs().transpose(0, axis).flatten(1).sum(1) for name in names]
        return torch.stack(found).sum(0)

    family = inner_of_mbconv if supernet.space.family == "mbconv" else inner_of_bottlenecks
    runs = [*family(supernet.space, trained)]
    if "width" in trained and supernet.space.family == "bottleneck":
        runs += outer_of_bottlenecks(supernet.space, trained["width"])
    for name, reads, computes, widths in runs:
        yield name, score(reads, computes), widths


def blocks(space: SearchSpace) -> Iterator[tuple[str, int, int]]:
    """Yield the place of each block, the number of its stage and its input channels."""
    inputs = space.stem.out_channels[-1]
    for number, stage in enumerate(space.stages):
        for block in range(max(stage.depths)):
            yield f"stages.{number}.{block}.convs", number, inputs
            inputs = stage.out_channels[-1]


def inner_of_mbconv(space: SearchSpace, trained: Mapping[str, int]) -> Iterator[Any]:
    for place, number, inputs in blocks(space):
        stage = space.stages[number]
        mids = {make_divisible(round(inputs * ratio)) for ratio in stage.expands[-trained.get("expand", 1) :]}
        yield f"{place} inner", [f"{place}.project.weight"], [f"{place}.expand.weight"], mids
        if stage.se:
            inner = {make_divisible(mid // 4) for mid in mids}
            yield f"{place} gate", [f"{place}.excite.weight"], [f"{place}.reduce.weight"], inner


def inner_of_bottlenecks(space: SearchSpace, trained: Mapping[str, int]) -> Iterator[Any]:
    for place, number, _ in blocks(space):
        stage = space.stages[number]
        pairs = [(w, e) for w in stage.out_channels[-trained.get("width", 1) :]
                 for e in stage.expands[-trained.get("expand", 1) :]]  # fmt: skip
        mids = {make_divisible(round(width * ratio)) for width, ratio in pairs}
        yield f"{place} first", [f"{place}.conv.weight"], [f"{place}.reduce.weight"], mids
        yield f"{place} second", [f"{place}.expand.weight"], [f"{place}.conv.weight"], mids


def outer_of_bottlenecks(space: SearchSpace, count: int) -> Iterator[Any]:
    stem = [f"stem.convs.conv{place}.weight" for place in range(3)]
    yield "stem inner", stem[1:], stem[:2], {*space.stem.mid_channels[-count:]}
    firsts = [[f"stages.{s}.0.convs.{name}.weight" for name in ("reduce", "shortcut")] for s in range(4)]
    yield "stem outer", firsts[0], stem[2:], {*space.stem.out_channels[-count:]}
    after = [*firsts[1:], ["head.convs.classifier.weight"]]
    for number, stage in enumerate(space.stages):
        places = [place for place, own, _ in blocks(space) if own == number]
        reads = [f"{place}.reduce.weight" for place in places[1:]] + after[number]
        computes = [f"{place}.expand.weight" for place in places] + firsts[number][1:]
        yield f"stage {number}", reads, computes, {*stage.out_channels[-count:]}


def rising(scores: Tensor, widths: set[int]) -> bool:
    """Say whether a score is higher than the one before it in its group."""
    ends = sorted(widths)
    groups = scores.tensor_split(ends[:-1])
    assert ends[-1] == len(scores) and all(len(group) for group in groups)
    return any(bool((group.diff() > TOLERANCE).any()) for group in groups)


@pytest.mark.slow
@pytest.mark.parametrize("importance", IMPORTANCES)
def test_importance_descends_within_each_group(importance: Importance, small_space: SearchSpace, shaken: Shake) -> None:
    for trained in cases(small_space):
        supernet = shaken(small_space).double()
        assert all(rising(scores, widths) for _, scores, widths in ranked(supernet, importance, trained))
        sort_channels(supernet, importance, trained)
        assert not [name for name, scores, widths in ranked(supernet, importance, trained) if rising(scores, widths)]


def test_sorting_twice_is_sorting_once(small_space: SearchSpace, shaken: Shake) -> None:
    supernet = shaken(small_space).double()
    sort_channels(supernet, "input", {"expand": 2, "width": 2})
    for moves in sort_channels(supernet, "input", {"expand": 2, "width": 2}).values():
        assert all(order.tolist() == list(range(len(order))) for _, order in moves)


# Which dimensions of a block's parameters run over its inner channels.
VECTORS = ("weight", "bias")
INNER: dict[str, dict[str, list[int]]] = {
    "mbconv": {"convs.expand.weight": [0], "convs.depthwise.weight": [0], "convs.project.weight": [1]}
    | {f"norms.{layer}.{part}": [0] for layer in ("expand", "depthwise") for part in VECTORS},
    "bottleneck": {"convs.reduce.weight": [0], "convs.conv.weight": [0, 1], "convs.expand.weight": [1]}
    | {f"norms.{layer}.{part}": [0] for layer in ("reduce", "conv") for part in VECTORS},
}
GATE = {f"convs.{layer}.weight": [0, 1] for layer in ("reduce", "excite")} | {
    f"convs.{layer}.bias": [0] for layer in ("reduce", "excite")
}


def test_what_no_subnet_shortens_stays(small_space: SearchSpace, shaken: Shake) -> None:
    """Classes, images and transforms always; the widths of stages and of the stem as long as they are not elastic."""
    supernet = shaken(small_space).double()
    inner = INNER[small_space.family] | (GATE if any(stage.se for stage in small_space.stages) else {})
    found: dict[str, list[int]] = {}
    for name, done in sort_channels(supernet, "output", {"expand": 1}).items():
        assert name.startswith("stages.")
        found[re.sub(r"stages\.\d+\.\d+\.", "", name)] = sorted(dim for dim, _ in done)
    assert found == inner
    wider = sort_channels(supernet, "output", FREELY)
    if small_space.family == "mbconv":
        assert {re.sub(r"stages\.\d+\.\d+\.", "", name) for name in wider} == set(inner)
    else:
        assert set(wider) == {name for name, _ in supernet.named_parameters()} - {"head.convs.classifier.bias"}
        ends = [wider[f"{place}.weight"] for place in ("head.convs.classifier", "stem.convs.conv0")]
        assert [[dim for dim, _ in done] for done in ends] == [[1], [0]]


# What else holds a number for each weight moves alike.


@pytest.mark.slow
@torch.no_grad()
def test_a_parameter_left_behind_is_seen(small_space: SearchSpace, shaken: Shake, images: Images) -> None:
    """One of each kind of weight, scale, shift and bias in turn."""
    supernet = shaken(small_space).double()
    weights = dict(supernet.named_parameters())
    before = {name: value.clone() for name, value in weights.items()}
    moves = sort_channels(supernet, "input", FREELY)
    subnet = small_space.corner("max", min(small_space.resolutions))
    x = images(subnet, 2).double()
    right = supernet(x, subnet)
    kinds = {re.sub(r"\d+", "#", name): name for name in moves}
    assert len(kinds) >= 7
    for name in kinds.values():
        moved = weights[name].clone()
        weights[name].copy_(before[name])
        assert difference(supernet(x, subnet), right) > 100 * TOLERANCE, name
        weights[name].copy_(moved)
    assert torch.equal(supernet(x, subnet), right)


@torch.no_grad()
def test_a_copy_is_sorted_alike_and_its_norms_are_missed(
    small_space: SearchSpace, shaken: Shake, images: Images
) -> None:
    supernet = shaken(small_space).double()
    average, halfway = copy.deepcopy(supernet), copy.deepcopy(supernet)
    moves = sort_channels(supernet, "input", FREELY)
    apply(moves, dict(average.named_parameters()))
    assert all(map(torch.equal, supernet.parameters(), average.parameters()))
    apply({name: done for name, done in moves.items() if "norms" not in name}, dict(halfway.named_parameters()))
    subnet = small_space.corner("max", min(small_space.resolutions))
    assert difference(output(halfway, subnet, images), output(supernet, subnet, images)) > 1e-2


def step(supernet: Supernet, subnet: Subnet, optimiser: torch.optim.Optimizer, images: Images, seed: int) -> None:
    optimiser.zero_grad(set_to_none=True)
    F.cross_entropy(supernet(images(subnet, 4, seed=seed).double(), subnet), torch.arange(4)).backward()
    optimiser.step()


@pytest.mark.slow
def test_training_goes_on_as_if_channels_had_always_stood_there(
    small_space: SearchSpace, shaken: Shake, images: Images
) -> None:
    """Sorting weights and momentum, then a step, is a step, then sorting."""
    sorted_net, subnet = shaken(small_space).double(), small_space.corner("max", min(small_space.resolutions))
    optimiser = torch.optim.AdamW(sorted_net.parameters(), lr=1e-3)
    for seed in (1, 2):
        step(sorted_net, subnet, optimiser, images, seed)
    plain_net = copy.deepcopy(sorted_net)
    other = torch.optim.AdamW(plain_net.parameters(), lr=1e-3)
    other.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    names = {id(value): name for name, value in sorted_net.named_parameters()}
    moves = sort_channels(sorted_net, "input", FREELY)
    for moment in ("exp_avg", "exp_avg_sq"):
        apply(moves, {names[id(value)]: state[moment] for value, state in optimiser.state.items()})
    step(sorted_net, subnet, optimiser, images, 3)
    step(plain_net, subnet, other, images, 3)
    apply(moves, dict(plain_net.named_parameters()))
    for (name, found), right in zip(sorted_net.named_parameters(), plain_net.parameters(), strict=True):
        torch.testing.assert_close(found, right, atol=1e-6, rtol=0, msg=name)


def test_names_of_one_side_alone_do_not_matter() -> None:
    average = {"a": torch.arange(6.0).reshape(3, 2), "c": torch.arange(3.0)}
    apply({"a": [(0, torch.tensor([2, 0, 1])), (1, torch.tensor([1, 0]))], "b": [(0, torch.tensor([0]))]}, average)
    assert average["a"].tolist() == [[5, 4], [1, 0], [3, 2]] and average["c"].tolist() == [0, 1, 2]


def test_weights_stay_leaves_in_their_memory_format(tiny: SearchSpace, shaken: Shake) -> None:
    supernet = shaken(tiny).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    before = {name: (value.data_ptr(), value.stride()) for name, value in supernet.named_parameters()}
    sort_channels(supernet, "input", FREELY)
    for name, value in supernet.named_parameters():
        assert value.is_leaf and value.requires_grad and value.grad is None
        assert (value.data_ptr(), value.stride()) == before[name]


def test_another_importance_is_refused(tiny: SearchSpace, shaken: Shake) -> None:
    with pytest.raises(UsageInvalid) as caught:
        sort_channels(shaken(tiny), "random", {})  # type: ignore[arg-type]
    assert "'random'" in caught.value.what and "input, output" in caught.value.hints[0]
