"""What may vary: frozen search spaces, their genes, and genomes as canonical ``uint8`` arrays.

A genome is one row of ``uint8[n, G]``. Gene value 0 means "not in use" (a gene of a block that the depth leaves out);
value ``v >= 1`` picks ``gene.choices[v - 1]``. A genome is canonical when exactly the genes not in use are 0, so equal
networks are equal rows.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ofa.space import errors

Genomes = NDArray[np.uint8]
Family = Literal["mbconv", "bottleneck"]


def make_divisible(value: float, divisor: int = 8) -> int:
    """Round channels to the nearest multiple of ``divisor``, never below 90 % of ``value`` (MobileNetV2 convention)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


@dataclass(frozen=True, slots=True, kw_only=True)
class Stem:
    """First convolution(s) and what is measured with them.

    An ``mbconv`` stem is one strided convolution (``mid_channels``, ``act``) and the static block 0 (``block_act``); a
    ``bottleneck`` stem is the deep stem of ResNet-D, whose residual convolution may be skipped, and its max pool.
    """

    mid_channels: tuple[int, ...]
    out_channels: tuple[int, ...]
    act: str
    block_act: str
    stride: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A run of blocks of one output width; the first block carries the stride."""

    out_channels: tuple[int, ...]
    depths: tuple[int, ...]
    stride: int
    kernels: tuple[int, ...]
    expands: tuple[float, ...]
    act: str
    se: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Everything after the last block: final expansion, global pool, feature mix, classifier."""

    expand_channels: int | None
    mix_channels: int | None
    act: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gene:
    """One thing that varies. ``stage`` and ``block`` say which block owns it; ``block`` is None for a whole stage."""

    name: str
    choices: tuple[float, ...]
    stage: int | None = None
    block: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpace:
    """A family of networks declared once, as data.

    ``width`` is the width multiplier of the declaration; channel counts here are final. ``genes`` is derived.
    """

    name: str
    family: Family
    width: float
    channels: int
    classes: int
    resolutions: tuple[int, ...]
    stem: Stem
    stages: tuple[Stage, ...]
    head: Head
    genes: tuple[Gene, ...] = field(init=False, compare=False)
    _at: dict[str, int] = field(init=False, compare=False, repr=False)
    _block_genes: Any = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Derive the genes from the declaration."""
        genes = tuple(_genes_of(self))
        at = {gene.name: index for index, gene in enumerate(genes)}
        owned = [
            (index, at[f"s{gene.stage}.depth"], gene.block)
            for index, gene in enumerate(genes)
            if gene.block is not None
        ]
        object.__setattr__(self, "genes", genes)
        object.__setattr__(self, "_at", at)
        object.__setattr__(self, "_block_genes", np.array(owned, dtype=np.int64).T)

    def __hash__(self) -> int:
        """Hash by identity text, so that a space can key a cache."""
        return hash(self.id)

    @property
    def id(self) -> str:
        """Text that names this space everywhere: name, width, and channels and classes where not ImageNet's."""
        channels = "" if self.channels == 3 else f"-c{self.channels}"
        classes = "" if self.classes == 1000 else f"-n{self.classes}"
        return f"{self.name}-w{self.width:.1f}{channels}{classes}"

    def at(self, gene_name: str) -> int:
        """Return the column of a gene in a genome; KeyError where the space has no such gene."""
        return self._at[gene_name]

    def has(self, gene_name: str) -> bool:
        """Say whether the space has a gene of this name."""
        return gene_name in self._at

    @property
    def cardinalities(self) -> NDArray[np.int64]:
        """Return the number of choices of each gene, int64[G]."""
        return np.array([len(gene.choices) for gene in self.genes], dtype=np.int64)

    def active(self, genomes: Genomes) -> NDArray[np.bool_]:
        """Return bool[n, G]: which genes are in use, by the depth genes alone."""
        mask = np.ones(genomes.shape, dtype=np.bool_)
        columns, depth_columns, blocks = self._block_genes
        longest = int(self.cardinalities[depth_columns].max()) + 1
        depths = np.zeros((len(self.genes), longest), dtype=np.int64)
        for column in np.unique(depth_columns):
            choices = self.genes[column].choices
            depths[column, 1 : len(choices) + 1] = choices
        depth_values = np.minimum(genomes[:, depth_columns], longest - 1)
        mask[:, columns] = depths[depth_columns, depth_values] > blocks
        return mask

    def canonical(self, genomes: Genomes) -> Genomes:
        """Return the genomes uint8[n, G] with every gene that is not in use set to 0."""
        return np.where(self.active(genomes), genomes, 0).astype(np.uint8)

    def check(self, genomes: Genomes) -> None:
        """Raise SpaceMismatch unless ``genomes`` is a canonical uint8[n, G] array of this space."""
        if genomes.ndim != 2 or genomes.shape[1] != len(self.genes) or genomes.dtype != np.uint8:
            raise errors.genomes_misshapen(self.id, shape=genomes.shape, kind=genomes.dtype, genes=len(self.genes))
        wrong = (genomes > self.cardinalities) | ((genomes > 0) != self.active(genomes))
        if wrong.any():
            row, column = (int(v) for v in np.argwhere(wrong)[0])
            raise errors.genome_not_canonical(
                self.id, row, gene=self.genes[column].name, value=int(genomes[row, column])
            )

    def subnet(self, genome: Any) -> Subnet:
        """Return the subnet of one genome (uint8[G], its bytes, or any sequence of G small integers)."""
        given = np.asarray(list(genome) if isinstance(genome, bytes) else genome).reshape(1, -1)
        row = given.astype(np.uint8) if given.dtype.kind in "iu" else given
        # Compared, because a cast wraps: 257 would become 1, a valid value of another network.
        self.check(row if np.array_equal(row, given) else given)
        return Subnet(space=self, genome=tuple(int(v) for v in row[0]))

    def corners(self) -> tuple[str, ...]:
        """Return the names of the corner subnets: ``max``, ``min`` and, in mbconv spaces, the mixed ones."""
        if self.family == "bottleneck":
            return ("max", "min")
        kernels = sorted({kernel for stage in self.stages for kernel in stage.kernels})
        expands = sorted({expand for stage in self.stages for expand in stage.expands})
        depths = sorted({depth for stage in self.stages for depth in stage.depths})
        depth_min = max(min(stage.depths) for stage in self.stages)
        mixed = ((0, -1, depths[-1]), (-1, 0, depths[-1]), (-1, -1, depth_min))
        return ("max", "min", *(f"k{kernels[k]}e{expands[e]:g}d{d}" for k, e, d in mixed))

    def corner(self, name: str, resolution: int | None = None) -> Subnet:
        """Return a corner subnet: ``max``, ``min`` or ``k<kernel>e<expand>d<depth>``, at the largest resolution.

        A depth beyond a stage's choices is clipped to them, as in the reference (ProxylessNAS's last stage).
        """
        if name not in self.corners():
            raise errors.corner_unknown(self.id, name, self.corners())
        genome = np.zeros(len(self.genes), dtype=np.uint8)
        wanted = _corner_values(name)
        for column, gene in enumerate(self.genes):
            kind = gene.name.rsplit(".", 1)[-1]
            pick = wanted.get(kind, wanted["other"])
            genome[column] = _closest(gene.choices, pick)
        target = max(self.resolutions) if resolution is None else resolution
        genome[self.at("resolution")] = _closest(self.genes[0].choices, target)
        return self.subnet(self.canonical(genome[None])[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """One network of a space."""

    space: SearchSpace
    genome: tuple[int, ...]

    def __repr__(self) -> str:
        """Return which network of which space it is; the whole space would be thousands of characters."""
        return f"<Subnet {self.id} of {self.space.id} at {self.resolution} px>"

    @property
    def array(self) -> Genomes:
        """Return the genome as uint8[G]."""
        return np.array(self.genome, dtype=np.uint8)

    @property
    def id(self) -> str:
        """Return 12 hex digits that name this subnet: SHA-256 over the space's id and the genome."""
        return hashlib.sha256(self.space.id.encode() + b"\0" + bytes(self.genome)).hexdigest()[:12]

    def choice(self, gene_name: str) -> float | None:
        """Return what a gene picks, or None where it is not in use."""
        value = self.genome[self.space.at(gene_name)]
        return self.space.genes[self.space.at(gene_name)].choices[value - 1] if value else None

    def _integer(self, gene_name: str, fixed: tuple[int, ...]) -> int:
        return int(self.choice(gene_name) or 0) if self.space.has(gene_name) else fixed[0]

    @property
    def resolution(self) -> int:
        """Return the input height and width, px."""
        return self._integer("resolution", self.space.resolutions)

    @property
    def depths(self) -> tuple[int, ...]:
        """Return the number of blocks of each stage."""
        return tuple(self._integer(f"s{s}.depth", stage.depths) for s, stage in enumerate(self.space.stages, 1))

    @property
    def widths(self) -> tuple[int, ...]:
        """Return the output channels of each stage."""
        return tuple(self._integer(f"s{s}.width", stage.out_channels) for s, stage in enumerate(self.space.stages, 1))

    @property
    def kernels(self) -> tuple[tuple[int, ...], ...]:
        """Return the depthwise kernel of each active block, by stage."""
        return tuple(
            tuple(self._integer(f"s{s}.b{b}.kernel", stage.kernels) for b in range(1, depth + 1))
            for s, (stage, depth) in enumerate(zip(self.space.stages, self.depths, strict=True), 1)
        )

    @property
    def expands(self) -> tuple[tuple[float, ...], ...]:
        """Return the expand ratio of each active block, by stage."""
        return tuple(
            tuple(float(self.choice(f"s{s}.b{b}.expand") or 0) for b in range(1, depth + 1))
            for s, depth in enumerate(self.depths, 1)
        )

    @property
    def stem_widths(self) -> tuple[int, int]:
        """Return the stem's inner and output channels."""
        stem = self.space.stem
        return self._integer("stem.mid", stem.mid_channels), self._integer("stem.out", stem.out_channels)

    @property
    def stem_residual(self) -> bool:
        """Say whether the deep stem's residual convolution runs (False where the space has none)."""
        return bool(self.choice("stem.residual")) if self.space.has("stem.residual") else False

    def to_json(self) -> dict[str, Any]:
        """Return the subnet as JSON: only what is in use, by stage; ``from_json`` inverts it."""
        expands = [[int(e) if e == int(e) else e for e in stage] for stage in self.expands]
        facts: dict[str, Any] = {
            "space": self.space.id,
            "resolution": self.resolution,
            "depths": list(self.depths),
            "expands": expands,
        }
        if self.space.family == "mbconv":
            return facts | {"kernels": [list(stage) for stage in self.kernels]}
        mid, out = self.stem_widths
        return facts | {"widths": list(self.widths), "stem": {"mid": mid, "out": out, "residual": self.stem_residual}}


def from_json(space: SearchSpace, facts: Any) -> Subnet:
    """Return the subnet that ``Subnet.to_json`` wrote; raise SpaceMismatch naming the first value that does not fit."""
    see = f"see 'ofa space sample {space.name} --json'"
    if not isinstance(facts, dict) or facts.get("space") != space.id:
        raise errors.subnet_of_another(space.id, facts)
    known = {"id", *space.corner("max").to_json()}
    if unknown := sorted(set(facts) - known):
        raise errors.subnet_key_unknown(space.id, unknown[0], known, see)
    subnet = space.subnet(_genome_in(space, facts, see))
    for key, value in subnet.to_json().items():
        if facts.get(key) != value:
            raise errors.subnet_key_differs(space.id, key, depths=subnet.depths, value=value)
    if facts.get("id", subnet.id) != subnet.id:
        raise errors.subnet_id_differs(facts["id"], subnet.id)
    return subnet


def _genome_in(space: SearchSpace, facts: dict[str, Any], see: str) -> Genomes:
    """Return the genome a subnet's JSON holds, uint8[1, G]; raises SpaceMismatch for a value not offered or absent."""
    genome = np.zeros((1, len(space.genes)), dtype=np.uint8)
    for column, gene in enumerate(space.genes):
        value = _value_in(facts, gene)
        if value is _ABSENT:
            continue
        if (isinstance(value, bool) and gene.name != "stem.residual") or value not in gene.choices:
            raise errors.choice_not_offered(space.id, gene.name, value, gene.choices)
        genome[0, column] = gene.choices.index(value) + 1
    absent = space.active(genome)[0] & (genome[0] == 0)
    if absent.any():
        raise errors.choice_absent(space.id, space.genes[int(absent.argmax())].name, see)
    return space.canonical(genome)


_ABSENT = object()


def _value_in(facts: dict[str, Any], gene: Gene) -> Any:
    """Return what a subnet's JSON says of one gene, or _ABSENT."""
    key = gene.name.rsplit(".", 1)[-1]
    try:
        if gene.stage is None:
            return facts["resolution"] if key == "resolution" else facts["stem"][key]
        if gene.block is None:
            return facts[f"{key}s"][gene.stage - 1]
        return facts[f"{key}s"][gene.stage - 1][gene.block]
    except (KeyError, IndexError, TypeError):
        return _ABSENT


def _genes_of(space: SearchSpace) -> list[Gene]:
    """List the genes of a declaration: resolution, stem, then each stage with its blocks."""
    genes = [Gene(name="resolution", choices=space.resolutions)]
    if space.family == "bottleneck":
        genes.append(Gene(name="stem.residual", choices=(0, 1)))
        genes.append(Gene(name="stem.mid", choices=space.stem.mid_channels))
        genes.append(Gene(name="stem.out", choices=space.stem.out_channels))
    for number, stage in enumerate(space.stages, 1):
        genes.append(Gene(name=f"s{number}.depth", choices=stage.depths, stage=number))
        if len(stage.out_channels) > 1:
            genes.append(Gene(name=f"s{number}.width", choices=stage.out_channels, stage=number))
        for block in range(max(stage.depths)):
            place = f"s{number}.b{block + 1}"
            if len(stage.kernels) > 1:
                genes.append(Gene(name=f"{place}.kernel", choices=stage.kernels, stage=number, block=block))
            genes.append(Gene(name=f"{place}.expand", choices=stage.expands, stage=number, block=block))
    return genes


def _corner_values(name: str) -> dict[str, float]:
    """Return what a corner's name asks of each kind of gene."""
    if name in ("max", "min"):
        return {"other": float("inf") if name == "max" else float("-inf")}
    kernel, rest = name[1:].split("e")
    expand, depth = rest.split("d")
    return {"kernel": float(kernel), "expand": float(expand), "depth": float(depth), "other": float("inf")}


def _closest(choices: tuple[float, ...], wanted: float) -> int:
    """Return the gene value (from 1) whose choice is closest to ``wanted``."""
    clipped = min(max(wanted, min(choices)), max(choices))
    return 1 + min(range(len(choices)), key=lambda index: abs(choices[index] - clipped))
