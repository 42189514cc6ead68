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
    """``auto`` -> on a CPU bf16 where it computes in it natively, on CUDA what keeps labels best.

    ``suited`` are the formats in which a model's labels stay the same (ModelSpec.precisions); on
    CUDA the first half format of them is taken that the GPU has. Elsewhere fp32.

    Raises:
        SettingsError: an unknown name, one that does not suit the model, fp16 on a CPU (no
            kernels worth using), or bf16 on a GPU that would emulate it.
    """
    on_cuda = torch.device(device).type == "cuda"
    if wanted == "auto":
        there = _halves_of_gpu() if on_cuda else _halves_of_cpu()
        fast = [one for one in there if one in suited]
        return min(fast, key=suited.index, default="fp32")
    if wanted not in DTYPES:
        raise SettingsError(f"unknown precision {wanted!r}; choose one of {', '.join(PRECISIONS)}")
    check_precision(wanted, suited)
    if wanted == "fp16" and not on_cuda:
        raise SettingsError("precision fp16 needs a CUDA device; on a CPU use bf16, fp32 or auto")
    if wanted == "bf16" and on_cuda and not _cuda_has_bf16():
        raise SettingsError("this GPU has no bf16: use --precision fp16 or fp32, or leave it out")
    return wanted  # type: ignore[return-value]


def _halves_of_gpu() -> tuple[Precision, ...]:
    return ("fp16", "bf16") if _cuda_has_bf16() else ("fp16",)


def _cuda_has_bf16() -> bool:
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _halves_of_cpu() -> tuple[Precision, ...]:
    return ("bf16",) if cpu_has_bf16() else ()


def cpu_has_bf16() -> bool:
    """AVX512-BF16 or AMX: without them bf16 is emulated and slower than fp32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
