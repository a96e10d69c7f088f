//===- MoeFormats.td - Formats of a destination -------------*- tablegen -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What an activation is stored as. A new format is an attribute here and a file in
// lib/IR that implements its interface.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_IR_MOEFORMATS
#define MOE_IR_MOEFORMATS

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "moe/IR/MoeAttrInterfaces.td"
include "moe/IR/MoeAttrs.td"
include "moe/IR/MoeDialect.td"

class Moe_DefaultedEnum<EnumInfo info, string default> : EnumParameter<info> {
  let defaultValue = default;
}

class Moe_Format<string name, string mnemonic_, list<Trait> traits>
    : AttrDef<Moe_Dialect, name, traits> {
  let mnemonic = mnemonic_;
}

def Moe_BF16Attr : Moe_Format<"BF16", "bf16", [
    DeclareAttrInterfaceMethods<Moe_FormatAttrInterface>]> {
  let summary = "Elements of bf16, as they are computed";
  let description = [{
    One destination, `out`: a matrix `[M, N]` of bf16.
  }];
}

/// A format with scales, whose parameters are where they are and what becomes of those of
/// dead rows.
class Moe_BlockFormat<string name, string mnemonic>
    : Moe_Format<name, mnemonic, [
        DeclareAttrInterfaceMethods<Moe_FormatAttrInterface,
          ["getOpSuffix", "getKernelSuffix", "addOpAttributes"]>,
        DeclareAttrInterfaceMethods<Moe_BlockFormatAttrInterface>]> {
  let parameters = (ins
      Moe_DefaultedEnum<Moe_ScaleLayout,
        "::mlir::moe::ScaleLayout::Swizzle32_4_4">:$scale_layout,
      Moe_DefaultedEnum<Moe_DeadScales,
        "::mlir::moe::DeadScales::Zero">:$dead_scales);
  let assemblyFormat = "(`<` struct(params)^ `>`)?";
  let extraClassDeclaration = [{
    void lower(FormatLowering &lowering) const { lowering.lowerGroups(*this); }
    std::optional<std::string> checkScales(StringRef name, int64_t rows, int64_t columns,
                                           TypeRange scales) const {
      return checkScalesOfGroups(*this, name, rows, columns, scales);
    }
    std::optional<ScaleLayout> getScheduledScales() const { return getScaleLayout(); }
    std::optional<std::string> checkSchedule(const Schedule &schedule) const {
      return checkScheduleOfGroups(*this, schedule);
    }
    int64_t getMinSteps(const Schedule &schedule) const {
      return getMinStepsOfGroups(*this, schedule);
    }
  }];
}

def Moe_MXFP8Attr : Moe_BlockFormat<"MXFP8", "mxfp8"> {
  let summary = "Elements of E4M3 with an E8M0 scale for each group of 32 columns";
  let description = [{
    Two destinations: `data`, a matrix `[M, K]` of f8E4M3FN, and `scale`, of f8E8M0FNU,
    where `scale_layout` says. The dialect's description has the rule.

    Example: `#moe.mxfp8<scale_layout = linear, dead_scales = untouched>`; `#moe.mxfp8` has
    the defaults, `swizzle_32_4_4` and `zero`.
  }];
}

#endif // MOE_IR_MOEFORMATS
