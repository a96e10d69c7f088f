# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Stands in for Megatron-Core's module of this name: the caller, which imports by name, chooses a
function, and asks what it got back.
"""

from enum import Enum

from megatron.core.inference.moe.activations import (
    padded_squared_relu,
    padded_swiglu,
    squared_relu_and_quantize_mxfp8,
)
from megatron.core.inference.quantization.mxfp8_tensor import MXFP8Tensor


class ActivationType(Enum):
    SQUARED_RELU = "squared_relu"
    SWIGLU = "swiglu"


def _get_activation_func(activation_type, fused_quant=False):
    if activation_type == ActivationType.SWIGLU:
        return padded_swiglu
    return squared_relu_and_quantize_mxfp8 if fused_quant else padded_squared_relu


def _mxfp8_grouped_mm(act, weight, offs):
    """In place of the GEMM, what it is given."""
    return act.data, act.scale_2d()


def mcore_fused_moe(fc1_output, permutation_map, offs, activation_type, use_mxfp8):
    """From FC1's output to FC2's input."""
    n_used = offs[-1:]
    func = _get_activation_func(activation_type, fused_quant=use_mxfp8)
    activation_out = func(fc1_output, permutation_map, n_used)
    if not use_mxfp8:
        return activation_out
    if not isinstance(activation_out, MXFP8Tensor):
        raise TypeError("quantised once more, from what is no tensor")
    return _mxfp8_grouped_mm(activation_out, None, offs)
