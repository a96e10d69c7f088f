//===- DescribeKernel.h - What whoever launches must know -------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Makes the description of a kernel from its op and its schedule, chooses by it on the
// host, and puts it beside the kernel.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_CONVERSION_DESCRIBEKERNEL_H
#define MOE_LIB_CONVERSION_DESCRIBEKERNEL_H

#include "../Launch/KernelDescription.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "moe/IR/Moe.h"

namespace mlir::moe {

/// An operand of a kernel, `type` a memref of any kind or an integer; what its accesses
/// need is that of an element.
::moe::launch::OperandDescription describeOperand(StringRef name, Type type,
                                                  bool isWritten, bool isScalar);

/// All but the name.
::moe::launch::KernelDescription describeKernel(MapRowsOp op, const Schedule &schedule);

/// An i1 that is true if the kernel may have the operands that `op` has and, unless there
/// is no other, is made for as many pairs. Constant if that is known now.
Value buildIsSuitable(ImplicitLocOpBuilder &b, Operation *op,
                      const ::moe::launch::KernelDescription &description, bool hasOther);

/// Describes `kernel`, whose names it completes: for readers as an attribute, and behind
/// it, for those who load the image, in bytes. Emits an error for a name that is too
/// long. `baseName` is what the name of each kernel for the op begins with.
LogicalResult attachDescription(gpu::GPUFuncOp kernel, Operation *op,
                                ::moe::launch::KernelDescription description,
                                StringRef baseName);

/// Says at the end of `module` which of its kernels are described, if any are.
void listDescribedKernels(gpu::GPUModuleOp module);

} // namespace mlir::moe

#endif // MOE_LIB_CONVERSION_DESCRIBEKERNEL_H
