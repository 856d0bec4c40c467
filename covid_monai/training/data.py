"""Decoded images kept for the next epoch."""

from collections.abc import Sequence
from pathlib import Path

from monai.data import CacheDataset, Dataset, PersistentDataset
from monai.transforms import Compose, EnsureTyped, NormalizeIntensityd, SelectItemsd

CACHES = ("memory", "disk", "none")


def cached_dataset(
    records: Sequence[dict],
    preprocessing: Compose,
    *,
    augmentation: Compose | None = None,
    cache: str = "memory",
    cache_gib: float = 4.0,
    cache_dir: str | Path | None = None,
    num_workers: int = 2,
) -> Dataset:
    """Dataset of preprocessed images, decoded once and kept in memory or on disk.

    Args:
        records: `image` (path) and `label` (class index); other keys are dropped.
        preprocessing: The bundle's own, `{"image": path}` to `{"image": [1, S, S]}`.
        augmentation: Random transforms of images in [0, 1], drawn anew each epoch.
        cache: "memory", "disk" (below `cache_dir`, kept for the next run) or "none".
        cache_gib: Bound for "memory"; images beyond it are decoded each time.
        cache_dir: Folder for "disk"; name it after the preprocessing, as train.yaml does.
        num_workers: Threads that decode.

    Raises:
        ValueError: If `cache` is unknown, "disk" comes without `cache_dir`, or the preprocessing does not
            end in the normalisation.
    """
    *steps, normalize = preprocessing.transforms
    if not isinstance(normalize, NormalizeIntensityd):
        raise ValueError("the preprocessing must end in NormalizeIntensityd: augmentation goes before it")
    # MONAI's own transforms give MetaTensors again: every operation on those is slower, and so is stacking.
    plain = EnsureTyped("image", track_meta=False)
    random = augmentation.transforms if augmentation else []
    transform = Compose([*steps, SelectItemsd(["image", "label"]), plain, *random, normalize, plain])
    if cache == "memory":
        # The first image tells the size of all: the preprocessing ends in one size.
        size = transform(dict(records[0]))["image"].nbytes
        room = int(cache_gib * 2**30 / size)
        return CacheDataset(records, transform, cache_num=room, num_workers=num_workers, copy_cache=False)
    if cache == "disk":
        if cache_dir is None:
            raise ValueError("cache 'disk' needs a folder: --cache_dir DIR")
        return PersistentDataset(
            [_with_version(record) for record in records], transform, cache_dir=cache_dir
        )
    if cache == "none":
        return Dataset(records, transform)
    raise ValueError(f"unknown cache {cache!r}; choose one of {', '.join(CACHES)}")


def _with_version(record: dict) -> dict:
    """The record with its file's size and time, which are then part of the cache's key."""
    stat = Path(record["image"]).stat()
    return {**record, "version": f"{stat.st_size}-{stat.st_mtime_ns}"}


def check_records(
    train_records: Sequence[dict],
    val_records: Sequence[dict],
    *,
    class_names: Sequence[str],
    world_size: int = 1,
) -> None:
    """Refuse, before anything is decoded, splits that would end a training in its first epoch.

    Raises:
        ValueError: If a class has no training image, if the validation split has fewer than two classes,
            or fewer images than there are processes.
    """
    trained = {record["label"] for record in train_records}
    missing = [name for label, name in enumerate(class_names) if label not in trained]
    if missing:
        raise ValueError(
            f"the training split has no image of class {', '.join(missing)}; prepare the datalist without "
            "it (--classes)"
        )
    if len({record["label"] for record in val_records}) < 2 or len(val_records) < world_size:
        raise ValueError(
            f"the validation split has {len(val_records)} images and fewer than two classes, or fewer images "
            "than processes: prepare the datalist with a larger --validation-fraction"
        )
