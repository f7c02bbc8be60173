"""The tour as a script: from a search space to a report page, in cells that an editor opens as a notebook.

Run it whole with ``python docs/tour.py FOLDER``, or cell by cell in an editor that knows ``# %%``. Everything it writes
is in FOLDER, or in a new temporary folder. It needs the extras ``search`` and ``report``, no device and no torch.
"""

# %% [markdown]
# # From a search space to the best network for a device
#
# The device here does not exist: `simulated-phone` runs our agent, and its clock, caches and heat are a program. All
# that comes from it says `simulated`. `ofa bench`, `ofa twins fit`, `ofa search`, `ofa estimate`, `ofa verify` and
# `ofa report` do the same on a command line, with real devices.

# %%
import os
import sys
import tempfile
from pathlib import Path

given = sys.argv[1:] if len(sys.argv) == 2 and not sys.argv[1].startswith("-") else []
FOLDER = Path(given[0]) if given else Path(tempfile.mkdtemp(prefix="ofa-tour-"))
RUN = FOLDER / "run"
os.environ["OFA_CACHE"] = str(FOLDER / "cache")  # what can be made again stays here, too

import numpy as np

import ofa.space as spaces
from harness import report
from harness.appraise import appraise
from harness.bench import Scope, bench
from harness.inventory import simulated
from ofa import estimate, files, twins
from ofa.search import kept
from ofa.search.answer import How, best, kept_of_best
from ofa.search.request import Target, request
from ofa.space.facts import macs, params
from ofa.twins import tables

# %% [markdown]
# ## A search space
#
# What may vary, declared once: resolution, and in each stage how many blocks there are, with which kernels and how
# wide inside. A network of it is a genome, one byte for each thing that varies.

# %%
space = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
# A corner is at the largest resolution unless told: the least work is at the smallest one.
smallest, largest = space.corner("min", min(space.resolutions)), space.corner("max")
print(f"{space.id}: {len(space.genes)} things vary; from {macs(smallest):,} to {macs(largest):,} MACs")

# %% [markdown]
# ## A device's table
#
# Every op of the space is timed alone, twice over in fresh processes and in a new order, hot and cold; a few whole
# networks are timed beside them: some to calibrate on, some held out to see how far off the table is.

# %%
device = simulated(FOLDER / "device", own_process=False)
scope = Scope(rounds=2, rounds_most=2, seed=0, fit=20, holdout=12, memory=False)
lut = bench(space, device=device, runtime="simulated", folder=RUN, scope=scope)
print(
    f"{lut.name} ({'simulated' if lut.simulated else 'measured'}): {len(lut.rows)} rows, {len(lut.networks)} networks"
)

# %% [markdown]
# ## Reading it
#
# The table says of the largest network which of its ops cost most. Their sum is no measured network: what a device
# does between ops, and what it keeps in its caches, is in none of them.

# %%
rows = estimate.explain(lut, largest)
for row in sorted(rows, key=lambda row: -row["ms"])[:3]:
    print(f"  {row['key']}: {row['ms']:.3f} ms, {row['share_pct']:.0f} %")
print(f"  sum of {len(rows)} rows: {sum(row['ms'] for row in rows):.3f} ms (simulated)")

# %% [markdown]
# ## A latency twin
#
# It learns from the networks how the rows add up. The held-out ones, which it never saw, say how far off it is.

# %%
latency = tables.fit(space, lut)
held_out = [row for row in lut.networks if row.split == "holdout" and row.ns]
genomes = np.array([list(bytes.fromhex(row.genome)) for row in held_out], dtype=np.uint8)
measured_ms = np.array([(row.ns or 0) / 1e6 for row in held_out])
off = 100 * np.abs(latency.predict(genomes) / measured_ms - 1)
print(f"latency twin: {latency.card['chosen']}, off by {off.mean():.1f} % on {len(off)} networks held out (simulated)")
latency.save(RUN / "twin")

# %% [markdown]
# ## An accuracy twin
#
# Nothing is trained here, so that the accuracies are made up, by a formula that has the shape of real ones: 60 % for
# the smallest network, 12 points for each factor of ten in MACs, 0.5 points for each block, and noise of 0.3 points.
# With a trained supernet, `ofa label` measures them.

# %%
rng = np.random.default_rng(0)
labelled = spaces.sample.random(space, 60, rng)
subnets = [space.subnet(genome) for genome in labelled]
work = np.array([macs(subnet) / macs(smallest) for subnet in subnets])
blocks = np.array([sum(subnet.depths) - sum(smallest.depths) for subnet in subnets])
top1 = 60 + 12 * np.log10(work) + 0.5 * blocks + rng.normal(0, 0.3, len(subnets))
accuracy = twins.fit_accuracy(space, labelled, top1)
accuracy.card["simulated"] = True
accuracy.save(RUN / "twins" / "accuracy")
low, high = accuracy.interval(labelled, 0.9)
half = (high - low).mean() / 2
print(f"accuracy twin: {accuracy.card['chosen']}, 90 % interval ±{half:.2f} points on average (made-up accuracies)")

# %% [markdown]
# ## A search under two limits
#
# At most so many milliseconds on that device, and at most so many parameters: halfway between the smallest and the
# largest network each. What is asked, its inputs and the answer are kept in the folder, by hash.

# %%
ends_ms = latency.predict(np.stack([smallest.array, largest.array]))
most_ms, most_params = float(ends_ms.mean().round(2)), (params(smallest) + params(largest)) // 2
phone = Target(name="phone", paths=(RUN / "lut",), at_most_ms=most_ms)
limits = {"parameters": float(most_params)}
predictor = str(RUN / "twins" / "accuracy")
asked = request(space, predictor, [phone], limits, warn=print)
how = How(seed=0)
found = best(asked, how)
print(
    f"under {most_ms} ms and {most_params:,} parameters: {found.best.subnet.id}, predicted {found.best.accuracy:.2f} %"
)
if found.upper_bound is not None:
    print(f"no network within both is predicted above {found.upper_bound:.2f} % ({found.bound_reason})")

kept.keep(RUN, space, predictor, [phone], limits, how)
kept.write(RUN, kept_of_best(asked, found, how))

# %% [markdown]
# ## Why this one
#
# What it holds, where its time goes, and what it costs against its limits.

# %%
chosen = found.best.subnet
print(f"resolution {chosen.resolution}, depths {chosen.depths}")
for name, value in found.best.values.items():
    print(f"  {name}: {value:,.6g}")
for row in sorted(estimate.explain(lut, chosen), key=lambda row: -row["ms"])[:3]:
    print(f"  {row['key']}: {row['ms']:.3f} ms, {row['share_pct']:.0f} % (simulated)")

# %% [markdown]
# ## Was that right?
#
# The chosen network as one file, run whole on the device, beside what the search's twin and the table say of it.

# %%
seen = appraise([], subnets=[chosen], device=device, runtime="simulated", folder=RUN, lut=lut, rounds=3)
files.write_atomic(RUN / "verify.json", files.readable_json(seen.facts()))
(verdict,) = seen.found.verdicts
said = f"the twin says {found.best.values['latency']:.3f} ms, the table's calibrated sum {verdict.predicted_ms:.3f} ms"
print(f"{said}; measured: {verdict.measured_ms:.3f} ms (simulated)")

# %% [markdown]
# ## The page
#
# One file with every figure, its data, and the files that each number comes from.

# %%
print(f"open {report.write(RUN)}")
