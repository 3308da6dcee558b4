"""Images that are read while a device computes, which would wait for them otherwise."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from data.types import ImageBatch, ImageSample
from tools.inputs.samples import PixelSamples, Samples
from tools.models.device import Device


def read_ahead(samples: Samples, device: Device) -> Samples:
    """The same samples; where they are read from images and not for a CPU, the next ones early."""
    if isinstance(samples, PixelSamples) and device.readers:
        return ReadAhead(samples, device.readers)
    return samples


class ReadAhead:
    """Samples that threads read, as many images ahead as there are threads.

    Asked for one, it reads those after it, at the distance at which the last one was asked for;
    each image is decoded once for both of its views. An image that cannot be read is an error when
    it is asked for.

    Args:
        samples: that are read.
        threads: that read.
    """

    def __init__(self, samples: PixelSamples, threads: int) -> None:
        self._samples, self._threads = samples, threads
        self._pool = ThreadPoolExecutor(threads)
        self._coming = dict[int, Future[ImageSample]]()
        self._last, self._step = -1, 1

    @property
    def multiple(self) -> int:
        """That of the samples."""
        return self._samples.multiple

    def __len__(self) -> int:
        return len(self._samples)

    def sample(self, index: int, *, flipped: bool) -> ImageSample:
        """As the samples give it."""
        if index != self._last:
            self._step = max(1, index - self._last)
            self._last = index
        last = min(len(self), index + 1 + self._threads * self._step)
        wanted = range(index, last, self._step)
        self._coming = {n: self._coming.get(n) or self._read(n) for n in wanted}
        upright = self._coming[index].result()
        return replace(upright, image=upright.image.flip(-1)) if flipped else upright

    def prepare(self, batch: ImageBatch, device: Device) -> ImageBatch:
        """As the samples do."""
        return self._samples.prepare(batch, device)

    def _read(self, index: int) -> Future[ImageSample]:
        return self._pool.submit(self._samples.sample, index, flipped=False)
