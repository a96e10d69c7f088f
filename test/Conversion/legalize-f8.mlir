// To f8: an instruction where the chip has it, else integer arithmetic; from narrow floats.
// Both are exact.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -moe-legalize-f8=chip=sm_89 | FileCheck %s --check-prefixes=HW,BOTH
// RUN: moe-opt %s -moe-legalize-f8=chip=sm_90 | FileCheck %s --check-prefixes=HW,BOTH
// RUN: moe-opt %s -moe-legalize-f8=chip=sm_120a | FileCheck %s --check-prefixes=HW,BOTH
// RUN: moe-opt %s -moe-legalize-f8=chip=sm_80 | FileCheck %s --check-prefixes=INT,BOTH
// RUN: moe-opt %s -moe-legalize-f8=chip=sm_86 | FileCheck %s --check-prefixes=INT,BOTH
// RUN: moe-opt %s -moe-legalize-f8 | FileCheck %s --check-prefixes=INT,BOTH
// RUN: not moe-opt %s -moe-legalize-f8=chip=sm_91 2>&1 | FileCheck %s --check-prefix=CHIP

// CHIP: error: moe-legalize-f8: unsupported chip 'sm_91', expected one of sm_80, sm_86, sm_89, sm_90, sm_90a, sm_100,
// CHIP-NOT: func.func

// The first operand of the instruction ends up in the high byte, and element 0 is the low
// byte: element 1 comes first.
// HW-LABEL: func @vector
// HW-SAME: (%[[A:.*]]: vector<4xf32>)
// HW-DAG: %[[E0:.*]] = vector.extract %[[A]][0]
// HW-DAG: %[[E1:.*]] = vector.extract %[[A]][1]
// HW-DAG: %[[P0:.*]] = nvvm.convert.f32x2.to.f8x2 %[[E1]], %[[E0]] {rnd = #nvvm.fp_rnd_mode<rn>, sat = #nvvm.sat_mode<satfinite>} : i16(f8E4M3FN)
// HW-DAG: %[[E2:.*]] = vector.extract %[[A]][2]
// HW-DAG: %[[E3:.*]] = vector.extract %[[A]][3]
// HW-DAG: %[[P1:.*]] = nvvm.convert.f32x2.to.f8x2 %[[E3]], %[[E2]]
// HW: %[[PAIRS:.*]] = vector.from_elements %[[P0]], %[[P1]] : vector<2xi16>
// HW: %[[BYTES:.*]] = vector.bitcast %[[PAIRS]] : vector<2xi16> to vector<4xi8>
// HW: %[[R:.*]] = arith.bitcast %[[BYTES]] : vector<4xi8> to vector<4xf8E4M3FN>
// HW: return %[[R]]

// Normal results round the mantissa in place, subnormal ones by an addition; NaN is
// selected last.
// INT-LABEL: func @vector
// INT-SAME: (%[[A:.*]]: vector<4xf32>)
// INT-NOT: arith.truncf
// INT-NOT: nvvm.
// INT-DAG: %[[BITS:.*]] = arith.bitcast %[[A]] : vector<4xf32> to vector<4xi32>
// INT-DAG: %[[ABS_MASK:.*]] = arith.constant dense<2147483647> : vector<4xi32>
// INT-DAG: %[[MAGNITUDE:.*]] = arith.andi %[[BITS]], %[[ABS_MASK]]
// INT-DAG: %[[BIAS:.*]] = arith.constant dense<960> : vector<4xi32>
// INT-DAG: %[[REBIASED:.*]] = arith.subi %{{.*}}, %[[BIAS]]
// INT-DAG: %[[GREATEST:.*]] = arith.constant dense<126> : vector<4xi32>
// INT-DAG: %[[NORMAL:.*]] = arith.minsi %[[REBIASED]], %[[GREATEST]]
// INT-DAG: %[[MAGIC:.*]] = arith.constant dense<1182793728> : vector<4xi32>
// INT-DAG: %[[SUM:.*]] = arith.addf
// INT-DAG: %[[SUM_BITS:.*]] = arith.bitcast %[[SUM]]
// INT-DAG: %[[SUBNORMAL:.*]] = arith.subi %[[SUM_BITS]], %[[MAGIC]]
// INT-DAG: %[[IS_NORMAL:.*]] = arith.cmpi uge, %[[MAGNITUDE]]
// INT: arith.select %[[IS_NORMAL]], %[[NORMAL]], %[[SUBNORMAL]]
// INT: %[[SIGNED:.*]] = arith.ori
// INT: %[[IS_NAN:.*]] = arith.cmpi ugt, %[[MAGNITUDE]]
// INT: %[[NAN:.*]] = arith.constant dense<127> : vector<4xi32>
// INT: %[[RESULT:.*]] = arith.select %[[IS_NAN]], %[[NAN]], %[[SIGNED]]
// INT: %[[BYTES:.*]] = arith.trunci %[[RESULT]] : vector<4xi32> to vector<4xi8>
// INT: %[[R:.*]] = arith.bitcast %[[BYTES]] : vector<4xi8> to vector<4xf8E4M3FN>
// INT: return %[[R]]
func.func @vector(%a: vector<4xf32>) -> vector<4xf8E4M3FN> {
  %0 = arith.truncf %a : vector<4xf32> to vector<4xf8E4M3FN>
  return %0 : vector<4xf8E4M3FN>
}

// The last element of three is paired with itself.
// HW-LABEL: func @odd_size
// HW-COUNT-2: nvvm.convert.f32x2.to.f8x2
// HW: %[[BYTES:.*]] = vector.bitcast %{{.*}} : vector<2xi16> to vector<4xi8>
// HW: %[[B0:.*]] = vector.extract %[[BYTES]][0]
// HW: %[[B1:.*]] = vector.extract %[[BYTES]][1]
// HW: %[[B2:.*]] = vector.extract %[[BYTES]][2]
// HW: %[[THREE:.*]] = vector.from_elements %[[B0]], %[[B1]], %[[B2]] : vector<3xi8>
// HW: arith.bitcast %[[THREE]] : vector<3xi8> to vector<3xf8E4M3FN>
// INT-LABEL: func @odd_size
// INT: arith.bitcast %{{.*}} : vector<3xi8> to vector<3xf8E4M3FN>
func.func @odd_size(%a: vector<3xf32>) -> vector<3xf8E4M3FN> {
  %0 = arith.truncf %a : vector<3xf32> to vector<3xf8E4M3FN>
  return %0 : vector<3xf8E4M3FN>
}

// HW-LABEL: func @one_element
// HW: nvvm.convert.f32x2.to.f8x2
// HW: vector.from_elements %{{.*}} : vector<1xi8>
// INT-LABEL: func @one_element
// INT: arith.bitcast %{{.*}} : vector<1xi8> to vector<1xf8E4M3FN>
func.func @one_element(%a: vector<1xf32>) -> vector<1xf8E4M3FN> {
  %0 = arith.truncf %a : vector<1xf32> to vector<1xf8E4M3FN>
  return %0 : vector<1xf8E4M3FN>
}

// HW-LABEL: func @scalar
// HW-SAME: (%[[A:.*]]: f32)
// HW-NEXT: %[[PAIR:.*]] = nvvm.convert.f32x2.to.f8x2 %[[A]], %[[A]]
// HW-NEXT: %[[BYTE:.*]] = arith.trunci %[[PAIR]] : i16 to i8
// HW-NEXT: arith.bitcast %[[BYTE]] : i8 to f8E4M3FN
// INT-LABEL: func @scalar
// INT-NOT: arith.truncf
// INT: %[[BYTE:.*]] = arith.trunci %{{.*}} : i32 to i8
// INT-NEXT: arith.bitcast %[[BYTE]] : i8 to f8E4M3FN
func.func @scalar(%a: f32) -> f8E4M3FN {
  %0 = arith.truncf %a : f32 to f8E4M3FN
  return %0 : f8E4M3FN
}

// What the pass rewrites may say how it rounds.
// BOTH-LABEL: func @explicit_rounding
// BOTH-NOT: arith.truncf
// BOTH: return
func.func @explicit_rounding(%a: f32) -> f8E4M3FN {
  %0 = arith.truncf %a to_nearest_even : f32 to f8E4M3FN
  return %0 : f8E4M3FN
}

// bf16 is widened first. In a vector it comes in pairs, whose words a shift and a mask make
// two f32 of.
// HW-LABEL: func @from_bf16
// HW-SAME: (%[[A:.*]]: bf16, %[[V:.*]]: vector<4xbf16>, %[[ODD:.*]]: vector<3xbf16>)
// HW: %[[WIDE:.*]] = arith.extf %[[A]] : bf16 to f32
// HW: nvvm.convert.f32x2.to.f8x2 %[[WIDE]], %[[WIDE]]
// HW: %[[WORDS:.*]] = vector.bitcast %[[V]] : vector<4xbf16> to vector<2xi32>
// HW-DAG: %[[C16:.*]] = arith.constant 16 : i32
// HW-DAG: %[[UPPER:.*]] = arith.constant -65536 : i32
// HW: %[[W0:.*]] = vector.extract %[[WORDS]][0]
// HW-DAG: %[[B0:.*]] = arith.shli %[[W0]], %[[C16]]
// HW-DAG: %[[B1:.*]] = arith.andi %[[W0]], %[[UPPER]]
// HW-DAG: %[[E0:.*]] = arith.bitcast %[[B0]] : i32 to f32
// HW-DAG: %[[E1:.*]] = arith.bitcast %[[B1]] : i32 to f32
// HW: nvvm.convert.f32x2.to.f8x2 %[[E1]], %[[E0]]
// HW: nvvm.convert.f32x2.to.f8x2
// HW: %[[WIDE_ODD:.*]] = arith.extf %[[ODD]] : vector<3xbf16> to vector<3xf32>
// HW-COUNT-2: nvvm.convert.f32x2.to.f8x2
// INT-LABEL: func @from_bf16
// INT: arith.extf %{{.*}} : bf16 to f32
// INT: arith.extf %{{.*}} : vector<4xbf16> to vector<4xf32>
// INT: arith.extf %{{.*}} : vector<3xbf16> to vector<3xf32>
// BOTH-NOT: arith.truncf
func.func @from_bf16(%a: bf16, %v: vector<4xbf16>, %odd: vector<3xbf16>)
    -> (f8E4M3FN, vector<4xf8E4M3FN>, vector<3xf8E4M3FN>) {
  %0 = arith.truncf %a : bf16 to f8E4M3FN
  %1 = arith.truncf %v : vector<4xbf16> to vector<4xf8E4M3FN>
  %2 = arith.truncf %odd : vector<3xbf16> to vector<3xf8E4M3FN>
  return %0, %1, %2 : f8E4M3FN, vector<4xf8E4M3FN>, vector<3xf8E4M3FN>
}

// f16 is widened too, and a vector of any rank is one row.
// HW-LABEL: func @from_f16
// HW: arith.extf %{{.*}} : f16 to f32
// HW: nvvm.convert.f32x2.to.f8x2
// HW: vector.shape_cast %{{.*}} : vector<2x3xf32> to vector<6xf32>
// HW-COUNT-3: nvvm.convert.f32x2.to.f8x2
// HW: vector.shape_cast %{{.*}} : vector<6xi8> to vector<2x3xi8>
// INT-LABEL: func @from_f16
// INT: arith.extf %{{.*}} : f16 to f32
// INT: arith.trunci %{{.*}} : vector<2x3xi32> to vector<2x3xi8>
// BOTH-NOT: arith.truncf
func.func @from_f16(%a: f16, %v: vector<2x3xf32>) -> (f8E4M3FN, vector<2x3xf8E4M3FN>) {
  %0 = arith.truncf %a : f16 to f8E4M3FN
  %1 = arith.truncf %v : vector<2x3xf32> to vector<2x3xf8E4M3FN>
  return %0, %1 : f8E4M3FN, vector<2x3xf8E4M3FN>
}

// The same conversion with the places and the greatest number of E5M2: two bits of mantissa, a
// bias of 15, 57344; its subnormals are multiples of 2^-16, the unit of 2^7.
// HW-LABEL: func @to_e5m2
// HW-COUNT-2: nvvm.convert.f32x2.to.f8x2 {{.*}} : i16(f8E5M2)
// HW: nvvm.convert.f32x2.to.f8x2 {{.*}} : i16(f8E5M2)
// INT-LABEL: func @to_e5m2
// INT: arith.constant dense<21> : vector<4xi32>
// INT: arith.constant dense<1048575> : vector<4xi32>
// INT: arith.constant dense<448> : vector<4xi32>
// INT: arith.constant dense<123> : vector<4xi32>
// INT: arith.constant dense<1124073472> : vector<4xi32>
// INT: arith.constant dense<947912704> : vector<4xi32>
// INT: arith.bitcast %{{.*}} : vector<4xi8> to vector<4xf8E5M2>
// INT: arith.bitcast %{{.*}} : i8 to f8E5M2
// BOTH-NOT: arith.truncf
func.func @to_e5m2(%v: vector<4xf32>, %a: bf16) -> (vector<4xf8E5M2>, f8E5M2) {
  %0 = arith.truncf %v : vector<4xf32> to vector<4xf8E5M2>
  %1 = arith.truncf %a : bf16 to f8E5M2
  return %0, %1 : vector<4xf8E5M2>, f8E5M2
}

// The bits of E8M0 are an exponent; code 0 is a subnormal of f32, 255 is NaN.
// BOTH-LABEL: func @from_e8m0
// BOTH-SAME: (%[[A:.*]]: f8E8M0FNU)
// BOTH: %[[BYTE:.*]] = arith.bitcast %[[A]] : f8E8M0FNU to i8
// BOTH: %[[CODE:.*]] = arith.extui %[[BYTE]] : i8 to i32
// BOTH: %[[SHIFTED:.*]] = arith.shli %[[CODE]], %{{.*}} : i32
// BOTH: %[[LEAST:.*]] = arith.constant 4194304 : i32
// BOTH: %[[SOME:.*]] = arith.select %{{.*}}, %[[LEAST]], %[[SHIFTED]] : i32
// BOTH: %[[NAN:.*]] = arith.constant 2143289344 : i32
// BOTH: %[[WIDE:.*]] = arith.select %{{.*}}, %[[NAN]], %[[SOME]] : i32
// BOTH: arith.bitcast %[[WIDE]] : i32 to f32
func.func @from_e8m0(%a: f8E8M0FNU) -> f32 {
  %0 = arith.extf %a : f8E8M0FNU to f32
  return %0 : f32
}

// bf16 is the upper half of the f32; f16 is rounded from it, f64 widened.
// BOTH-LABEL: func @from_narrow
// BOTH-NOT: arith.extf %{{.*}} : {{.*f[864].*}} to
// BOTH: arith.bitcast %{{.*}} : vector<2x2xi16> to vector<2x2xbf16>
// BOTH: arith.truncf %{{.*}} : f32 to f16
// BOTH: arith.extf %{{.*}} : f32 to f64
// BOTH: return
func.func @from_narrow(%a: vector<2x2xf8E4M3FN>, %b: f8E5M2, %c: f4E2M1FN)
    -> (vector<2x2xbf16>, f16, f64) {
  %0 = arith.extf %a : vector<2x2xf8E4M3FN> to vector<2x2xbf16>
  %1 = arith.extf %b : f8E5M2 to f16
  %2 = arith.extf %c : f4E2M1FN to f64
  return %0, %1, %2 : vector<2x2xbf16>, f16, f64
}

// BOTH-LABEL: func @other_conversions
// BOTH: arith.truncf %{{.*}} : f32 to bf16
// BOTH: arith.truncf %{{.*}} : f64 to f8E4M3FN
// BOTH: arith.truncf %{{.*}} : f32 to f8E5M2FNUZ
// BOTH: arith.truncf %{{.*}} : f32 to f8E4M3FNUZ
// BOTH: arith.truncf %{{.*}} toward_zero : f32 to f8E4M3FN
// BOTH: arith.extf %{{.*}} : vector<[4]xf8E4M3FN> to vector<[4]xf32>
func.func @other_conversions(%a: f32, %b: f64, %v: vector<[4]xf8E4M3FN>)
    -> (bf16, f8E4M3FN, f8E5M2FNUZ, f8E4M3FNUZ, f8E4M3FN, vector<[4]xf32>) {
  %0 = arith.truncf %a : f32 to bf16
  %1 = arith.truncf %b : f64 to f8E4M3FN
  %2 = arith.truncf %a : f32 to f8E5M2FNUZ
  %3 = arith.truncf %a : f32 to f8E4M3FNUZ
  %4 = arith.truncf %a toward_zero : f32 to f8E4M3FN
  %5 = arith.extf %v : vector<[4]xf8E4M3FN> to vector<[4]xf32>
  return %0, %1, %2, %3, %4, %5
    : bf16, f8E4M3FN, f8E5M2FNUZ, f8E4M3FNUZ, f8E4M3FN, vector<[4]xf32>
}
