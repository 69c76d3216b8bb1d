"""What XLA's compiler for CPUs is told."""

import os
from typing import Any

# XLA leaves some operations to a library, by default products of matrices, sums and convolutions. Of the last its own
# are faster but for the smallest.
LIBRARY = "xla_cpu_experimental_ynn_fusion_type"
LEFT_TO_IT = ("INDIVIDUAL_DOT", "REDUCE")

# By default a program begins what it can as early as it can, and copies every parameter that is both updated and read
# for a norm. Told this, it needs less memory besides its arguments, to the same bits.
COMPILER_OPTIONS = {
    LIBRARY: ",".join(f"LIBRARY_FUSION_TYPE_{name}" for name in LEFT_TO_IT),
    "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
    "xla_cpu_copy_insertion_use_region_analysis": True,
}


def compiler_options() -> dict[str, Any]:
    """Return what XLA's compiler for CPUs is told, but for what the environment's XLA_FLAGS say."""
    flags = os.environ.get("XLA_FLAGS", "")
    return {name: value for name, value in COMPILER_OPTIONS.items() if name not in flags}
