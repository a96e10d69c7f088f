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
    An op that computes on the live rows of `x` and leaves the others alone.
  }];
  let cppNamespace = "::mlir::moe";
  let methods = [
    InterfaceMethod<"The input, [M, N] bf16.",
      "::mlir::TypedValue<::mlir::ShapedType>", "getX">,
    InterfaceMethod<"The original token of each row, [M] i32, negative for padding.",
      "::mlir::TypedValue<::mlir::ShapedType>", "getPermutationMap">,
    InterfaceMethod<"The number of rows in use, one i32.",
      "::mlir::TypedValue<::mlir::ShapedType>", "getNUsed">,
    InterfaceMethod<"The names of the operands, for messages.",
      "::llvm::ArrayRef<::llvm::StringLiteral>", "getOperandNames">,
    InterfaceMethod<[{
        Builds the activation of one fragment of a row: a vector of bf16 in, the same
        type out. This is the only place where the arithmetic of an activation is
        written; it must use target-neutral ops of `arith` and `vector` alone.
      }],
      "::mlir::Value", "buildActivation",
      (ins "::mlir::OpBuilder &":$builder, "::mlir::Location":$loc,
           "::mlir::Value":$fragment)>,
  ];
}

def Moe_MXFP8QuantizeOpInterface
    : OpInterface<"MXFP8QuantizeOpInterface", [Moe_PaddingAwareOpInterface]> {
  let description = [{
    A padding-aware op that quantises its activation to MXFP8.
  }];
  let cppNamespace = "::mlir::moe";
  let methods = [
    InterfaceMethod<"The E4M3 destination, [M, K].",
      "::mlir::TypedValue<::mlir::ShapedType>", "getData">,
    InterfaceMethod<"The E8M0 destination, shaped as the layout says.",
      "::mlir::TypedValue<::mlir::ShapedType>", "getScale">,
    InterfaceMethod<"The layout of the scales.",
      "::mlir::moe::ScaleLayout", "getScaleLayout">,
    InterfaceMethod<"What becomes of the scales of rows that are not live.",
      "::mlir::moe::DeadScales", "getDeadScales">,
    InterfaceMethod<[{
        Whether the activation is never negative and never NaN, so that a group's
        maximum needs neither the sign cleared nor NaN filtered out.
      }],
      "bool", "hasNonNegativeActivation">,
  ];
}

#endif // MOE_IR_MOEINTERFACES
