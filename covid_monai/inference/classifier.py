"""Classification of images: one `Prediction` per image, in order and in bounded memory."""

import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from covid_monai.bundle import Bundle
from covid_monai.bundle.shipped import find_bundle
from covid_monai.core.errors import exception_chain, first_line
from covid_monai.core.memory_file import replace_name
from covid_monai.core.number_format import format_count
from covid_monai.core.vocabulary import DecoderNotStarted, RefusedImage, Status, UnreadableImage
from covid_monai.dicom.view import check_view
from covid_monai.evaluation.decisions.calibration import Calibration
from covid_monai.evaluation.decisions.operating_point import OperatingPoint
from covid_monai.evaluation.decisions.unseen_sources import UnseenSources
from covid_monai.gate.gate import Gate, check_lungs
from covid_monai.inference.backends import choose_backend, load_backend
from covid_monai.inference.decision import compute_probabilities, make_prediction
from covid_monai.inference.grad_cam import HeatmapGenerator, ImageWithHeatmap, affine_to_image
from covid_monai.inference.image_inputs import ImageInput, ImageLike, one_image, several_images
from covid_monai.inference.lung_check import LungCheck
from covid_monai.inference.prediction import Prediction
from covid_monai.lungs import LungQuality
from covid_monai.readers import read_radiograph

logger = logging.getLogger(__name__)
FittedPart = TypeVar("FittedPart", OperatingPoint | None, Calibration | None, UnseenSources | None)


class _AcceptedImage(NamedTuple):
    """An image that the network gets."""

    pixels: NDArray[np.float32]  # preprocessed, [1, S, S]
    source_shift: dict[str, Any] | None  # see `Prediction`
    quality: LungQuality | None


class Classifier:
    """Network and preprocessing of a bundle, loaded once for any number of images.

    Args:
        bundle_dir: Folder of the bundle; None is the shipped one, as for `covid-monai predict`.
        device: "cpu", "cuda", "cuda:1"...; None chooses the GPU if there is one.
        batch_size: Number of images in a batch of the network. It also fixes which images form a batch, so
            that a repeated run gives the same numbers with torch too; see `backends`.
        workers: Number of threads that read and preprocess ahead of the network.
        backend: "openvino", "onnxruntime" or "torch"; None chooses the first of these that is installed
            and runs on the device.
        trust_code: Run the code in the YAML of the bundle; else a bundle that needs it is refused.

    Raises:
        FileNotFoundError: If there is no bundle, or it has no weights.
        UntrustedCode: If preprocessing or network need code, and `trust_code` is false.
        ValueError: If weights, preprocessing, gate, calibration and operating point do not belong
            together, or there is no such device or backend.
        ImportError: If the named backend is not installed.
    """

    def __init__(
        self,
        bundle_dir: str | Path | None = None,
        *,
        device: str | None = None,
        batch_size: int = 16,
        workers: int = 2,
        backend: str | None = None,
        trust_code: bool = False,
    ) -> None:
        if batch_size < 1 or workers < 1:
            raise ValueError(f"batch_size and workers must be 1 or more, not {batch_size} and {workers}.")
        self.bundle = bundle = Bundle(find_bundle(bundle_dir), trust_code=trust_code)
        if bundle.is_segmentation:
            raise ValueError(
                f"{bundle.root} gives masks and no classes. Write masks with `python -m monai.bundle run "
                f"--config_file {bundle.root}/configs/inference.yaml --dataset_dir DIR --output_dir DIR`, "
                "or name a bundle that classifies."
            )
        self._load_file, self._prepare = bundle.split_preprocessing()
        self.class_names = bundle.class_names
        self.image_size = bundle.image_size
        cpu_only = device is None and backend not in (None, "torch")
        self.device = choose_device("cpu" if cpu_only else device)
        self.operating_point = _check_classes(bundle.operating_point, bundle.operating_point_path, bundle)
        self.calibration = _check_classes(bundle.calibration, bundle.calibration_path, bundle)
        self.unseen_sources = _check_classes(bundle.unseen_sources, bundle.unseen_sources_path, bundle)
        cores = len(os.sched_getaffinity(0))  # that this process may use
        name = choose_backend(backend, self.device)
        self._logits = load_backend(name, bundle, device=self.device, parallel=min(batch_size, cores))
        self.model = bundle.identity | {"backend": name}
        self.gate = Gate.load(bundle)
        if self.gate is None:
            logger.warning(
                "%s has no input gate (models/gate.npz), so any grey image is classified, whatever it shows.",
                bundle.root,
            )
        self.lung_check = LungCheck(name, self.device)
        self._batch_size, self._workers = batch_size, workers

    def predict(self, images: ImageLike | Iterable[ImageLike]) -> Iterable[Prediction]:
        """Classify images, in the order given, one record for each.

        At most two batches are in memory: while the network computes one, the next is read. No image stops
        the others: an image that cannot be classified yields a record with the reason.

        Args:
            images: One image, or an iterable of images. An image is a path of a DICOM, JPEG or PNG file; a
                pydicom dataset, which gives what its file gives; or an array or tensor as it is displayed,
                rows first and bone bright, `[H, W]` or `[1, H, W]`: uint8 or uint16, which give what a PNG
                of these pixels gives, or floating-point numbers from 0 to 1. `[H, W, 3]` of uint8 is RGB.
                A dataset or an array is called "dataset 0" or "array 0" in its record, by its position.

        Returns:
            A list of one record for one image, else an iterator over the records.

        Raises:
            TypeError: If anything is not an image. An iterator is checked while it is read.
        """
        if (image := one_image(images)) is not None:
            return list(self._predict(iter([image])))
        return self._predict(several_images(images))

    def _predict(self, images: Iterator[ImageInput]) -> Iterator[Prediction]:
        # Several files in parallel use the cores better than torch's own threads within one file. Setting
        # their number in one thread sets it for all later threads, so it is restored at the end. It is not
        # set for the torch backend, whose network would run on one core.
        threads = torch.get_num_threads()
        threads_per_file = threads if self.model["backend"] == "torch" else 1
        pool = ThreadPoolExecutor(self._workers, "preprocess", torch.set_num_threads, (threads_per_file,))
        ahead: deque[list[tuple[str, Future]]] = deque()
        try:
            while batch := list(islice(images, self._batch_size)):
                ahead.append([(image.name, pool.submit(self._load, image)) for image in batch])
                if len(ahead) > 1:
                    yield from self._classify(ahead.popleft())
            while ahead:
                yield from self._classify(ahead.popleft())
        finally:  # also if the caller stops early
            pool.shutdown(wait=True, cancel_futures=True)
            torch.set_num_threads(threads)

    def read(self, image: ImageLike) -> NDArray[np.float32] | Prediction:
        """Return the input of the network `[1, S, S]`, or the record of an image that gets no score."""
        (source,) = several_images([image])
        content = self._load(source)
        return content if isinstance(content, Prediction) else content.pixels

    def load_explainer(self) -> None:
        """Load what `explain` needs now and not for the first image, because the bundle may be deleted."""
        self._heatmap  # noqa: B018

    def explain(self, image: ImageLike, class_name: str) -> ImageWithHeatmap:
        """Compute the heat map of an image: where the evidence for a class lies.

        `predict` has classified the image, as a path, an array or a dataset. A file is read again: whole
        images of two batches would not fit into memory.

        Raises:
            TypeError: If it is not one image.
            UnreadableImage: If it cannot be read, or not any more.
            ValueError: If the network has no layer for Grad-CAM.
        """
        (source,) = several_images([image])
        with source.open() as path:
            # The whole image: the preprocessing reads no more than the network needs.
            radiograph, meta = read_radiograph(path)
            preprocessed = self._prepare(self._read(path))["image"]
        batch = preprocessed.as_tensor()[None].to(self.device)
        (heat,) = self._heatmap(batch, self.class_names.index(class_name))
        return ImageWithHeatmap(radiograph[0], heat, affine_to_image(meta["affine"], preprocessed))

    @cached_property
    def _heatmap(self) -> HeatmapGenerator:
        """Grad-CAM of the network in PyTorch, whatever the backend, because it needs gradients."""
        return HeatmapGenerator(self.bundle.load_network(self.device))

    def _read(self, path: Path) -> dict[str, MetaTensor]:
        # Absolute, because MONAI expands a leading "~", with which a file's name may start.
        loaded: dict[str, MetaTensor] = self._load_file({"image": os.path.abspath(path)})  # noqa: PTH100
        return loaded

    def _load(self, source: ImageInput) -> _AcceptedImage | Prediction:
        name_of_file = ""
        try:
            with source.open() as path:
                name_of_file = path.name
                loaded = self._read(path)
            # The lungs are looked for in the whole image, before a step of the preprocessing can crop it.
            whole = loaded["image"].as_tensor()[0]
            image = self._prepare(loaded)["image"]
            check_view(image.meta)
            source_shift = None if self.gate is None else self.gate.check(image.as_tensor())
            quality = self.lung_check(whole)
            if self.gate is not None and quality is not None:
                check_lungs(quality)
            return _AcceptedImage(image.numpy(), source_shift, quality)
        except Exception as error:  # noqa: BLE001  # a bad file of any kind must not stop the others
            failure = self._failure(source.name, error)
            if source.is_file:
                return failure
            detail = replace_name(failure.detail, name_of_file, source.name)
            return replace(failure, detail=detail if name_of_file else f"{source.name}: {detail}")

    def _classify(self, batch: list[tuple[str, Future]]) -> Iterator[Prediction]:
        loaded = [(file, future.result()) for file, future in batch]
        images = [content.pixels for _, content in loaded if isinstance(content, _AcceptedImage)]
        outcomes = iter(self._probabilities(images))
        for file, content in loaded:
            if isinstance(content, Prediction):
                yield content
            elif isinstance(outcome := next(outcomes), Exception):
                yield self._failure(file, outcome)
            else:
                yield self._success(file, outcome, content)

    def _probabilities(self, images: list[NDArray[np.float32]]) -> list[NDArray[np.float64] | Exception]:
        """Return one row of shape [K], or the exception, per image."""
        if not images:
            return []
        try:
            return list(compute_probabilities(self._logits(np.stack(images)), self.calibration))
        except Exception as error:  # noqa: BLE001  # a library may raise anything, and others must go on
            if len(images) == 1:
                return [error]
            # Out of memory, or one bad image: each image alone gets its own outcome.
            return [outcome for image in images for outcome in self._probabilities([image])]

    def _success(self, file: str, probabilities: NDArray[np.float64], image: _AcceptedImage) -> Prediction:
        if not np.isfinite(probabilities).all():
            return self._failure(file, ArithmeticError("The output of the network is not finite."))
        prediction = make_prediction(file, probabilities, self, model=self.model, quality=image.quality)
        return replace(prediction, source_shift=image.source_shift)

    def _failure(self, file: str, error: Exception) -> Prediction:
        chain = list(exception_chain(error))
        refusal = next((cause for cause in chain if isinstance(cause, RefusedImage)), None)
        if refusal is not None:
            status, reason, detail = Status.REFUSED, str(refusal.reason), refusal.detail
        else:
            logger.debug("%s could not be classified", file, exc_info=error)
            named = UnreadableImage | DecoderNotStarted
            ours = next((cause for cause in chain if isinstance(cause, named)), chain[-1])
            status, reason, detail = Status.ERROR, "unreadable", first_line(ours)
            if isinstance(ours, DecoderNotStarted) or not any(
                isinstance(cause, UnreadableImage | OSError) for cause in chain
            ):
                reason, detail = "failed", f"{type(ours).__name__}: {detail}"
        return Prediction(file=file, status=status, model=self.model, reason=reason, detail=detail)


def _check_classes(part: FittedPart, path: Path, bundle: Bundle) -> FittedPart:
    if part is not None and part.class_names != bundle.class_names:
        raise ValueError(
            f"{path} is for the classes {', '.join(part.class_names)}, but the bundle is for "
            f"{', '.join(bundle.class_names)}. Use the file of the bundle's own training run."
        )
    return part


def choose_device(name: str | None) -> torch.device:
    """Return the named device; for None the GPU if there is one.

    Raises:
        ValueError: If there is no such device.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"Unknown device {name!r}. Choose cpu, cuda or cuda:1.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = format_count(torch.cuda.device_count(), "CUDA device")
        raise ValueError(f"Device {name!r} does not exist: torch finds {found}. Choose another, or cpu.")
    return device
