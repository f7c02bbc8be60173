"""What can be wrong with weights, files and runtimes, said once."""

from __future__ import annotations

from collections.abc import Iterable

from ofa.errors import (
    FileInvalid,
    MeasurementRefused,
    PackageMissing,
    SpaceMismatch,
    UsageInvalid,
    VerificationFailed,
)


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


def format_unknown(name: str, known: Iterable[str]) -> UsageInvalid:
    """Say that no file format has this name."""
    return UsageInvalid(f"there is no format '{name}'", hint=f"one of: {', '.join(known)}")


def precision_unknown(name: str, known: Iterable[str]) -> UsageInvalid:
    """Say that no precision has this name."""
    return UsageInvalid(f"there is no precision '{name}'", hint=f"one of: {', '.join(known)}")


def precision_unsupported(precision: str, format: str, known: Iterable[str]) -> UsageInvalid:
    """Say that a file format is not written in this precision."""
    return UsageInvalid(
        f"'{format}' files are not written in {precision}",
        why="there is no writer for it",
        hint=f"take one of: {', '.join(known)}; or export in fp32",
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


def calibration_missing() -> UsageInvalid:
    """Say that an int8 file needs images."""
    return UsageInvalid(
        "an int8 file cannot be made without calibration images",
        why="the range of every map is taken from what the network computes on them",
        hint="give some hundred images of the training set, prepared as for the network",
    )


def calibration_misshapen(*, expected: object, found: object) -> UsageInvalid:
    """Say that calibration images are not what the network takes."""
    return UsageInvalid(
        f"the calibration images are an array of shape {found}",
        why=f"this network takes float32 arrays of shape {expected}: images, channels, height, width",
        hint="resize the images to the subnet's resolution",
    )


def calibration_not_finite() -> UsageInvalid:
    """Say that a calibration image holds infinity or what is no number."""
    return UsageInvalid(
        "the calibration images are not finite",
        why="a range that ends at infinity has no integers",
        hint="check how the images were prepared",
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


def agreement_broken(path: object, runtime: str, *, cosine: float, least: float, images: int) -> VerificationFailed:
    """Say that an int8 file computes something else altogether than the network it was made from."""
    return VerificationFailed(
        f"'{path}' was not written: in '{runtime}' its int8 logits are not those of the network",
        why=f"over {images} calibration images the cosine between both is {cosine:.3f}; {least} is the least allowed",
        hint=(
            "calibrate with images of the training set, prepared as for the network, some hundred of them",
            "export in fp32",
        ),
    )


def quantizer_broken(version: str, fault: BaseException) -> PackageMissing:
    """Say that onnxruntime's quantizer does not work with what is installed beside it."""
    return PackageMissing(
        f"the quantizer of onnxruntime {version} does not work here",
        why=f"{type(fault).__name__}: {' '.join(str(fault).split())[:300]}",
        hint=(
            "install a newer onnxruntime where files are written; where they run an old one will do",
            "write TFLite: its int8 files need no quantizer",
        ),
    )


def runtime_unknown(name: str, known: Iterable[str]) -> UsageInvalid:
    """Say that no runtime has this name."""
    return UsageInvalid(f"there is no runtime '{name}'", hint=f"one of: {', '.join(known)}")


def opset_too_old(opset: int, *, oldest: int) -> MeasurementRefused:
    """Say that a runtime reads no ONNX file as new as those that are written."""
    return MeasurementRefused(
        f"a runtime that reads ONNX only up to opset {opset} cannot be measured",
        why=f"the files need opset {oldest} at least",
        hint="install onnxruntime 1.0 or newer on the device",
    )


def opset_too_old_for_int8(opset: int, *, oldest: int) -> MeasurementRefused:
    """Say that a runtime reads no ONNX file as new as those that are written in int8."""
    return MeasurementRefused(
        f"a runtime that reads ONNX only up to opset {opset} cannot be measured in int8",
        why=f"int8 files need opset {oldest} at least",
        hint=("install onnxruntime 1.6 or newer on the device", "measure in fp32"),
    )


def network_of_another(subnet: str, space: str) -> SpaceMismatch:
    """Say that a network was made of other layers than those of the subnet to export."""
    return SpaceMismatch(
        f"the network given is not subnet '{subnet}' of '{space}'",
        why="it has other layers, or was extracted at another resolution",
        hint="extract and calibrate the subnet that is exported",
    )
