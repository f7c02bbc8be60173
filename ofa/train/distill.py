"""What a subnet learns from its teacher: losses between logits [n, classes]; the teacher's get no gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch.nn.functional as F
from torch import Tensor

ALPHAS = (-1.0, 1.0)
# Powers of (teacher / student) beyond this are cut, so that one image cannot make the gradient explode.
MOST_WEIGHT = 5.0


def soft_cross_entropy(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean cross-entropy to the teacher's probabilities, at temperature 1 (Hinton et al. 2015)."""
    return F.cross_entropy(student, teacher.detach().softmax(1))


def mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared difference of logits."""
    return F.mse_loss(student, teacher.detach())


def alpha_divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the adaptive alpha-divergence, for each image the larger of two alphas (AlphaNet, arXiv 2102.07954, 3.2).

    A negative alpha punishes a student that is surer than its teacher, a positive one a student that is less sure. The
    powers (teacher / student) ** alpha of a negative one are cut at 5, in the divergences that are compared as in the
    gradient; alpha 1 is Kullback-Leibler, whose gradient no image makes larger than 1.
    """
    log_teacher, log_student = F.log_softmax(teacher.detach(), 1), F.log_softmax(student, 1)
    divergences, losses = zip(*(_alpha(log_teacher, log_student, alpha) for alpha in ALPHAS), strict=True)
    larger = (divergences[1] > divergences[0]).float()
    loss: Tensor = (larger * losses[1] + (1 - larger) * losses[0]).mean()
    return loss


def _alpha(log_teacher: Tensor, log_student: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Return the divergence [n] of one alpha, without gradient, and a loss [n] that has its gradient.

    For D = (E_q[(p / q) ** alpha] - 1) / (alpha (alpha - 1)) the gradient is that of -E_q[rho * log q] with
    rho = (p / q) ** alpha / alpha, less its mean under q to keep rounding low; both with the power cut.
    """
    if alpha == 1.0:
        # q * p / q is p: nothing explodes, and a cut would leave next to nothing where q is far too small.
        teacher = log_teacher.exp()
        return (teacher * (log_teacher - log_student.detach())).sum(1), -(teacher * log_student).sum(1)
    student = log_student.exp().detach()
    power = (log_teacher - log_student.detach()).mul(alpha).exp().clamp(max=MOST_WEIGHT)
    expected = (student * power).sum(1, keepdim=True)
    divergence = (expected[:, 0] - 1) / (alpha * (alpha - 1))
    return divergence, -(student * (power - expected) / alpha * log_student).sum(1)


LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "soft_cross_entropy": soft_cross_entropy,
    "mse": mse,
    "alpha": alpha_divergence,
}


def hard(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Return the mean cross-entropy to the true labels int64[n], smoothed."""
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)
