"""What a subnet learns from the largest one."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def soft_cross_entropy(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits [n, classes] to the teacher's probabilities, at temperature 1.

    The teacher's logits get no gradient: in-place distillation (BigNAS, arXiv 2003.11142, section 3).
    """
    return F.cross_entropy(student, teacher.detach().softmax(1))
