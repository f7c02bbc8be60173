"""Losses against a teacher: each equals its formula, none teaches the teacher, none is broken by extreme logits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ofa.train import distill

TEACHER = ((2.0, 0.0, -1.0), (0.5, 0.4, 0.1))
STUDENT = ((1.0, 0.5, 0.0), (-0.3, 0.2, 0.6))


def shares(logits: tuple[float, ...]) -> list[float]:
    """Return the softmax of a few numbers."""
    powers = [math.exp(value) for value in logits]
    return [power / sum(powers) for power in powers]


def pairs() -> list[tuple[list[float], list[float]]]:
    return [(shares(p), shares(q)) for p, q in zip(TEACHER, STUDENT, strict=True)]


def alpha_of(p: list[float], q: list[float], alpha: float) -> float:
    """Return the alpha-divergence as the paper writes it, and for alpha 1 its limit, Kullback-Leibler."""
    if alpha == 1.0:
        return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return (sum(b * (a / b) ** alpha for a, b in zip(p, q, strict=True)) - 1) / (alpha * (alpha - 1))


def test_soft_cross_entropy_is_its_formula() -> None:
    expected = np.mean([-sum(a * math.log(b) for a, b in zip(p, q, strict=True)) for p, q in pairs()])
    found = distill.soft_cross_entropy(torch.tensor(STUDENT), torch.tensor(TEACHER))
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_mse_is_its_formula() -> None:
    expected = np.mean((np.array(STUDENT) - np.array(TEACHER)) ** 2)
    assert float(distill.mse(torch.tensor(STUDENT), torch.tensor(TEACHER))) == pytest.approx(float(expected), rel=1e-5)


def test_smoothed_labels_share_what_the_true_class_gives_up() -> None:
    wanted = np.full((2, 3), 0.3 / 3)
    wanted[[0, 1], [2, 0]] += 0.7
    expected = np.mean([-float(w @ np.log(shares(q))) for w, q in zip(wanted, STUDENT, strict=True)])
    found = distill.hard(torch.tensor(STUDENT), torch.tensor([2, 0]), 0.3)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("alpha", distill.ALPHAS)
def test_a_divergence_is_its_formula(alpha: float) -> None:
    log_teacher, log_student = (torch.tensor(logits).log_softmax(1) for logits in (TEACHER, STUDENT))
    divergence, _ = distill._alpha(log_teacher, log_student, alpha)
    assert divergence.tolist() == pytest.approx([alpha_of(p, q, alpha) for p, q in pairs()], rel=1e-4)


def unclipped(student: Tensor, teacher: Tensor, alpha: float) -> Tensor:
    """Return the divergence [n] that autograd can differentiate."""
    p, q = teacher.softmax(1), student.softmax(1)
    if alpha == 1.0:
        return (p * (p / q).log()).sum(1)
    return ((q * (p / q) ** alpha).sum(1) - 1) / (alpha * (alpha - 1))


@pytest.mark.parametrize("alpha", distill.ALPHAS)
def test_where_nothing_is_clipped_the_gradient_is_that_of_the_divergence(alpha: float) -> None:
    generator = torch.Generator().manual_seed(0)
    teacher, start = (torch.randn((16, 10), generator=generator, dtype=torch.float64) * 0.3 for _ in range(2))
    ratio = (teacher.log_softmax(1) - start.log_softmax(1)).mul(alpha).exp()
    assert ratio.max() < distill.MOST_WEIGHT
    expected, student = (start.clone().requires_grad_() for _ in range(2))
    unclipped(expected, teacher, alpha).mean().backward()
    distill._alpha(teacher.log_softmax(1), student.log_softmax(1), alpha)[1].mean().backward()
    assert expected.grad is not None and student.grad is not None and expected.grad.abs().max() > 1e-3
    torch.testing.assert_close(student.grad, expected.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("surer", [True, False])
def test_of_two_divergences_the_larger_one_teaches(surer: bool) -> None:
    """A student surer than its teacher is told so by the negative alpha, one that is less sure by the positive."""
    flat, steep = torch.zeros(1, 4, dtype=torch.float64), torch.tensor([[1.4, 0.0, 0.0, 0.0]], dtype=torch.float64)
    start, teacher = (steep, flat) if surer else (flat, steep)
    divergences = [float(unclipped(start, teacher, alpha)) for alpha in distill.ALPHAS]
    larger = distill.ALPHAS[int(np.argmax(divergences))]
    expected, student = (start.clone().requires_grad_() for _ in range(2))
    unclipped(expected, teacher, larger).mean().backward()
    distill.alpha_divergence(student, teacher).backward()
    assert student.grad is not None and expected.grad is not None
    torch.testing.assert_close(student.grad, expected.grad)
    assert larger == (-1.0 if surer else 1.0)


def test_one_image_cannot_make_the_gradient_explode() -> None:
    """A class the teacher thinks impossible and the student likely: the ratio is 22,000, the weight stays at 5."""
    teacher = torch.tensor([[10.0, 0.0]], dtype=torch.float64)
    student = torch.tensor([[0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    distill.alpha_divergence(student, teacher).backward()
    assert student.grad is not None and 0.1 < student.grad.abs().max() <= distill.MOST_WEIGHT
    free = torch.tensor([[0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    unclipped(free, teacher, -1.0).sum().backward()
    assert free.grad is not None and free.grad.abs().max() > 1000


def logits_of(share: float, classes: int) -> Tensor:
    """Return logits [1, classes] that give the first class a share, and the others the rest alike."""
    rest = math.log((1 - share) / (classes - 1))
    return torch.tensor([[math.log(share), *[rest] * (classes - 1)]], dtype=torch.float64)


@pytest.mark.parametrize(("sure", "found"), [(0.9, 0.01), (0.9, 0.001), (0.5, 0.01)])
def test_a_student_far_less_sure_than_its_teacher_learns_as_by_kullback_leibler(sure: float, found: float) -> None:
    """Of a thousand classes all begin unlikely: were that cut as well, hardly anything would be learnt."""
    teacher, student = logits_of(sure, 1000), logits_of(found, 1000).requires_grad_()
    distill.alpha_divergence(student, teacher).backward()
    assert student.grad is not None
    torch.testing.assert_close(student.grad, student.detach().softmax(1) - teacher.softmax(1))


@pytest.mark.parametrize("name", distill.LOSSES)
def test_a_teacher_gets_no_gradient_and_an_equal_student_learns_nothing(name: str) -> None:
    teacher = torch.tensor(TEACHER, requires_grad=True)
    student = torch.tensor(STUDENT, requires_grad=True)
    distill.LOSSES[name](student, teacher).backward()
    assert teacher.grad is None and student.grad is not None and student.grad.abs().max() > 1e-3
    alike = torch.tensor(TEACHER, requires_grad=True)
    distill.LOSSES[name](alike, teacher).backward()
    assert alike.grad is not None and alike.grad.abs().max() < 1e-6


@pytest.mark.parametrize("name", distill.LOSSES)
@pytest.mark.parametrize("size", [100.0, 1e4])
def test_extreme_logits_stay_finite(name: str, size: float) -> None:
    signs = torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [1.0, -1.0, 0.0], [0.0, 0.0, 0.0]])
    teacher = size * torch.tensor([[1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, -1.0]])
    student = (size * signs).requires_grad_()
    loss = distill.LOSSES[name](student, teacher)
    loss.backward()
    assert loss.isfinite() and student.grad is not None and student.grad.isfinite().all()
