"""Boosted trees: small, seeded, single-threaded unless told otherwise; equal inputs give equal bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xgboost
from numpy.typing import NDArray

from ofa.twins.errors import not_trees, trees_of_another

Vector = NDArray[np.float64]

# What trees are grown for, by loss. Of both, a prediction is the plain sum of leaves and a constant.
OBJECTIVES = {"squared": "reg:squarederror", "absolute": "reg:absoluteerror"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How trees are grown; ``loss`` says which errors count: squared, or absolute, which outliers sway less."""

    rounds: int
    eta: float
    max_depth: int
    min_child_weight: float
    loss: Literal["squared", "absolute"] = "squared"


def fit(
    matrix: Vector,
    target: Vector,
    growth: Growth,
    *,
    rising: tuple[int, ...] | None = None,
    seed: int,
    threads: int = 1,
) -> xgboost.Booster:
    """Fit trees to a target float64[n] about 0 from features float64[n, F].

    ``rising`` holds 1 for each feature of which more must never lower the prediction.
    """
    settings: dict[str, Any] = {
        "objective": OBJECTIVES[growth.loss],
        "base_score": 0.0,
        "max_depth": growth.max_depth,
        "eta": growth.eta,
        "subsample": 0.8,
        "colsample_bytree": 0.5,
        "min_child_weight": growth.min_child_weight,
        "lambda": 1.0,
        "tree_method": "hist",
        "nthread": threads,
        "seed": seed,
        "verbosity": 0,
    }
    if rising is not None and any(rising):
        settings["monotone_constraints"] = f"({','.join(map(str, rising))})"
    data = xgboost.DMatrix(matrix.astype(np.float32), label=target, nthread=threads)
    return xgboost.train(settings, data, num_boost_round=growth.rounds)


def predict(booster: xgboost.Booster, matrix: NDArray[np.floating]) -> Vector:
    """Return float64[n] for features [n, F]."""
    return np.asarray(booster.inplace_predict(matrix.astype(np.float32)), dtype=np.float64)


def to_bytes(booster: xgboost.Booster) -> bytes:
    """Return the trees as xgboost's JSON."""
    return bytes(booster.save_raw("json"))


def from_bytes(data: bytes, *, columns: int, what: str) -> xgboost.Booster:
    """Load trees from xgboost's JSON.

    Raises FileInvalid where it is not that, is no plain sum of trees whose leaves are numbers, or reads another number
    of features.
    """
    booster = xgboost.Booster({"nthread": 1})
    try:
        _check(json.loads(data))
        booster.load_model(bytearray(data))
        found = int(booster.num_features())
    except (xgboost.core.XGBoostError, ValueError, LookupError, TypeError, RecursionError) as fault:
        reason = (str(fault) or type(fault).__name__).splitlines()[0]
        raise not_trees(what, reason) from fault
    if found != columns:
        raise trees_of_another(what, found=found, columns=columns)
    return booster


def _check(model: dict[str, Any]) -> None:
    """Raise ValueError unless a model is a plain sum of trees, and what else a model does that is none.

    Whoever walks a tree ends at a leaf, since children stand behind their parent.
    """
    learner = model["learner"]
    kind, objective = learner["gradient_booster"]["name"], learner["objective"]["name"]
    if kind != "gbtree" or objective not in OBJECTIVES.values():
        raise ValueError(f"it is a '{kind}' for '{objective}', which is no plain sum of trees")
    features = int(learner["learner_model_param"]["num_feature"])
    for number, tree in enumerate(learner["gradient_booster"]["model"]["trees"]):
        names = ("left_children", "right_children", "split_indices")
        left, right, split = (np.asarray(tree[name], dtype=np.int64) for name in names)
        values = np.asarray(tree["split_conditions"], dtype=np.float64)
        inner = np.flatnonzero(left >= 0)
        if not len(values) == len(left) == len(right) == len(split) > 0:
            raise ValueError(f"tree {number} has parts of several lengths")
        if not all((side[inner] > inner).all() and (side < len(values)).all() for side in (left, right)):
            raise ValueError(f"tree {number} does not end")
        if not ((split[inner] >= 0) & (split[inner] < features)).all():
            raise ValueError(f"tree {number} reads a feature that is not there")
        if not (np.abs(values) <= np.finfo(np.float32).max).all():
            raise ValueError(f"tree {number} holds a value that is not a finite number")
