"""What XLA has to be told about a GPU that is not there, to compile for it."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Gpu:
    """The size of a GPU's parts, in cores, bytes, bytes/s and GHz, and its CUDA compute capability."""

    title: str
    capability: tuple[int, int]
    cores: int
    units_per_core: int
    shared_memory: int
    """Of a core."""
    block_shared_memory: int
    """That one block may ask for."""
    cache: int
    memory: int
    bandwidth: int
    clock: float

    def description(self) -> str:
        """Return the text form of XLA's `GpuTargetConfigProto`."""
        major, minor = self.capability
        return f"""
gpu_device_info {{
  cuda_compute_capability {{ major: {major} minor: {minor} }}
  core_count: {self.cores}
  fpus_per_core: {self.units_per_core}
  clock_rate_ghz: {self.clock}
  device_memory_size: {self.memory}
  memory_bandwidth: {self.bandwidth}
  l2_cache_size: {self.cache}
  shared_memory_per_core: {self.shared_memory}
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: {self.block_shared_memory}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  threads_per_core_limit: 2048
  threads_per_block_limit: 1024
  threads_per_warp: 32
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 }}
device_description_str: "{self.title}"
"""


# The figures are those of XLA's own descriptions, xla/backends/gpu/target_config/specs/*.txtpb.
GPUS = {
    "a100": Gpu("NVIDIA A100-SXM4-80GB", (8, 0), 108, 64, 167936, 166912, 41943040, 85100068864, 2039040000000, 1.41),
    "h100": Gpu("NVIDIA H100 80GB HBM3", (9, 0), 132, 128, 233472, 232448, 52428800, 84942979072, 3352320000000, 1.98),
    "h200": Gpu(
        "NVIDIA H200 141GB HBM3e", (9, 0), 132, 128, 233472, 232448, 52428800, 151397597184, 4800000000000, 1.98
    ),
    "b200": Gpu("NVIDIA B200", (10, 0), 148, 128, 233472, 232448, 132644864, 191514411008, 7672320000000, 1.965),
}
