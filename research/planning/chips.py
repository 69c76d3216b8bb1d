"""What vendors say about their chips: peaks, memory and links, each with its source. What is not known is None."""

import dataclasses
from typing import Literal

Platform = Literal["tpu", "cuda", "cpu"]


@dataclasses.dataclass(frozen=True)
class Chip:
    """Figures of one chip, in FLOP/s, bytes, and bytes/s; dense, never sparse.

    JAX multiplies float32 matrices at its default precision (`jax.lax.Precision`): in one bfloat16 pass on a TPU, in
    TF32 on a GPU. `links` are all of a chip's, both ways together, as vendors state them. A program may see a chip as
    several `devices`, which share its figures.
    """

    name: str
    platform: Platform
    devices: int = 1
    bfloat16: float | None = None
    float32: float | None = None
    memory: float | None = None
    bandwidth: float | None = None
    links: float | None = None
    source: str | None = None

    def device(self) -> "Chip":
        """Return the figures of one of the devices as which a program sees this chip."""
        return dataclasses.replace(
            self,
            devices=1,
            bfloat16=self._share(self.bfloat16),
            float32=self._share(self.float32),
            memory=self._share(self.memory),
            bandwidth=self._share(self.bandwidth),
            links=self._share(self.links),
        )

    def _share(self, figure: float | None) -> float | None:
        """Return a device's part of a figure."""
        return None if figure is None else figure / self.devices


def _tpu(name: str, flops: float, memory: float, bandwidth: float, links: float | None, devices: int = 1) -> Chip:
    """Return a TPU; its page has peak TFLOP/s, GiB, GB/s of memory and GB/s of all links."""
    page = f"Google Cloud, TPU {name}, https://docs.cloud.google.com/tpu/docs/{name}"
    peak = flops * 1e12
    links = None if links is None else links * 1e9
    return Chip(name, "tpu", devices, peak, peak, memory * 2**30, bandwidth * 1e9, links, page)


def _gpu(name: str, bfloat16: float, tf32: float, memory: float, bandwidth: float, links: float, page: str) -> Chip:
    """Return a GPU; its page has dense or twice as many sparse TFLOP/s, GB, GB/s of memory and GB/s of NVLink."""
    page = f"NVIDIA, {page}"
    return Chip(name, "cuda", 1, bfloat16 * 1e12, tf32 * 1e12, memory * 1e9, bandwidth * 1e9, links * 1e9, page)


CHIPS = {
    chip.name: chip
    for chip in (
        Chip("cpu", "cpu"),
        Chip("v2", "tpu", 2),
        Chip("v3", "tpu", 2),
        _tpu("v4", 275, 32, 1200, None),
        _tpu("v5e", 197, 16, 819, 400),
        _tpu("v5p", 459, 95, 2765, 1200),
        _tpu("v6e", 918, 32, 1638, 800),
        _tpu("tpu7x", 2307, 192, 7380, 1200, devices=2),
        _gpu("a100", 312, 156, 80, 2039, 600, "A100 80GB SXM, https://www.nvidia.com/en-us/data-center/a100/"),
        _gpu("h100", 989.5, 494.7, 80, 3350, 900, "H100 SXM, https://www.nvidia.com/en-us/data-center/h100/"),
        _gpu("h200", 989.5, 494.7, 141, 4800, 900, "H200 SXM, https://www.nvidia.com/en-us/data-center/h200/"),
        _gpu("b200", 2250, 1100, 180, 8000, 1800, "DGX B200, https://www.nvidia.com/en-us/data-center/dgx-b200/"),
    )
}
"""Every chip that can be planned for, by the name that targets have."""
