// Annotations move from a discardable attribute to the property that the translation reads.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -moe-legalize-loop-annotations --mlir-print-op-generic | FileCheck %s
// RUN: moe-opt %s -moe-legalize-loop-annotations | mlir-translate --mlir-to-llvmir | FileCheck %s --check-prefix=LLVM

#annotation = #llvm.loop_annotation<unroll = <disable = true>>

// CHECK: "llvm.br"()[^{{.*}}] : () -> ()
// CHECK: "llvm.cond_br"(%{{.*}})[^{{.*}}, ^{{.*}}] <{{{.*}}loop_annotation = #{{.*}}}> {other = 1 : i32}
// CHECK: "llvm.br"()[^{{.*}}] <{loop_annotation = #{{.*}}}> : () -> ()
// CHECK-NOT: llvm.loop_annotation =

// LLVM-LABEL: define void @loop(
// LLVM: br i1 %{{.*}}, label %{{.*}}, label %{{.*}}, !llvm.loop ![[LOOP:[0-9]+]]
// LLVM: br label %{{.*}}, !llvm.loop ![[LOOP]]
// LLVM: ![[LOOP]] = distinct !{![[LOOP]], ![[UNROLL:[0-9]+]]}
// LLVM: ![[UNROLL]] = !{!"llvm.loop.unroll.disable"}
llvm.func @loop(%condition: i1) {
  llvm.br ^header
^header:
  llvm.cond_br %condition, ^body, ^exit {llvm.loop_annotation = #annotation, other = 1 : i32}
^body:
  llvm.br ^header {llvm.loop_annotation = #annotation}
^exit:
  llvm.return
}
