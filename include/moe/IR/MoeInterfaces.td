//===- MoeInterfaces.td - Interfaces of the moe dialect -----*- tablegen -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What a lowering needs to know of an op, so that a new activation is lowered by
// every path without a change to any of them.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_IR_MOEINTERFACES
#define MOE_IR_MOEINTERFACES

include "mlir/IR/Interfaces.td"

def Moe_PaddingAwareOpInterface : OpInterface<"PaddingAwareOpInterface"> {
  let description = [{
    An op that computes an activation of the live rows of `x`, stores it in a format, and
    leaves the other rows alone. Its operands are `x`, `permutation_map` unless it has none,
    `n_used`, `probs` if it has them, and then the destinations of the format; it is in
    destination style.

    An op of another dialect that implements this and `DestinationStyleOpInterface`
    verifies (`verifyPaddingAwareOp`), bufferizes and checks its sizes at run time
    (`registerPaddingAwareOpModels`), fuses and lowers as the ops of this dialect do.
  }];
  let cppNamespace = "::mlir::moe";
  let methods = [
    InterfaceMethod<[{
        The input, [M, N] bf16, or [M, 2N] with pairs of columns. Where rows are gathered
        it has any number of them.
      }],
      "::mlir::TypedValue<::mlir::ShapedType>", "getX">,
    InterfaceMethod<[{
        The original token of each row, [M] i32, negative for padding. Null if all rows below
        `n_used` are live.
      }],
      "::mlir::TypedValue<::mlir::ShapedType>", "getPermutationMap">,
    InterfaceMethod<"The number of rows in use, one i32.",
      "::mlir::TypedValue<::mlir::ShapedType>", "getNUsed">,
    InterfaceMethod<"What the activation is stored as.",
      "::mlir::moe::FormatAttrInterface", "getFormat">,
    InterfaceMethod<[{
        Builds the activation of one element, or of a vector of them: bf16 in, the same type
        out. `elements` is one value, or with `getColumnPairs` the two of a pair; then, with
        `getProbs`, the factor of the row, in f32. This is the only place where the
        arithmetic of an activation is written. It may use what the region of `moe.map_rows`
        may contain, and nothing else.
      }],
      "::mlir::Value", "buildActivation",
      (ins "::mlir::OpBuilder &":$builder, "::mlir::Location":$loc,
           "::mlir::ValueRange":$elements)>,
    InterfaceMethod<[{
        Which two columns of `x`, `[M, 2N]` then, a column of the destination is computed of.
        Null if it is computed of the one at the same place.
      }],
      "::mlir::moe::PairsAttr", "getColumnPairs", (ins), "", "return {};">,
    InterfaceMethod<[{
        Whether row `r` of the destinations is computed of the row of `x` that
        `permutation_map[r]` names, rather than of row `r`. Then there is a map, and only
        those rows are live whose entry is below the number of rows of `x`.
      }],
      "bool", "getGathers", (ins), "", "return false;">,
    InterfaceMethod<"A factor of each row, [M] f32. Null if there is none.",
      "::mlir::TypedValue<::mlir::ShapedType>", "getProbs", (ins), "", "return {};">,
    InterfaceMethod<"What becomes of rows below `n_used` that are not live.",
      "::mlir::moe::DeadRows", "getDeadRows", (ins), "",
      "return ::mlir::moe::DeadRows::Untouched;">,
    InterfaceMethod<[{
        The name of the activation, by which fusion finds the op that computes and quantises
        it: `<activation>_<suffix of the format>` of the same dialect. Empty if there is no
        such op.
      }],
      "::llvm::StringRef", "getActivationName", (ins), "", "return {};">,
    InterfaceMethod<[{
        Whether the op only stores `x` in a format: the activation is the identity, and no
        row is gathered.
      }],
      "bool", "isIdentity", (ins), "", "return false;">,
    InterfaceMethod<"What the kernels for the op are called, before the format's suffix.",
      "std::string", "getKernelBaseName", (ins), "",
      "return $_op->getName().stripDialect().str();">,
  ];
  let extraSharedClassDeclaration = [{
    /// The names of the operands, for messages.
    ::llvm::SmallVector<::llvm::StringRef> getOperandNames() {
      return ::mlir::moe::detail::getOperandNames($_op);
    }
    /// How many columns of `x` a column of the destination is computed of.
    int64_t getNumParts() { return $_op.getColumnPairs() ? 2 : 1; }
    /// The operand whose columns are those of the destination: `x`, if that has them.
    ::mlir::Value getColumnsOperand() {
      return $_op.getColumnPairs() ? getDestinations().front() : ::mlir::Value($_op.getX());
    }
    /// The operand whose rows are those of the map and of the destinations: `x`, unless rows
    /// of that are gathered.
    ::mlir::Value getRowsOperand() {
      return $_op.getGathers() ? getDestinations().front() : ::mlir::Value($_op.getX());
    }
    /// The destinations: the matrix of elements, and the scales if the format has some.
    ::mlir::OperandRange getDestinations() {
      return $_op->getOperands().drop_front(getNumInputs());
    }
    /// The number of operands in front of them.
    unsigned getNumInputs() { return ::mlir::moe::detail::getNumInputs($_op); }
  }];
  let verify = [{ return ::mlir::moe::verifyPaddingAwareOp($_op); }];
}

def Moe_PermutationOpInterface : OpInterface<"PermutationOpInterface"> {
  let description = [{
    An op between tokens and the rows of experts that computes no row of another one: it is
    no padding-aware op, and has lowerings and kernels of its own. It is in destination
    style, on tensors or memrefs; it may have integers as operands besides.
  }];
  let cppNamespace = "::mlir::moe";
  let methods = [
    InterfaceMethod<"The names of the operands, for messages and for who launches.",
      "::llvm::SmallVector<::llvm::StringRef>", "getOperandNames">,
    InterfaceMethod<"The number of operands in front of the destinations.",
      "unsigned", "getNumInputs">,
    InterfaceMethod<[{
        Which constraint operands of these types would break, as the verifier says it.
      }],
      "::std::optional<::std::string>", "checkOperandTypes",
      (ins "::mlir::TypeRange":$types)>,
  ];
  let verify = [{ return ::mlir::moe::verifyPermutationOp($_op); }];
}

#endif // MOE_IR_MOEINTERFACES
