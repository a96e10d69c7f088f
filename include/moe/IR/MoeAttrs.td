//===- MoeAttrs.td - Attributes of the moe dialect ----------*- tablegen -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// How a quantising op lays out the scales, and what becomes of the scales of rows
// that are not live.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_IR_MOEATTRS
#define MOE_IR_MOEATTRS

include "mlir/IR/EnumAttr.td"
include "moe/IR/MoeDialect.td"

def Moe_ScaleLayout : I32EnumAttr<
    "ScaleLayout", "where the scale of row r and group g is stored",
    [I32EnumAttrCase<"Swizzle32_4_4", 0, "swizzle_32_4_4">,
     I32EnumAttrCase<"Linear", 1, "linear">]> {
  let cppNamespace = "::mlir::moe";
  let genSpecializedAttr = 0;
}

def Moe_ScaleLayoutAttr
    : EnumAttr<Moe_Dialect, Moe_ScaleLayout, "scale_layout"> {
  let summary = "Layout of the E8M0 scales";
  let assemblyFormat = "`<` $value `>`";
  let description = [{
    `swizzle_32_4_4` is the layout that block-scaled GEMMs read (cuBLAS: "block scaling
    factors layout" for 1x32 scales; PyTorch: `SwizzleType.SWIZZLE_32_4_4`). The scales
    are a flat buffer of 128-row x 4-column tiles of 512 bytes, tiles in row-major order:

        n_row_tiles = ceil(M / 128),  n_col_tiles = ceil(K / 128)
        size         = n_row_tiles * n_col_tiles * 512
        offset(r, g) = ((r / 128) * n_col_tiles + g / 4) * 512
                     + (r % 32) * 16 + ((r % 128) / 32) * 4 + g % 4

    `linear` is plain row-major `[M, K / 32]`.
  }];
}

def Moe_DeadScales : I32EnumAttr<
    "DeadScales", "what becomes of the scale bytes of rows that are not live",
    [I32EnumAttrCase<"Zero", 0, "zero">,
     I32EnumAttrCase<"Untouched", 1, "untouched">]> {
  let cppNamespace = "::mlir::moe";
  let genSpecializedAttr = 0;
}

def Moe_DeadScalesAttr : EnumAttr<Moe_Dialect, Moe_DeadScales, "dead_scales"> {
  let summary = "What becomes of the scale bytes of rows that are not live";
  let assemblyFormat = "`<` $value `>`";
  let description = [{
    `zero` writes 0 to them, so that every byte of the scale buffer is defined: the rows
    that are not live and, under `swizzle_32_4_4`, the rows from `M` up to the end of the
    last row tile. No caller has to clear the buffer first. `untouched` leaves them alone.
    Under both, a live row's columns from `K / 32` to the end of its last column tile are 0.
  }];
}

#endif // MOE_IR_MOEATTRS
