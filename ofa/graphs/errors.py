"""What can be wrong with weights, files and runtimes, said once."""

from __future__ import annotations

from ofa.errors import FileInvalid, PackageMissing, SpaceMismatch, UsageInvalid, VerificationFailed


def ops_apart(before: str, after: str) -> SpaceMismatch:
    """Say that one op does not take what the op before it gives."""
    return SpaceMismatch(
        f"op '{after}' cannot follow op '{before}'",
        why="it takes another number of channels, or another size",
        hint="pass the ops of one subnet, in network order, all at one resolution",
    )


def weights_missing(op: str, *, expected: object, found: object) -> SpaceMismatch:
    """Say that the weights given for an op are those of other layers."""
    return SpaceMismatch(
        f"the weights given for op '{op}' are not its own",
        why=f"it needs weights for {expected}, and was given {found}",
        hint="fold the network that these ops were listed for",
    )


def weight_misshapen(op: str, layer: str, part: str, *, expected: object, found: object) -> SpaceMismatch:
    """Say that an array has the wrong shape for its layer."""
    return SpaceMismatch(
        f"the {part} of layer '{layer}' in op '{op}' has shape {found}",
        why=f"this layer takes {expected}",
        hint="fold the network that these ops were listed for",
    )


def weight_not_finite(op: str, layer: str, part: str) -> FileInvalid:
    """Say that an array holds infinity or what is no number."""
    return FileInvalid(
        f"the {part} of layer '{layer}' in op '{op}' is not finite",
        why="it holds infinity or not-a-number: training diverged, or a running variance is broken",
        hint="calibrate the subnet's batch norm again, or take an earlier checkpoint",
    )


def layer_unsupported(layer: str, form: str, why: str) -> UsageInvalid:
    """Say that a file format cannot hold a layer."""
    return UsageInvalid(
        f"layer '{layer}' cannot be written as {form}", why=why, hint="use a runtime that takes another file format"
    )


def model_invalid(name: str, runtime: str, fault: BaseException) -> FileInvalid:
    """Say that a runtime refuses a file."""
    return FileInvalid(
        f"model {name} cannot be loaded by '{runtime}'",
        why=" ".join(str(fault).split())[:300] or type(fault).__name__,
        hint="check that the file is whole and of the format this runtime takes",
    )


def runtime_broken(runtime: str, fault: BaseException, hint: str) -> PackageMissing:
    """Say that a runtime is installed and yet cannot construct an interpreter."""
    return PackageMissing(
        f"the runtime '{runtime}' is installed and does not work here",
        why=f"{type(fault).__name__}: {' '.join(str(fault).split())[:300]}",
        hint=hint,
    )


def input_misshapen(name: str, *, expected: object, found: object) -> UsageInvalid:
    """Say that a model was given arrays of another shape than it takes."""
    return UsageInvalid(
        f"model {name} was given an array of shape {found}",
        why=f"it takes float32 arrays of shape {expected}: batch, channels, height, width",
        hint="resize the images to the resolution the model was exported for",
    )


def parity_broken(path: object, runtime: str, *, parity: float, tolerance: float) -> VerificationFailed:
    """Say that an exported file computes something else than the network it was made from."""
    return VerificationFailed(
        f"'{path}' was not written: in '{runtime}' it does not compute what the network computes",
        why=f"the largest difference is {parity:.2e} of the largest logit; at most {tolerance:.0e} is allowed",
        hint=(
            "calibrate the subnet's batch norm again: a tiny running variance magnifies rounding",
            "report it with the subnet and the runtime's version if it persists",
        ),
    )
