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

def Moe_DeadRows : I32EnumAttr<
    "DeadRows", "what becomes of rows below n_used that are not live",
    [I32EnumAttrCase<"Untouched", 0, "untouched">,
     I32EnumAttrCase<"Zero", 1, "zero">]> {
  let cppNamespace = "::mlir::moe";
  let genSpecializedAttr = 0;
}

def Moe_DeadRowsAttr : EnumAttr<Moe_Dialect, Moe_DeadRows, "dead_rows"> {
  let summary = "What becomes of rows below n_used that are not live";
  let assemblyFormat = "`<` $value `>`";
  let description = [{
    `untouched` leaves them alone. `zero` writes zeros to the elements of rows below `n_used`
    whose entry in the map is negative, or past the rows of an `x` that is gathered: the
    padding of experts. Rows from `n_used` on are untouched under both.
  }];
}

//===----------------------------------------------------------------------===//
// Pairs of columns
//===----------------------------------------------------------------------===//

def Moe_PairsAttr : AttrDef<Moe_Dialect, "Pairs"> {
  let mnemonic = "pairs";
  let summary = "Which two columns of x a column of the destination is computed of";
  let description = [{
    `x` has two columns for each of the `N` of the destination: of column `c`,

    | | the first | the second |
    |---|---|---|
    | `halves` | `c` | `N + c` |
    | `interleaved<b>` | `(c / b) * 2b + c % b` | that and `b` |

    With `interleaved`, blocks of `b` columns take turns, and `N` is a multiple of `b`.

    Example: `#moe.pairs<halves>`, `#moe.pairs<interleaved<8>>`
  }];
  let parameters = (ins "int64_t":$block);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// The `block` of halves.
    static constexpr int64_t kHalves = 0;
    /// The word for blocks that take turns.
    static constexpr ::llvm::StringLiteral kInterleavedWord = "interleaved";
    bool areHalves() const { return getBlock() == kHalves; }
    /// Whether the first columns of `elements` neighbours of the destination, from a
    /// multiple of `elements` on, are neighbours too.
    bool areNeighbours(int64_t elements) const {
      return areHalves() || getBlock() % elements == 0;
    }
    /// Whether `elements` neighbours of the destination, from a multiple of `elements` on,
    /// are loaded as vectors of as many: their columns are two runs, or one.
    bool haveVectors(int64_t elements) const {
      return areNeighbours(elements) || elements % getBlock() == 0;
    }
  }];
}

//===----------------------------------------------------------------------===//
// Gated linear units
//===----------------------------------------------------------------------===//

def Moe_GateLayoutAttr : AttrDef<Moe_Dialect, "GateLayout"> {
  let mnemonic = "gate_layout";
  let summary = "Where a gated linear unit has its gates";
  let description = [{
    | | gate of column c | other factor | who |
    |---|---|---|---|
    | `gate_up` | `x[c]` | `x[N + c]` | Megatron-Core, vLLM `silu_and_mul`, TransformerEngine |
    | `up_gate` | `x[N + c]` | `x[c]` | FlashInfer and TensorRT-LLM CUTLASS MoE |
    | `interleaved<b>` | `x[(c / b) * 2b + c % b]` | `b` columns after it | b = 1: gpt-oss; 8: DeepGEMM; 32: TransformerEngine, cuDNN |

    Example: `#moe.gate_layout<gate_up>`, `#moe.gate_layout<interleaved<32>>`
  }];
  let parameters = (ins "::mlir::moe::PairsAttr":$pairs, "bool":$is_gate_second);
  let hasCustomAssemblyFormat = 1;
}

def Moe_LimitAt : I32EnumAttr<
    "LimitAt", "what of the gate a limit is of",
    [I32EnumAttrCase<"Before", 0, "before">,
     I32EnumAttrCase<"After", 1, "after">]> {
  let cppNamespace = "::mlir::moe";
  let genSpecializedAttr = 0;
}

def Moe_LimitAtAttr : EnumAttr<Moe_Dialect, Moe_LimitAt, "limit_at"> {
  let summary = "Whether a limit is of the gate before or after its activation";
  let assemblyFormat = "`<` $value `>`";
}

def Moe_GateActivation : I32EnumAttr<
    "GateActivation", "the activation of a gate",
    [I32EnumAttrCase<"Silu", 0, "silu">,
     I32EnumAttrCase<"GeluTanh", 1, "gelu_tanh">]> {
  let cppNamespace = "::mlir::moe";
  let genSpecializedAttr = 0;
}

def Moe_GateActivationAttr
    : EnumAttr<Moe_Dialect, Moe_GateActivation, "gate_activation"> {
  let summary = "The activation of a gate";
  let assemblyFormat = "`<` $value `>`";
}

//===----------------------------------------------------------------------===//
// The schedule
//===----------------------------------------------------------------------===//

def Moe_RowOrder : I32EnumAttr<
    "RowOrder", "how rows go to warps",
    [I32EnumAttrCase<"Single", 0, "single">,
     I32EnumAttrCase<"Quads", 1, "quads">]> {
  let cppNamespace = "::mlir::moe";
  let genSpecializedAttr = 0;
}

def Moe_ScheduleAttr : AttrDef<Moe_Dialect, "Schedule"> {
  let mnemonic = "schedule";
  let summary = "How the work of an op is cut up on a GPU";
  let description = [{
    What is not given has the default. A warp handles a chunk of a row at a time: in each of
    `steps` steps its 32 lanes take consecutive columns, `access_bytes` of `x` each.

    | field | default | |
    |---|---|---|
    | `threads` | 256 | of a CTA: a power of two from 32 to 1024 |
    | `access_bytes` | 16 | of `x` that a lane loads at once: a power of two from 2, an element, to 32 |
    | `steps` | 4 | of a chunk: a power of two up to 32. All their loads are in flight together |
    | `rows` | `single` | `single`: one by one; `quads`: by r, r + 32, r + 64 and r + 96 of a row tile, whose swizzled scales share 16 bytes, if there are enough for all warps |
    | `early_bytes` | 0 | if `x` is no larger, and no warp has two rows, they are loaded before it is known which are live |
    | `early_steps` | 0 | of the chunks of what is loaded so: a power of two up to `steps`, or 0 for as many. Grids that are made for the larger chunks have those |
    | `clear_bytes` | 1 | of the store that clears the scales of rows that are not live: 16 with `quads`, else 1 |
    | `min_ctas` | 4 | that have room on an SM together, which limits registers: up to 32, and 2048 threads |
    | `num_ctas` | 528 | of a launch at most: up to 65535 |
    | `alignment` | `access_bytes` | at multiples of which the rows of `x` start, and those of the destination in proportion to their elements; of less than `access_bytes`, accesses are made in parts |
    | `waits` | `false` | may be launched before the kernel in front of it is done, for which it waits: from sm_90 on |
    | `keeps_x` | `false` | leave the L2 cache to `x`, whose rows are read several times: stores say that what they write is not to be kept, and under a grid for many rows, whose CTAs come one after another, a chunk of all rows comes before the next one |
    | `cluster` | 1 | CTAs that come together and read the shared memory of one another: a power of two up to 8, from sm_90 on. More than 1 is for `moe.route_tokens`, with `threads` of 1024 |

    A schedule that accesses single elements, one by one of its rows, needs no alignment. Any
    other is for rows of whole accesses at aligned addresses, and `quads` for scales at a
    multiple of `clear_bytes` too. One of clusters is for many pairs of a token and an
    expert, unless it is the only one.

    An op has its schedules in the attribute `moe.schedule`, the best one first. The first
    whose needs hold is launched. `moe-choose-schedule` sets it on ops that have none:

    ```mlir
    moe.padded_squared_relu
      ins(%x, %map, %n : memref<?x1856xbf16>, memref<?xi32>, memref<i32>)
      outs(%out : memref<?x1856xbf16>)
      {moe.schedule = [#moe.schedule<threads = 128, min_ctas = 8>,
                       #moe.schedule<access_bytes = 2, steps = 2>]}
    ```
  }];
  let parameters = (ins AttrParameter<"::mlir::moe::Schedule", "its fields">:$value);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
}

#endif // MOE_IR_MOEATTRS
