//===- WarpOps.td - The moe_warp dialect --------------------*- tablegen -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The level between an op and its lanes, on which a kernel is a dozen or two lines.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_WARP_IR_WARPOPS
#define MOE_WARP_IR_WARPOPS

include "mlir/IR/OpBase.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "moe/IR/MoeAttrs.td"

def Warp_Dialect : Dialect {
  let name = "moe_warp";
  let cppNamespace = "::mlir::moe::warp";
  let summary = "What the warps of a kernel do, between the ops of moe and single lanes";
  // Its ops have attributes of it.
  let dependentDialects = ["::mlir::moe::MoeDialect"];
  let description = [{
    The body of a kernel, a `gpu.func`, as the work of one warp of 32 lanes. `convert-moe-to-warp`
    makes it of padding-aware ops, `moe-warp-schedule-rows` rewrites it as a schedule says, and
    `convert-moe-warp-to-gpu` makes code for one lane of it.

    - A value is **one lane's part**. Sizes, rows and chunks are the same for all lanes of a
      warp. A *fragment*, `vector<steps x elements>`, is what a lane has of a chunk of a row: in
      each of `steps` steps the 32 lanes take `elements` consecutive columns each. All loads
      of a chunk are one op, so they are in flight together. Elementwise ops of any dialect
      work on fragments; each step becomes a vector of its own.
    - **Loads stand where they go out.** What must be on its way before something else is needed
      is an op in front of it.
    - **Ops ask for lane and warp anew.** None takes what depends on the lane, but for fragments
      and what a lane has computed of them. In a scope in which registers are short, lane
      numbers are computed in the scope.
    - The grid is any: x runs over chunks of columns, y and the warps of a CTA over rows.
    - Where rows are gathered, walks have the number of `tokens`, the rows of `x`: only those
      rows are live whose entry is below it. Their bodies get the token of a row too.
    - A kernel has the schedule that it is to follow as its attribute `moe_warp.schedule`, a
      `#moe.schedule`, whose `threads` are those of its `known_block_size` if it has one.

    ```mlir
    gpu.func @padded_squared_relu(...) kernel {
      %rows = memref.dim %x, %c0 : memref<?x?xbf16, 1>
      %columns = memref.dim %x, %c1 : memref<?x?xbf16, 1>
      moe_warp.wait_for_predecessor
      %entries = moe_warp.load_entries %map to %rows : memref<?xi32, 1>
      %used = moe_warp.load_used_rows %n_used : memref<i32, 1>
      moe_warp.for_live_row in %map to %rows used %used from %entries
          : memref<?xi32, 1> (%row: index) {
        moe_warp.for_chunk of %columns steps 4 elements 8 (%chunk: i32) {
          %v = moe_warp.load %x[%row, %chunk] align 16 : memref<?x?xbf16, 1>, vector<4x8xbf16>
          %relu = arith.maxnumf %v, %zero : vector<4x8xbf16>
          %square = arith.mulf %relu, %relu : vector<4x8xbf16>
          moe_warp.store %square, %out[%row, %chunk] align 16 : vector<4x8xbf16>, memref<?x?xbf16, 1>
        }
      }
      gpu.return
    }
    ```
  }];
  let hasOperationAttrVerify = 1;
}

class Warp_Op<string mnemonic, list<Trait> traits = []>
    : Op<Warp_Dialect, mnemonic, traits>;

/// An op with a body for each row, chunk or tile that is the warp's.
class Warp_LoopOp<string mnemonic, list<Trait> traits = []>
    : Warp_Op<mnemonic, !listconcat(traits, [RecursiveMemoryEffects,
                                             SingleBlock])>;

def Warp_Fragment
    : Type<FixedVectorOfRank<[2]>.predicate, "fragment, a vector<steps x elements>",
           "::mlir::VectorType">;
def Warp_Quad
    : Type<FixedVectorOfRankAndType<[1], [I1, I32]>.predicate, "vector<4xi32 or i1>",
           "::mlir::VectorType">;
defvar Warp_Buffer = AnyMemRef;
def Warp_BlockFormat
    : Attr<CPred<"::llvm::isa<::mlir::moe::BlockFormatAttrInterface>($_self)">,
           "format with scales"> {
  let storageType = "::mlir::moe::BlockFormatAttrInterface";
  let returnType = "::mlir::moe::BlockFormatAttrInterface";
  let convertFromStorage = "$_self";
}
//===----------------------------------------------------------------------===//
// What comes first
//===----------------------------------------------------------------------===//

def Warp_WaitForPredecessorOp : Warp_Op<"wait_for_predecessor"> {
  let summary = "Wait for the kernel in front, and let the next one start";
  let description = [{
    What came before has written the operands, and may still read what is written here. The
    next kernel waits in its turn, so it may take its place on the SMs now. From sm_90 on.
  }];
  let assemblyFormat = "attr-dict";
}

def Warp_LoadEntriesOp : Warp_Op<"load_entries"> {
  let summary = "Load the map entries of the first 32 rows of a warp";
  let description = [{
    The lane's entry of `permutation_map`, -1 past the last row. The rows are those that
    `for_live_row`, or with `quads` `for_live_quad`, visits first. Without a map, here and
    there, every row holds a token.
  }];
  let arguments = (ins Optional<Warp_Buffer>:$map, Index:$rows, UnitAttr:$quads);
  let results = (outs I32:$entry);
  let assemblyFormat = [{
    ($map^)? `to` $rows (`quads` $quads^)? attr-dict (`:` type($map)^)?
  }];
}

def Warp_LoadTileEntriesOp : Warp_Op<"load_tile_entries"> {
  let summary = "Load the map entries of the lane's quad in the warp's first row tile";
  let description = [{
    For `for_row_tile`. Those of rows past the last are -1.
  }];
  let arguments = (ins Optional<Warp_Buffer>:$map, Index:$rows);
  let results = (outs Warp_Quad:$entries);
  let assemblyFormat = [{
    ($map^)? `to` $rows attr-dict (`:` type($map)^)? `->` type($entries)
  }];
}

def Warp_LoadUsedRowsOp : Warp_Op<"load_used_rows"> {
  let summary = "Load `n_used`; what uses it clamps it";
  let arguments = (ins Warp_Buffer:$n_used);
  let results = (outs I32:$used);
  let assemblyFormat = "$n_used attr-dict `:` type($n_used)";
}

//===----------------------------------------------------------------------===//
// Rows
//===----------------------------------------------------------------------===//

def Warp_ForLiveRowOp : Warp_LoopOp<"for_live_row", [AttrSizedOperandSegments]> {
  let summary = "Visit the live rows of a warp one by one";
  let description = [{
    A warp reads 32 entries of the map at once, a lane each and a grid's width apart, votes,
    and visits those of its rows that are live. `entries` are those of the first 32 rows; the
    next are on their way while these are computed. `dead` is for the warp's rows below `end`
    that are not live, of each 32 after the live ones.

    With `tokens` the body gets the row, and the token that its entry names.
  }];
  let arguments = (ins Optional<Warp_Buffer>:$map, Index:$rows, I32:$used, I32:$entries,
                       Optional<Index>:$tokens, Optional<Index>:$end);
  let regions = (region SizedRegion<1>:$body, MaxSizedRegion<1>:$dead);
  let assemblyFormat = [{
    (`in` $map^)? `to` $rows (`tokens` $tokens^)? `used` $used `from` $entries (`:` type($map)^)?
    custom<Body>($body) (`dead` `to` $end^ custom<Body>($dead))? attr-dict
  }];
  let hasVerifier = 1;
}

def Warp_ForOwnRowOp : Warp_LoopOp<"for_own_row"> {
  let summary = "The first row of a warp, live or not, if it has one";
  let arguments = (ins Index:$rows);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "`to` $rows custom<Body>($body) attr-dict";
  let hasVerifier = 1;
}

def Warp_IsOwnRowLiveOp : Warp_Op<"is_own_row_live"> {
  let summary = "Whether the first row of a warp is live";
  let description = [{
    Waits for the map entry and `n_used` here and no earlier.
  }];
  let arguments = (ins I32:$used, I32:$entries);
  let results = (outs I1:$is_live);
  let assemblyFormat = "`used` $used `from` $entries attr-dict";
}

def Warp_IsSmallOp : Warp_Op<"is_small"> {
  let summary = "Whether no warp has two rows, and loading all of x costs nothing";
  let description = [{
    `x` has `rows` and `columns` of bf16, loaded by `elements`. It is small up to `bytes`, as
    all of it arrives while the map does. In a launch that expects nearly all rows to be live,
    any size will do.

    With `steps`, the grid has a CTA for each chunk of so many steps, too: so whoever launches
    says that it counts on these chunks.
  }];
  let arguments = (ins Index:$rows, Index:$columns, OptionalAttr<I64Attr>:$steps,
                       I64Attr:$elements, I64Attr:$bytes);
  let results = (outs I1:$is_small);
  let assemblyFormat = [{
    $rows `by` $columns (`steps` $steps^)? `elements` $elements `bytes` $bytes attr-dict
  }];
  let hasVerifier = 1;
}

def Warp_ForLiveQuadOp : Warp_LoopOp<"for_live_quad", [AttrSizedOperandSegments]> {
  let summary = "Visit the rows of a warp by quads";
  let description = [{
    A quad, the rows r, r + 32, r + 64 and r + 96 of a row tile, has neighbouring scales. Its
    body gets r and a bit for each row that it is to compute. If there are fewer quads than
    seven for eight warps, rows go to warps one by one, for the sake of more loads in flight:
    then one bit is set.

    With `tokens` the body gets the entries of the quad too, that of row r + 32 * i in each
    lane whose number is i modulo 4.
  }];
  let arguments = (ins Optional<Warp_Buffer>:$map, Index:$rows, I32:$used, I32:$entries,
                       Optional<Index>:$tokens);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    (`in` $map^)? `to` $rows (`tokens` $tokens^)? `used` $used `from` $entries (`:` type($map)^)?
    custom<Body>($body) attr-dict
  }];
  let hasVerifier = 1;
}

def Warp_ForRowOfQuadOp : Warp_LoopOp<"for_row_of_quad"> {
  let summary = "Visit the live rows of a quad, and collect what each yields";
  let description = [{
    The lane keeps the word (i32) of the row whose scales it stores. With the `entries` of
    the quad the body gets the row, and the token that its entry names.
  }];
  let arguments = (ins I32:$first, I32:$live, Optional<I32>:$entries);
  let regions = (region SizedRegion<1>:$body);
  let results = (outs I32:$word);
  let assemblyFormat = "$live `of` $first (`from` $entries^)? custom<Body>($body) attr-dict";
  let hasVerifier = 1;
}

def Warp_ForRowTileOp : Warp_LoopOp<"for_row_tile", [AttrSizedOperandSegments]> {
  let summary = "Visit row tiles, a warp each, with what is live of the lane's quad";
  let description = [{
    `entries` are those of the warp's first tile. The next tile's are on their way while this
    one's are used.
  }];
  let arguments = (ins Optional<Warp_Buffer>:$map, Index:$rows, I32:$used,
                       Warp_Quad:$entries, Optional<Index>:$tokens);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    (`in` $map^)? `to` $rows (`tokens` $tokens^)? `used` $used `from` $entries `:`
    custom<MapType>(type($map), type($entries)) custom<Body>($body) attr-dict
  }];
  let hasVerifier = 1;
}

def Warp_YieldOp : Warp_Op<"yield", [Pure, Terminator]> {
  let summary = "End a body";
  let arguments = (ins Variadic<AnyType>:$operands);
  let builders = [OpBuilder<(ins), "/* Yields nothing. */">];
  let assemblyFormat = "attr-dict ($operands^ `:` type($operands))?";
}

//===----------------------------------------------------------------------===//
// Chunks of a row
//===----------------------------------------------------------------------===//

def Warp_ForChunkOp : Warp_LoopOp<"for_chunk"> {
  let summary = "Visit the chunks of a row that are the CTA's";
  let description = [{
    A chunk is `steps` times 32 times `elements` of the row's `columns`. With `padded_to`,
    chunks cover the columns rounded up to a multiple of it: what a scale tile has past the
    end of the row.
  }];
  let arguments = (ins Index:$columns, I64Attr:$steps, I64Attr:$elements,
                       DefaultValuedAttr<I64Attr, "1">:$padded_to);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    `of` $columns `steps` $steps `elements` $elements (`padded_to` $padded_to^)?
    custom<Body>($body) attr-dict
  }];
  let extraClassDeclaration = [{
    int64_t getChunkColumns() { return 32 * getSteps() * getElements(); }
    /// Whether every chunk is whole, so that no lane is past the end of a row.
    bool hasWholeChunks();
  }];
  let hasVerifier = 1;
}

def Warp_LoadOp : Warp_Op<"load"> {
  let summary = "Load the lane's part of a chunk, all of it at once";
  let description = [{
    Lanes past the end of the row load its last vector: a load under a condition would sink
    to its first use, and the loads would no longer overlap. Accesses are aligned to `align`
    bytes, by default to an element.

    With `pairs`, the matrix has two columns for each of a chunk, and there is a fragment of
    the first ones and one of the second.
  }];
  let arguments = (ins Warp_Buffer:$matrix, Index:$row, I32:$chunk,
                       OptionalAttr<Moe_PairsAttr>:$pairs, OptionalAttr<I64Attr>:$align);
  let results = (outs Variadic<Warp_Fragment>:$fragments);
  let assemblyFormat = [{
    $matrix `[` $row `,` $chunk `]` (`pairs` `` $pairs^)? (`align` $align^)? attr-dict
    `:` type($matrix) `,` type($fragments)
  }];
  let hasVerifier = 1;
}

def Warp_StoreOp : Warp_Op<"store"> {
  let summary = "Store the lane's part of a chunk, but for what is past the end of the row";
  let description = [{
    `streaming` says that caches need not keep what is stored.
  }];
  let arguments = (ins Warp_Fragment:$fragment, Warp_Buffer:$matrix, Index:$row,
                       I32:$chunk, Optional<I1>:$condition, OptionalAttr<I64Attr>:$align,
                       UnitAttr:$streaming);
  let assemblyFormat = [{
    $fragment `,` $matrix `[` $row `,` $chunk `]` (`if` $condition^)? (`align` $align^)?
    (`streaming` $streaming^)? attr-dict `:` type($fragment) `,` type($matrix)
  }];
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Groups and their scales
//===----------------------------------------------------------------------===//

// The lanes of a group share its elements in every step of a chunk. Each of them computes
// the scale of its group in one step, its own, and the others get the factor from it.

def Warp_GroupMaximumOp : Warp_Op<"group_maximum"> {
  let summary = "The greatest magnitude of the lane's own group";
  let description = [{
    `non_negative` promises that no element is negative or NaN.
  }];
  let arguments = (ins Warp_Fragment:$fragment, Warp_BlockFormat:$format,
                       UnitAttr:$non_negative);
  let results = (outs BF16:$maximum);
  let assemblyFormat = [{
    $fragment `format` `(` $format `)` (`non_negative` $non_negative^)? attr-dict `:` type($fragment)
  }];
  let hasVerifier = 1;
}

def Warp_ScaleCodeOp : Warp_Op<"scale_code", [Pure]> {
  let summary = "The scale code of a group with this maximum";
  let arguments = (ins BF16:$maximum, Warp_BlockFormat:$format);
  let results = (outs I32:$code);
  let assemblyFormat = "$maximum `format` `(` $format `)` attr-dict";
}

def Warp_QuantizeOp : Warp_Op<"quantize"> {
  let summary = "Quantise a fragment, each group with the scale that one of its lanes has";
  let arguments = (ins Warp_Fragment:$fragment, I32:$code, Warp_BlockFormat:$format);
  let results = (outs Warp_Fragment:$data);
  let assemblyFormat = [{
    $fragment `by` $code `format` `(` $format `)` attr-dict `:` type($fragment) `->` type($data)
  }];
  let hasVerifier = 1;
}

def Warp_StoreScaleOp : Warp_Op<"store_scale"> {
  let summary = "Store the scale of the lane's own group";
  let description = [{
    Those of the padding columns of the last column tile are 0.
  }];
  let arguments = (ins I32:$code, Warp_Buffer:$scale, Index:$row, I32:$chunk,
                       Warp_BlockFormat:$format);
  let assemblyFormat = [{
    $code `,` $scale `[` $row `,` $chunk `]` `format` `(` $format `)` attr-dict `:` type($scale)
  }];
  let hasVerifier = 1;
}

def Warp_ClearScalesOp : Warp_Op<"clear_scales"> {
  let summary = "Clear the scales of a chunk of a row, one a lane";
  let arguments = (ins Warp_Buffer:$scale, Index:$row, I32:$chunk,
                       Warp_BlockFormat:$format);
  let assemblyFormat = [{
    $scale `[` $row `,` $chunk `]` `format` `(` $format `)` attr-dict `:` type($scale)
  }];
  let hasVerifier = 1;
}

// Of a quad in the swizzled layout.

def Warp_PackScalesOp : Warp_Op<"pack_scales"> {
  let summary = "The four scales of a column tile of a row in a word";
  let description = [{
    Those of the padding columns of the last column tile are 0.
  }];
  let arguments = (ins I32:$code, I32:$chunk, Warp_BlockFormat:$format);
  let results = (outs I32:$word);
  let assemblyFormat = "$code `[` $chunk `]` `format` `(` $format `)` attr-dict";
  let hasVerifier = 1;
}

def Warp_StoreQuadScalesOp : Warp_Op<"store_quad_scales"> {
  let summary = "Store the scales of a quad, a row's for a column tile in each lane";
  let description = [{
    Those of the rows in `live`; with `dead` of all four, if the warp has the whole quad.
  }];
  let arguments = (ins I32:$word, Warp_Buffer:$scale, Index:$rows, I32:$first, I32:$live,
                       I32:$chunk, Warp_BlockFormat:$format, UnitAttr:$dead);
  let assemblyFormat = [{
    $word `,` $scale `[` $first `,` $chunk `]` `to` $rows `live` $live (`dead` $dead^)?
    `format` `(` $format `)` attr-dict `:` type($scale)
  }];
  let hasVerifier = 1;
}

def Warp_ClearDeadQuadsOp : Warp_Op<"clear_dead_quads"> {
  let summary = "Clear the scales of quads without a live row, a quad for each lane";
  let description = [{
    Quads with a live row are left to the warps that have them. Where rows go to warps one by
    one, the scales of the rows that are not live are cleared here.
  }];
  let arguments = (ins Warp_Quad:$live, Warp_Buffer:$scale, Index:$rows, Index:$tile,
                       I32:$chunk, I64Attr:$bytes, Warp_BlockFormat:$format);
  let assemblyFormat = [{
    $live `,` $scale `[` $tile `,` $chunk `]` `to` $rows `bytes` $bytes `format` `(` $format `)`
    attr-dict `:` type($live) `,` type($scale)
  }];
  let hasVerifier = 1;
}

#endif // MOE_WARP_IR_WARPOPS
