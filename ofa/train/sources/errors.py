"""What can be wrong with images to train on or test with, said once; every message names the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ofa.errors import FileInvalid, UsageInvalid


def no_images_at(path: Path, split: str, looked_for: Sequence[str]) -> FileInvalid:
    """Say that a path holds no images of a split that we know to read."""
    there = f"looked for {', '.join(looked_for)}" if path.is_dir() else "it is neither a folder nor an .npz file"
    held_back = "put them there as one of these, or test on images held back from training (--split holdout)"
    one_of = ", ".join(looked_for)
    return FileInvalid(
        f"'{path}' holds no {split} images",
        why=there if path.exists() else "there is no such file or folder",
        hint=held_back
        if path.is_dir() and split == "test"
        else f"name an .npz file of training images, or a folder that holds one of these: {one_of}",
    )


def images_unsorted(path: Path, split: str, count: int, name: str) -> FileInvalid:
    """Say that images lie directly in a folder, where nothing says of which class they are."""
    return FileInvalid(
        f"'{path}' holds no {split} images that have a class",
        why=f"an image is labelled by the folder it is in, and {count:,} lie directly in this one",
        hint=f"sort them into '{path}/{name}/<class>/<image>'",
    )


def split_unnamed(path: Path, split: str, classes: Sequence[str], names: Mapping[str, str]) -> FileInvalid:
    """Say that class folders lie where folders of splits are looked for; ``names`` has the folder of each split."""
    listed = ", ".join(f"'{one}'" for one in classes[:3]) + (", …" if len(classes) > 3 else "")
    return FileInvalid(
        f"'{path}' holds no {split} images in a folder named '{names[split]}'",
        why=f"it holds folders of images ({listed}), and nothing says which are to train and which to test with",
        hint=(
            f"move them into '{path}/{names['train']}': '{path}/{names['train']}/{classes[0]}/<image>'",
            f"and a fifth of each class into '{path}/{names['test']}': docs/training.md has the lines that do both",
        ),
    )


def split_itself(path: Path, split: str) -> FileInvalid:
    """Say that the folder of one split was given in place of the one that holds it."""
    above = path.parent
    return FileInvalid(
        f"'{path}' holds no {split} images in a folder of their own",
        why="it holds the classes of one split; others lie beside it",
        hint=f"name the folder above it: --data {above if above.name else above.resolve()}",
    )


def only_training_images(path: Path) -> UsageInvalid:
    """Say that test images were asked of a single file."""
    return UsageInvalid(
        f"'{path}' is one file, and so holds training images only",
        hint="name a folder that holds train.npz and test.npz",
    )


def arrays_broken(path: Path | None, why: str) -> FileInvalid:
    """Say that arrays of images cannot be used; ``path`` is None for arrays that are in no file."""
    return FileInvalid(
        f"images '{path}' cannot be used" if path else "these arrays of images cannot be used",
        why=why,
        hint="it takes images uint8[n, h, w] or [n, h, w, c], labels [n] from 0 on, and may have names classes [k]",
    )


def class_empty(path: Path | None, name: str) -> FileInvalid:
    """Say that a class has no image."""
    return FileInvalid(
        f"class '{name}' has no image" + (f" in '{path}'" if path else ""),
        why="a network cannot learn or be tested on a class it is never shown",
        hint="add images of it, or take the class out",
    )


def no_class_folders(root: Path) -> FileInvalid:
    """Say that a folder has no folders in it."""
    return FileInvalid(
        f"'{root}' holds no class folders",
        why="an image is labelled by the folder it is in",
        hint="put the images of each class into a folder of its own: <class>/<image>",
    )


def class_unnamed(root: Path, name: str) -> FileInvalid:
    """Say that a class folder's name is no text."""
    return FileInvalid(
        f"a class folder in '{root}' has a name that is no text", why=f"it is '{name}'", hint="rename it in UTF-8"
    )


def folder_unreadable(folder: Path, fault: OSError) -> FileInvalid:
    """Say that a folder cannot be listed."""
    return FileInvalid(
        f"folder '{folder}' cannot be listed",
        why=fault.strerror or str(fault),
        hint="check the path and its permissions",
    )


def shard_broken(path: Path, member: str, why: str) -> FileInvalid:
    """Say what is wrong with a shard, at which of its members; none for the shard as a whole."""
    return FileInvalid(
        f"shard '{path}' cannot be used" + (f" from its member '{member}' on" if member else ""),
        why=why,
        hint="fetch or write it again, as a plain tar of <key>.jpg beside <key>.cls",
    )


def label_gap(path: Path, member: str, label: int, missing: int) -> FileInvalid:
    """Say that labels are not all of 0 to the highest, and where the highest is."""
    return FileInvalid(
        f"no image has the label {missing}, but labels go up to {label}",
        why=f"member '{member}' of shard '{path}' has that label",
        hint="number the classes from 0 on without gaps, and pass all shards",
    )


def image_broken(place: str, why: str) -> FileInvalid:
    """Say that one image cannot be read."""
    return FileInvalid(
        f"image '{place}' cannot be read",
        why=why,
        hint="mend or remove it, or add --skip-corrupt: it is then replaced by another of its class, and counted",
    )


def replaced(places: Sequence[str]) -> str:
    """Warn that unreadable images, each named once, were replaced by others."""
    told = "1 unreadable image was replaced by another" if len(places) == 1 else ""
    told = told or f"{len(places):,} unreadable images were replaced by others"
    return f"{told} of {'its' if len(places) == 1 else 'their'} class, first '{places[0]}'"


def none_readable(name: str, place: str) -> FileInvalid:
    """Say that a class has no image that could stand in for an unreadable one."""
    return FileInvalid(
        f"no image of class '{name}' can be read",
        why=f"'{place}' and all others of it are damaged or gone",
        hint="check where the images are kept, and whether they can be read at all",
    )


def other_classes(train: Sequence[str], test: Sequence[str]) -> FileInvalid:
    """Say that training and test images are not labelled alike, and what the first difference is."""
    only = {"training": sorted(set(train) - set(test)), "test": sorted(set(test) - set(train))}
    told = [f"'{names[0]}' is only among the {where} images" for where, names in only.items() if names]
    return FileInvalid(
        f"{len(train):,} classes of training images are not the {len(test):,} of test images",
        why="; ".join(told) or "they come in another order",
        hint="use the same classes, named alike and in the same order, for both",
    )


def other_channels(path: Path, found: int, wanted: int | None) -> UsageInvalid:
    """Say that arrays have other channels than the network takes."""
    return UsageInvalid(
        f"images '{path}' have {found} channels, not {wanted}",
        why="arrays are used as they are",
        hint="convert the array, or choose a space with its channels",
    )


def no_side() -> UsageInvalid:
    """Say that images of files were asked for in no size."""
    return UsageInvalid("images from files need a size", why="each has its own", hint="pass side_px")


def wrong_crops(count: int) -> UsageInvalid:
    """Say that crops are not what they must be."""
    return UsageInvalid(
        f"crops do not fit {count:,} images",
        why="a crop is (top, left, height, width) in fractions of its image, one for each image, and lies inside it",
        hint="keep 0 <= top, 0 < height and top + height <= 1, and likewise from left to right",
    )
