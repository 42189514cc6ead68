"""Which number format a device runs fast and right."""

from collections.abc import Sequence
from typing import Literal

import torch

from maskmill.pipeline.models.spec import check_precision
from maskmill.schemas.errors import SettingsError

Precision = Literal["fp32", "bf16", "fp16"]
PRECISIONS = ("auto", "fp32", "bf16", "fp16")

DTYPES: dict[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def resolve_precision(
    wanted: str, device: str, suited: Sequence[str] = ("fp32", "bf16", "fp16")
) -> Precision:
    """``auto`` -> bf16 where the device computes in it natively, else fp16 on CUDA, fp32 on CPU.

    ``suited`` are the formats in which a model's labels stay the same (ModelSpec.precisions).

    Raises:
        SettingsError: an unknown name, one that does not suit the model, fp16 on a CPU (no
            kernels worth using), or bf16 on a GPU that would emulate it.
    """
    on_cuda = torch.device(device).type == "cuda"
    if wanted == "auto":
        fast = _fast_on_cuda() if on_cuda else _fast_on_cpu()
        return fast if fast in suited else "fp32"
    if wanted not in DTYPES:
        raise SettingsError(f"unknown precision {wanted!r}; choose one of {', '.join(PRECISIONS)}")
    check_precision(wanted, suited)
    if wanted == "fp16" and not on_cuda:
        raise SettingsError("precision fp16 needs a CUDA device; on a CPU use bf16, fp32 or auto")
    if wanted == "bf16" and on_cuda and not _cuda_has_bf16():
        raise SettingsError("this GPU has no bf16: use --precision fp16 or fp32, or leave it out")
    return wanted  # type: ignore[return-value]


def _fast_on_cuda() -> Precision:
    return "bf16" if _cuda_has_bf16() else "fp16"


def _cuda_has_bf16() -> bool:
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _fast_on_cpu() -> Precision:
    return "bf16" if cpu_has_bf16() else "fp32"


def cpu_has_bf16() -> bool:
    """AVX512-BF16 or AMX: without them bf16 is emulated and slower than fp32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
