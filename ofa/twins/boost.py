"""Boosted trees on what an additive model leaves over: small, seeded, single-threaded unless told otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from ofa.errors import FileInvalid

Vector = NDArray[np.float64]


def fit(matrix: Vector, residuals: Vector, *, seed: int, threads: int = 1) -> xgboost.Booster:
    """Fit trees to residuals float64[n] from features float64[n, F]; equal inputs give equal bytes."""
    many = len(residuals) >= 3000
    settings: dict[str, Any] = {
        "objective": "reg:squarederror",
        "base_score": 0.0,
        "max_depth": 4 if many else 3,
        "eta": 0.04,
        "subsample": 0.8,
        "colsample_bytree": 0.4,
        "min_child_weight": 4,
        "lambda": 5.0,
        "tree_method": "hist",
        "nthread": threads,
        "seed": seed,
        "verbosity": 0,
    }
    data = xgboost.DMatrix(matrix.astype(np.float32), label=residuals, nthread=threads)
    return xgboost.train(settings, data, num_boost_round=600 if many else 300)


def predict(booster: xgboost.Booster, matrix: Vector) -> Vector:
    """Return float64[n] for features float64[n, F]."""
    return np.asarray(booster.inplace_predict(matrix.astype(np.float32)), dtype=np.float64)


def to_bytes(booster: xgboost.Booster) -> bytes:
    """Return the trees as xgboost's JSON."""
    return bytes(booster.save_raw("json"))


def from_bytes(data: bytes, *, columns: int, what: str) -> xgboost.Booster:
    """Load trees from xgboost's JSON; raise FileInvalid where it is not that, or reads another number of features."""
    booster = xgboost.Booster({"nthread": 1})
    try:
        booster.load_model(bytearray(data))
        found = int(booster.num_features())
    except (xgboost.core.XGBoostError, ValueError) as fault:
        reason = str(fault).splitlines()[0]
        raise FileInvalid(f"{what} is not a tree model", why=reason, hint="fit the twin again") from fault
    if found != columns:
        raise FileInvalid(
            f"{what} reads {found} features", why=f"this space gives {columns}", hint="fit the twin again on this space"
        )
    return booster
