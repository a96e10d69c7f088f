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
    leaves the other rows alone. Its operands are `x`, `permutation_map`, `n_used` and then
    the destinations of the format; it is in destination style.

    An op of another dialect that implements this and `DestinationStyleOpInterface`
    verifies (`verifyPaddingAwareOp`), bufferizes and checks its sizes at run time
    (`registerPaddingAwareOpModels`), fuses and lowers as the ops of this dialect do.
  }];
  let cppNamespace = "::mlir::moe";
  let methods = [
    InterfaceMethod<"The input, [M, N] bf16.",
      "::mlir::TypedValue<::mlir::ShapedType>", "getX">,
    InterfaceMethod<"The original token of each row, [M] i32, negative for padding.",
      "::mlir::TypedValue<::mlir::ShapedType>", "getPermutationMap">,
    InterfaceMethod<"The number of rows in use, one i32.",
      "::mlir::TypedValue<::mlir::ShapedType>", "getNUsed">,
    InterfaceMethod<"What the activation is stored as.",
      "::mlir::moe::FormatAttrInterface", "getFormat">,
    InterfaceMethod<[{
        Builds the activation of one element, or of a vector of them: bf16 in, the same type
        out. This is the only place where the arithmetic of an activation is written. It may
        use what the region of `moe.map_rows` may contain, and nothing else.
      }],
      "::mlir::Value", "buildActivation",
      (ins "::mlir::OpBuilder &":$builder, "::mlir::Location":$loc,
           "::mlir::Value":$elements)>,
    InterfaceMethod<[{
        The name of the activation, by which fusion finds the op that computes and quantises
        it: `<activation>_<suffix of the format>` of the same dialect. Empty if there is no
        such op.
      }],
      "::llvm::StringRef", "getActivationName", (ins), "", "return {};">,
    InterfaceMethod<[{
        Whether the activation is the identity, so that the op only stores `x` in a format.
      }],
      "bool", "isIdentity", (ins), "", "return false;">,
    InterfaceMethod<"What the kernels for the op are called, before the format's suffix.",
      "::llvm::StringRef", "getKernelBaseName", (ins), "",
      "return $_op->getName().stripDialect();">,
  ];
  let extraSharedClassDeclaration = [{
    /// The names of the operands, for messages.
    ::llvm::SmallVector<::llvm::StringRef> getOperandNames() {
      return ::mlir::moe::detail::getOperandNames($_op);
    }
    /// The destinations: the matrix of elements, and the scales if the format has some.
    ::mlir::OperandRange getDestinations() {
      return $_op->getOperands().drop_front(::mlir::moe::kNumInputs);
    }
  }];
  let verify = [{ return ::mlir::moe::verifyPaddingAwareOp($_op); }];
}

#endif // MOE_IR_MOEINTERFACES
