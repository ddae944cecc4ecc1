"""An exported model that answers: images of any form in, labels, probabilities and embeddings out."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL.Image import Image

from headstart.errors import ImageError, MissingExtraError, OptionError
from headstart.imaging import encode, load_view, load_whole, read_image_file
from headstart.runtime.decisions import abstain_below, decide
from headstart.runtime.session import Answers, Images, Session, cores

# Images that are decoded and then run together: enough to keep all cores busy, and few where each may be large.
_CHUNK, _CHUNK_OF_WHOLE = 64, 16


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says about one image.

    Attributes
    ----------
    file:
        The image's path, or ``image 3`` for one that came without.
    label:
        The predicted class, or the list of predicted labels; ``None`` where the model abstains or could not look.
    confidence:
        Calibrated probability of the prediction, in 0…1.
    probabilities:
        One a class; they sum to 1 unless the model is multi-label.
    embedding:
        The backbone's pooled features, float32 (D,); empty where the image could not be decoded.
    abstained:
        Whether the confidence lies below the threshold for the wished error rate.
    error:
        Why the image could not be decoded; then everything else is empty.
    """

    file: str
    label: str | list[str] | None
    confidence: float
    probabilities: dict[str, float]
    embedding: npt.NDArray[np.float32]
    abstained: bool = False
    error: str | None = None


class Model:
    """An exported model. Made by :func:`headstart.runtime.load`; every method may be called from several threads.

    :meth:`predict` does everything. A service that gathers batches of its own uses the three steps that it is made of:
    :meth:`prepare` (one image, as many threads as there are cores), :meth:`run` (one batch), :meth:`judge`.

    Attributes
    ----------
    record:
        What the file says about itself.
    classes:
        Names of the columns of the probabilities.
    engine:
        Library and version that run it, for example ``openvino 2026.4.1``.
    precision:
        ``bf16`` or ``f32``: what it computes in here.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.record = session.record
        self.classes = session.record.classes
        self.engine = session.engine
        self.precision = session.precision

    def predict(self, images: Any, *, max_error: float | None = None) -> list[Prediction]:
        """One prediction an image, in order; an image that can't be decoded gives one with ``error`` set.

        Parameters
        ----------
        images:
            One image (path, encoded bytes, array, PIL image), or a list, tuple or iterator of them. Arrays are as
            :func:`headstart.imaging.encode` takes them; one with four axes is several images.
        max_error:
            A wished error rate: the model abstains (``label`` is ``None``) where it is not sure enough for that rate.

        Raises
        ------
        OptionError
            If something is no image, or the file has no threshold for that error rate.
        """
        return list(self.stream(images, max_error=max_error))

    def stream(self, images: Any, *, max_error: float | None = None) -> Iterator[Prediction]:
        """Like :meth:`predict`, one at a time, in memory that does not grow with the number of images."""
        abstain_below(self.record, max_error)  # so that a wish that can't be met is refused at once
        size = _CHUNK_OF_WHOLE if self.record.resizes else _CHUNK
        with ThreadPoolExecutor(cores(), thread_name_prefix="decode") as pool:
            for chunk in _chunks(enumerate(_several(images)), size):
                names = [_name(image, number) for number, image in chunk]
                prepared = list(pool.map(self._attempt, [image for _, image in chunk], names))
                good = [part for part in prepared if isinstance(part, np.ndarray)]
                answered = iter(self.judge(self.run(good), self._good(names, prepared), max_error) if good else [])
                for name, part in zip(names, prepared, strict=True):
                    yield next(answered) if isinstance(part, np.ndarray) else _failed(name, part)

    def predict_proba(self, images: Any) -> npt.NDArray[np.float32]:
        """Calibrated probabilities, float32 (n, C). Raises :class:`ImageError` for an undecodable image."""
        found = [self._whole(answer) for answer in self.stream(images)]
        rows = [list(answer.probabilities.values()) for answer in found]
        return np.array(rows, np.float32).reshape(len(rows), len(self.classes))

    def embed(self, images: Any) -> npt.NDArray[np.float32]:
        """Pooled features, float32 (n, D). Raises :class:`ImageError` for an undecodable image."""
        rows = [self._whole(answer).embedding for answer in self.stream(images)]
        return np.array(rows, np.float32).reshape(len(rows), self.record.embedding)

    def prepare(self, image: Any, name: str = "image") -> Images:
        """Decode one image to what the graph takes.

        Parameters
        ----------
        image:
            A path, encoded bytes, an array or a PIL image.
        name:
            What an error calls it.

        Returns
        -------
        numpy.ndarray
            uint8 (height, width, channels): resized and cropped, unless the graph does that itself.

        Raises
        ------
        ImageError, MissingExtraError
            If it can't be read or decoded, or only with an optional reader.
        """
        if isinstance(image, str | Path):
            data = read_image_file(image)
        else:
            data = bytes(image) if isinstance(image, bytes | bytearray | memoryview) else encode(image, name)
        load = load_whole if self.record.resizes else load_view
        return load(data, self.record.preprocessing, name)

    def run(self, prepared: Sequence[Images]) -> Answers:
        """Answers for images as :meth:`prepare` gives them, in their order; images of one size run together.

        Raises
        ------
        ArtifactError
            If the file's graph does not do what its metadata promise.
        OptionError
            If there are no images.
        """
        if not len(prepared):
            raise OptionError("there is no image to run")
        places: dict[tuple[int, ...], list[int]] = {}
        for place, image in enumerate(prepared):
            places.setdefault(image.shape, []).append(place)
        order = [place for group in places.values() for place in group]
        parts = [self._session.run(np.stack([prepared[place] for place in group])) for group in places.values()]
        back = np.argsort(order)
        return Answers(
            np.concatenate([part.probabilities for part in parts])[back],
            np.concatenate([part.embeddings for part in parts])[back],
        )

    def judge(self, answers: Answers, names: Sequence[str], max_error: float | None = None) -> list[Prediction]:
        """Labels and confidence for a batch; raises :class:`OptionError` as :meth:`predict` does."""
        threshold = abstain_below(self.record, max_error)
        labels, confidence = decide(answers.probabilities, self.record)
        predictions = []
        for row, name in enumerate(names):
            abstained = bool(confidence[row] < threshold)
            predictions.append(
                Prediction(
                    file=name,
                    label=None if abstained else labels[row],
                    confidence=float(confidence[row]),
                    probabilities=dict(zip(self.classes, answers.probabilities[row].tolist(), strict=True)),
                    embedding=answers.embeddings[row],
                    abstained=abstained,
                )
            )
        return predictions

    def _attempt(self, image: Any, name: str) -> Images | str:
        try:
            return self.prepare(image, name)
        except (ImageError, MissingExtraError) as error:
            return str(error)

    @staticmethod
    def _good(names: Sequence[str], prepared: Sequence[Images | str]) -> list[str]:
        return [name for name, part in zip(names, prepared, strict=True) if isinstance(part, np.ndarray)]

    @staticmethod
    def _whole(answer: Prediction) -> Prediction:
        if answer.error is not None:
            raise ImageError(answer.error)
        return answer


def _several(images: Any) -> Iterable[Any]:
    if isinstance(images, np.ndarray):
        return images if images.ndim == 4 else [images]
    return images if isinstance(images, list | tuple | Iterator) else [images]


def _chunks(items: Iterable[tuple[int, Any]], size: int) -> Iterator[list[tuple[int, Any]]]:
    left = iter(items)
    while chunk := list(itertools.islice(left, size)):
        yield chunk


def _name(image: Any, number: int) -> str:
    if isinstance(image, str | Path):
        return str(image)
    if isinstance(image, bytes | bytearray | memoryview | np.ndarray | Image):
        return f"image {number}"
    raise OptionError(
        f"a {type(image).__name__} is no image: give a path, encoded bytes, a NumPy array, a PIL image, or a list"
    )


def _failed(name: str, reason: str) -> Prediction:
    return Prediction(name, None, float("nan"), {}, np.empty(0, np.float32), error=reason)
