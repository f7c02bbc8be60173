"""Regional compilation is an option of a recipe, and trains what eager steps train."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from ofa.nn import regional
from ofa.train import loop
from ofa.train.data import Data
from ofa.train.recipes import Recipe


@pytest.mark.slow
def test_a_compiled_step_is_an_eager_one(
    recipe: Recipe, divided: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = list[regional.Regional]()
    # What other tests compiled counts towards the same limits.
    torch._dynamo.reset()

    def without_a_compiler() -> regional.Regional:
        made.append(regional.Regional(backend="aot_eager"))
        return made[-1]

    monkeypatch.setattr(loop, "Regional", without_a_compiler)
    # Plain gradient descent: Adam's first step goes by the sign of a gradient alone, which rounding may turn.
    recipe = dataclasses.replace(recipe, optimiser="sgd", clip_norm=1.0)
    eager = loop.train(recipe, divided, tmp_path / "eager", stop_at=1)
    compiled = loop.train(dataclasses.replace(recipe, compile="regional"), divided, tmp_path / "compiled", stop_at=1)
    assert made and made[0].graphs > 0
    for name, value in compiled.state_dict().items():
        assert torch.allclose(value, eager.state_dict()[name], rtol=0, atol=1e-5), name
