"""Accuracy twins on published measured accuracies, beside a ridge, a ridge + xgboost, and xgboost on the same splits.

Needs published accuracies (`--data FOLDER` with `accuracy/`). Every set is cut at random into n networks to fit to and
the others to score on, `--splits` times; "all" is five-fold cross-validation. Baselines have fixed settings and are
fitted again here; the twin is told nothing about the set it meets.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray
from record import record
from twins_data import Labelled, Vector, accuracies

from ofa import score
from ofa.twins import accuracy, features, samples

COUNTS = (100, 500)
TWIN = "twin"
# Scores of which more is better; of the others less is.
MORE_IS_BETTER = ("spearman", "kendall", "within_resolution")


def main() -> None:
    """Fit and score every model on every split of every set, and write the means beside what is promised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with `accuracy`")
    parser.add_argument("--splits", type=int, default=20, help="random splits for each n")
    options = parser.parse_args()
    began = time.process_time()
    found: dict[str, Any] = {}
    for name, labelled in accuracies(options.data).items():
        for count, cuts in splits(len(labelled.top1), options.splits):
            found[f"{name}, n = {count}"] = compared(labelled, cuts)
    result = {
        "promises": promises(found),
        "splits": options.splits,
        "cpu_s": round(time.process_time() - began),
        **found,
    }
    what = "accuracy twins on measured accuracies: means over paired splits, percent points where not a correlation"
    record("twins_accuracy", what, result, f"--data FOLDER --splits {options.splits}")


def splits(total: int, times: int) -> Iterator[tuple[str, list[NDArray[np.bool_]]]]:
    """Yield each n with masks of the networks to fit to."""
    for count in COUNTS:
        if count >= total:
            continue
        masks = []
        for seed in range(times):
            mask = np.zeros(total, dtype=np.bool_)
            mask[np.random.default_rng(seed).permutation(total)[:count]] = True
            masks.append(mask)
        yield str(count), masks
    fold = np.random.default_rng(0).permutation(np.arange(total) % 5)
    yield "all", [fold != part for part in range(5)]


def compared(labelled: Labelled, cuts: list[NDArray[np.bool_]]) -> dict[str, Any]:
    """Return mean scores by model, the twin's coverage and choices, and how it stands to the best baseline."""
    by_model: dict[str, list[dict[str, float]]] = defaultdict(list)
    chosen: dict[str, int] = defaultdict(int)
    covered, widths, cpu_s = [], [], []
    space, genomes, top1 = labelled
    for number, seen in enumerate(cuts):
        began = time.process_time()
        twin = accuracy.fit(space, genomes[seen], top1[seen], seed=number)
        cpu_s.append(time.process_time() - began)
        chosen[twin.card["chosen"]] += 1
        low, high = twin.interval(genomes[~seen])
        covered.append(score.coverage(top1[~seen], low, high))
        widths.append(float((high - low).mean() / 2))
        predictions = {TWIN: twin.predict(genomes[~seen])} | baselines(labelled, seen, number)
        for model, predicted in predictions.items():
            by_model[model].append(scores(labelled, ~seen, predicted))
    means = {model: mean(entries) for model, entries in by_model.items()}
    return {
        **means,
        "against_best": against_best(by_model),
        "chosen": dict(chosen),
        "coverage_of_90_pct": round(float(np.mean(covered)), 3),
        "half_width_points": round(float(np.mean(widths)), 3),
        "fit_cpu_s": round(float(np.mean(cpu_s)), 2),
    }


def baselines(labelled: Labelled, seen: NDArray[np.bool_], seed: int) -> dict[str, Vector]:
    """Return what three single models predict for the networks not seen, each with fixed settings."""
    from sklearn.linear_model import RidgeCV

    space, genomes, top1 = labelled
    sums, hot = features.stage_sums(space, genomes).matrix, features.one_hot(space, genomes)
    design = np.concatenate([hot, sums], axis=1)
    design = (design - design[seen].mean(axis=0)) / np.maximum(design[seen].std(axis=0), 1e-9)
    design[:, design[seen].std(axis=0) < 0.5] = 0.0
    ridge = RidgeCV(alphas=np.geomspace(0.1, 1e4, 26)).fit(design[seen], top1[seen])
    linear = ridge.predict(design)
    genes = features.choice_values(space, genomes)
    left = xgboosted(genes[seen], top1[seen] - linear[seen], rounds=200, eta=0.03, seed=seed)
    plain = xgboosted(genes[seen], top1[seen], rounds=300, eta=0.05, seed=seed)
    return {
        "ridge": linear[~seen],
        "ridge + xgboost residual": linear[~seen] + left.inplace_predict(genes[~seen]),
        "xgboost": plain.inplace_predict(genes[~seen]),
    }


def xgboosted(matrix: Vector, target: Vector, *, rounds: int, eta: float, seed: int) -> xgboost.Booster:
    """Fit xgboost as it comes, but for the size of its trees and steps."""
    settings = {"max_depth": 4, "eta": eta, "subsample": 0.8, "colsample_bytree": 0.8, "seed": seed, "nthread": 1}
    return xgboost.train(settings, xgboost.DMatrix(matrix, label=target, nthread=1), num_boost_round=rounds)


def scores(labelled: Labelled, unseen: NDArray[np.bool_], predicted: Vector) -> dict[str, float]:
    """Return the scores of one model on one split."""
    sizes = features.resolutions(labelled.space, labelled.genomes)
    actual = labelled.top1[unseen]
    found = samples.rank_scores(predicted, actual, None if sizes is None else sizes[unseen])
    top = np.argsort(-predicted, kind="stable")[: len(predicted) // 5]
    return {
        "spearman": found["spearman"] or 0.0,
        "kendall": found["kendall"] or 0.0,
        "within_resolution": (found["spearman"] if sizes is None else found["spearman_within_resolution"]) or 0.0,
        "rmse_points": score.rmse(predicted, actual),
        "top_fifth_spearman": score.spearman(predicted[top], actual[top]),
        "top_fifth_rmse_points": score.rmse(predicted[top], actual[top]),
    }


def mean(entries: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each score."""
    return {name: round(float(np.mean([entry[name] for entry in entries])), 4) for name in entries[0]}


def against_best(by_model: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Return, by score, the best baseline, by how much the twin is better, and the standard error of that (paired)."""
    found = {}
    for name in ("spearman", "kendall", "within_resolution", "rmse_points"):
        sign = 1.0 if name in MORE_IS_BETTER else -1.0
        values = {model: sign * np.array([entry[name] for entry in entries]) for model, entries in by_model.items()}
        own = values.pop(TWIN)
        best = max(values, key=lambda model: float(values[model].mean()))
        gain = own - values[best]
        found[name] = {
            "best": best,
            "gain": round(float(gain.mean()), 4),
            "standard_error": round(float(gain.std(ddof=1) / np.sqrt(len(gain))), 4),
        }
    return found


def promises(found: dict[str, Any]) -> dict[str, Any]:
    """Return what has a limit, and whether it was kept."""
    behind = {
        f"{row}, {name}": entry["gain"]
        for row, each in found.items()
        for name, entry in each["against_best"].items()
        if entry["gain"] < -entry["standard_error"]
    }
    floors = {
        ("OFA ImageNet", "100"): 0.980,
        ("OFA ImageNet", "500"): 0.986,
        ("NAS-Bench-Macro", "100"): 0.970,
        ("NAS-Bench-Macro", "500"): 0.990,
    }
    kept: dict[str, Any] = {
        f"{name}, n = {count}: Spearman": {
            "value": (value := found[f"{name}, n = {count}"][TWIN]["spearman"]),
            "floor": floor,
            "kept": value >= floor,
        }
        for (name, count), floor in floors.items()
    }
    shares = {row: each["coverage_of_90_pct"] for row, each in found.items()}
    outside = {row: share for row, share in shares.items() if not 0.86 <= share <= 0.94}
    return {
        **kept,
        "behind the best baseline by more than a standard error": behind,
        "coverage": {"least": min(shares.values()), "most": max(shares.values()), "outside_86_to_94": outside},
    }


if __name__ == "__main__":
    main()
