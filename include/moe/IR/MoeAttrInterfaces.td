//===- MoeAttrInterfaces.td - Interfaces of attributes ------*- tablegen -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What the verifier and the lowerings need to know of a format, so that a new one is an
// attribute and nothing else.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_IR_MOEATTRINTERFACES
#define MOE_IR_MOEATTRINTERFACES

include "mlir/IR/Interfaces.td"

def Moe_FormatAttrInterface : AttrInterface<"FormatAttrInterface"> {
  let description = [{
    What the activation of a live row is stored as.
  }];
  let cppNamespace = "::mlir::moe";
  let methods = [
    InterfaceMethod<[{
        The names of the destinations, for messages: that of the matrix of elements first.
      }],
      "::llvm::ArrayRef<::llvm::StringLiteral>", "getDestinationNames">,
    InterfaceMethod<"The type of an element.", "::mlir::Type", "getElementType">,
    InterfaceMethod<[{
        What the name of an op that computes an activation and stores it in this format has
        after the activation's, such as `quantize_mxfp8`. Empty if there is none.
      }],
      "::llvm::StringRef", "getOpSuffix", (ins), "", "return {};">,
    InterfaceMethod<[{
        What sets kernels of one op apart whose formats differ, such as `_linear`.
      }],
      "std::string", "getKernelSuffix", (ins), "", "return {};">,
    InterfaceMethod<[{
        Adds the attributes that ops named after the format have for its parameters.
      }],
      "void", "addOpAttributes", (ins "::mlir::NamedAttrList &":$attributes), "", "return;">,
    InterfaceMethod<[{
        Lowers by the one of `lowering`'s ways to store rows that is this format's.
      }],
      "void", "lower", (ins "::mlir::moe::FormatLowering &":$lowering), "",
      "lowering.lowerElements();">,
    InterfaceMethod<[{
        What is wrong, in the words of the verifier, with scales of these types for a matrix
        [`rows`, `columns`], `columns` those of the operand `name`.
      }],
      "std::optional<std::string>", "checkScales",
      (ins "::llvm::StringRef":$name, "int64_t":$rows, "int64_t":$columns,
           "::mlir::TypeRange":$scales), "", "return std::nullopt;">,
    InterfaceMethod<[{
        What becomes of the scales of rows that are not live. Nothing, if there are none.
      }],
      "::mlir::moe::DeadScales", "getDeadScales", (ins), "",
      "return ::mlir::moe::DeadScales::Untouched;">,
    InterfaceMethod<[{
        Where the scales are, which decides which schedules suit. Null if there are none.
      }],
      "std::optional<::mlir::moe::ScaleLayout>", "getScheduledScales", (ins), "",
      "return std::nullopt;">,
    InterfaceMethod<"What keeps rows from being stored by `schedule`, if anything does.",
      "std::optional<std::string>", "checkSchedule",
      (ins "const ::mlir::moe::Schedule &":$schedule), "",
      "return ::mlir::moe::checkScheduleOfElements(schedule);">,
    InterfaceMethod<"The fewest steps that a chunk of `schedule` may have.",
      "int64_t", "getMinSteps", (ins "const ::mlir::moe::Schedule &":$schedule), "",
      "return 1;">,
  ];
}

def Moe_BlockFormatAttrInterface
    : AttrInterface<"BlockFormatAttrInterface", [Moe_FormatAttrInterface]> {
  let description = [{
    A format in which consecutive columns of a row, a group, share a scale. There are two
    destinations, the elements and the scales. `Moe_BlockFormat` defines what its formats
    have in common.

    A *scale code* is what is stored for a group, as an i32. The functions that build IR
    take and give vectors too, one element for each group. They use target-neutral ops of
    `arith` and `vector`, and integers where floating point would depend on the target.
  }];
  let cppNamespace = "::mlir::moe";
  let methods = [
    InterfaceMethod<"Columns of a group.", "int64_t", "getGroupSize">,
    InterfaceMethod<"The type of a scale, of 8 bits.", "::mlir::Type", "getScaleType">,
    InterfaceMethod<"Where the scales are.", "::mlir::moe::ScaleLayout",
      "getScaleLayout">,
    InterfaceMethod<[{
        The scale code of a group whose greatest magnitude is `maximum`, a bf16 that is
        neither negative nor NaN.
      }],
      "::mlir::Value", "buildScaleCode",
      (ins "::mlir::ImplicitLocOpBuilder &":$builder, "::mlir::Value":$maximum)>,
    InterfaceMethod<[{
        The bf16 by which the elements of a group with scale code `code` are multiplied
        before they are converted.
      }],
      "::mlir::Value", "buildFactor",
      (ins "::mlir::ImplicitLocOpBuilder &":$builder, "::mlir::Value":$code)>,
    InterfaceMethod<[{
        The elements of a fragment of a group (a vector of bf16) whose factor is `factor`.
      }],
      "::mlir::Value", "buildElements",
      (ins "::mlir::ImplicitLocOpBuilder &":$builder, "::mlir::Value":$fragment,
           "::mlir::Value":$factor)>,
  ];
}

#endif // MOE_IR_MOEATTRINTERFACES
