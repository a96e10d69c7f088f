//===- LegalizeBF16.cpp - bf16 arithmetic for a CPU -----------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A CPU computes bf16 in f32. Widening a vector element by element and narrowing it again
// costs shuffles across registers; here a vector of bf16 is taken as one of 32-bit words
// of two elements each, and becomes two vectors of f32 by a shift and a mask. What the
// producers of a value say of it (it is no NaN, it is not negative) saves more.
//
//===----------------------------------------------------------------------===//

#include "moe/Conversion/Passes.h"

#include "mlir/Analysis/DataFlow/IntegerRangeAnalysis.h"
#include "mlir/Analysis/DataFlow/SparseAnalysis.h"
#include "mlir/Analysis/DataFlow/Utils.h"
#include "mlir/Analysis/DataFlowFramework.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"

namespace mlir::moe {
#define GEN_PASS_DEF_MOELEGALIZEBF16
#include "moe/Conversion/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;
using namespace mlir::moe;

static constexpr int64_t kInfinity = 0x7f80;

//===----------------------------------------------------------------------===//
// What is known of a value
//===----------------------------------------------------------------------===//

/// The value of a scalar constant or of every element of a splat.
static std::optional<APFloat> getConstant(Value value) {
  APFloat constant(0.0f);
  if (matchPattern(value, m_ConstantFloat(&constant)))
    return constant;
  return std::nullopt;
}

/// The other operand of a maximumNumber with +0.
static Value matchRelu(arith::MaxNumFOp op) {
  for (auto [bound, value] :
       {std::pair(op.getRhs(), op.getLhs()), std::pair(op.getLhs(), op.getRhs())})
    if (std::optional<APFloat> constant = getConstant(bound);
        constant && constant->isPosZero())
      return value;
  return Value();
}

namespace {

/// What the elements of a float value may be; nothing at first.
struct FloatClass {
  bool mayBeNaN = false;
  /// Other than NaN, with the sign bit set.
  bool mayBeNegative = false;

  static FloatClass join(const FloatClass &lhs, const FloatClass &rhs) {
    return {lhs.mayBeNaN || rhs.mayBeNaN, lhs.mayBeNegative || rhs.mayBeNegative};
  }
  bool operator==(const FloatClass &other) const {
    return mayBeNaN == other.mayBeNaN && mayBeNegative == other.mayBeNegative;
  }
  void print(raw_ostream &os) const {
    os << (mayBeNaN ? "NaN " : "") << (mayBeNegative ? "negative" : "");
  }
};

constexpr FloatClass kAnyFloat{true, true};

using FloatClassLattice = dataflow::Lattice<FloatClass>;

/// Finds the classes of floats, through loops and branches too.
class FloatClassAnalysis
    : public dataflow::SparseForwardDataFlowAnalysis<FloatClassLattice> {
public:
  using SparseForwardDataFlowAnalysis::SparseForwardDataFlowAnalysis;

  LogicalResult visitOperation(Operation *op,
                               ArrayRef<const FloatClassLattice *> operands,
                               ArrayRef<FloatClassLattice *> results) override {
    for (auto [result, lattice] : llvm::zip_equal(op->getResults(), results))
      propagateIfChanged(lattice, lattice->join(classify(result, operands)));
    return success();
  }

  void setToEntryState(FloatClassLattice *lattice) override {
    propagateIfChanged(lattice, lattice->join(kAnyFloat));
  }

private:
  /// An i16 has the class of the bf16 whose bits it is, an i32 those of two of them.
  static FloatClass classify(Value value, ArrayRef<const FloatClassLattice *> operands) {
    if (std::optional<APFloat> constant = getConstant(value))
      return {constant->isNaN(), constant->isNegative()};
    if (auto maximum = value.getDefiningOp<arith::MaxNumFOp>()) {
      if (matchRelu(maximum))
        return {false, true}; // -0, perhaps
    } else if (auto product = value.getDefiningOp<arith::MulFOp>()) {
      // 0 * inf, the one product that is a new NaN, cannot come of equal factors.
      if (product.getLhs() == product.getRhs())
        return {operands[0]->getValue().mayBeNaN, false};
    } else if (auto bits = value.getDefiningOp<arith::AndIOp>()) {
      APInt mask;
      if (matchPattern(bits.getRhs(), m_ConstantInt(&mask)) && mask.getBitWidth() == 16)
        return {true, mask.isNegative()};
    } else if (auto bitcast = value.getDefiningOp<arith::BitcastOp>()) {
      if (isBF16ToInteger(bitcast.getIn().getType(), bitcast.getType()))
        return operands[0]->getValue();
    } else if (auto bitcast = value.getDefiningOp<vector::BitCastOp>()) {
      if (isBF16ToInteger(bitcast.getSource().getType(), bitcast.getType()))
        return operands[0]->getValue();
    }
    return kAnyFloat;
  }

  /// Or the other way.
  static bool isBF16ToInteger(Type from, Type to) {
    if (!getElementTypeOrSelf(from).isBF16())
      std::swap(from, to);
    Type integer = getElementTypeOrSelf(to);
    return getElementTypeOrSelf(from).isBF16() &&
           (integer.isInteger(16) || integer.isInteger(32));
  }
};

} // namespace

/// A vector of bf16 that can be taken as one of words.
static VectorType getPairableType(Type type) {
  auto vector = dyn_cast<VectorType>(type);
  if (vector && vector.getElementType().isBF16() && vector.getRank() == 1 &&
      !vector.isScalable() && vector.getNumElements() % 2 == 0)
    return vector;
  return VectorType();
}

//===----------------------------------------------------------------------===//
// Vectors as words
//===----------------------------------------------------------------------===//

namespace {

/// The elements of a vector of bf16 at even and at odd places, two vectors of f32.
struct Halves {
  Value even;
  Value odd;
};

class WordBuilder : public ImplicitLocOpBuilder {
public:
  using ImplicitLocOpBuilder::ImplicitLocOpBuilder;

  /// `value` as a constant of `type`, an integer type or a vector of one.
  Value buildConstant(Type type, int64_t value) {
    TypedAttr attribute = getIntegerAttr(getElementTypeOrSelf(type), value);
    if (auto vector = dyn_cast<VectorType>(type))
      attribute = DenseElementsAttr::get(vector, Attribute(attribute));
    return arith::ConstantOp::create(*this, attribute);
  }
  template <typename OpTy> Value build(Value lhs, int64_t rhs) {
    return OpTy::create(*this, lhs, buildConstant(lhs.getType(), rhs));
  }
  Value buildCompare(arith::CmpIPredicate predicate, Value lhs, int64_t rhs) {
    return arith::CmpIOp::create(*this, predicate, lhs,
                                 buildConstant(lhs.getType(), rhs));
  }

  /// `value` with elements of another type of the same width.
  Value buildBitcast(Value value, Type elementType) {
    Type type = cast<VectorType>(value.getType()).clone(elementType);
    return createOrFold<arith::BitcastOp>(type, value);
  }
  Value toF32(Value words) { return buildBitcast(words, getF32Type()); }
  Value toI32(Value floats) { return buildBitcast(floats, getI32Type()); }

  /// A vector of 16-bit elements, each as the upper half of an f32.
  Halves buildSplit(Value elements) {
    int64_t size = cast<VectorType>(elements.getType()).getNumElements();
    auto type = VectorType::get(size / 2, getI32Type());
    Value words = vector::BitCastOp::create(*this, type, elements);
    return {toF32(build<arith::ShLIOp>(words, 16)),
            toF32(build<arith::AndIOp>(words, -0x10000))};
  }
  /// The upper halves of f32 as a vector of i16.
  Value buildPackUpper(Halves halves) {
    return buildPack(build<arith::ShRUIOp>(toI32(halves.even), 16),
                     build<arith::AndIOp>(toI32(halves.odd), -0x10000));
  }
  /// The lower halves as a vector of i16.
  Value buildPackLower(Halves halves) {
    return buildPack(build<arith::AndIOp>(toI32(halves.even), 0xffff),
                     build<arith::ShLIOp>(toI32(halves.odd), 16));
  }

private:
  Value buildPack(Value lower, Value upper) {
    int64_t size = cast<VectorType>(lower.getType()).getNumElements();
    auto type = VectorType::get(2 * size, getI16Type());
    return vector::BitCastOp::create(*this, type,
                                     arith::OrIOp::create(*this, lower, upper));
  }
};

//===----------------------------------------------------------------------===//
// Rewrites
//===----------------------------------------------------------------------===//

/// Rewrites ops one by one, in the order in which they are defined. The originals stay
/// until the end, because they tell what is known of their results.
class Legalizer {
public:
  /// `solver` has the ranges of all integers and the classes of all floats.
  explicit Legalizer(DataFlowSolver &solver) : solver(solver) {}

  void legalize(Operation *op) {
    llvm::TypeSwitch<Operation *>(op)
        .Case<arith::MaxNumFOp, arith::MulFOp, arith::TruncFOp, vector::FromElementsOp,
              vector::ReductionOp>([&](auto op) { legalize(op); });
  }

  void replaceOriginals() {
    for (auto [original, replacement] : llvm::reverse(replacements)) {
      original->getResult(0).replaceAllUsesWith(replacement);
      original->erase();
    }
  }

private:
  /// Bits (i16) of elements whose maximum is sought, as signed integers; with kBias added
  /// if `isBiased`, by which NaN, and no more than that, becomes negative.
  struct Maximum {
    Value bits;
    bool isBiased;
  };
  static constexpr int64_t kBias = 0x8000 - (kInfinity + 1);

  /// relu: the bits above those of infinity are of negative numbers and NaN.
  void legalize(arith::MaxNumFOp op) {
    Value value = matchRelu(op);
    if (!getPairableType(op.getType()) || !value)
      return;
    WordBuilder b(op.getLoc(), op);
    Value bits = b.buildBitcast(getReplacement(value), b.getI16Type());
    Value isKept = b.buildCompare(arith::CmpIPredicate::ule, bits, kInfinity);
    Value zero = b.buildConstant(bits.getType(), 0);
    replace(b, op, arith::SelectOp::create(b, isKept, bits, zero));
  }

  /// A product is exact in f32 and rounded once. NaN has nothing in its lower half, so no
  /// rounding changes it. Where nothing but a conversion takes the product, it makes its
  /// own.
  void legalize(arith::MulFOp op) {
    auto isConverted = [&](Operation *user) {
      auto truncf = dyn_cast<arith::TruncFOp>(user);
      return truncf && succeeded(matchScaled(truncf));
    };
    if (!getPairableType(op.getType()) || llvm::all_of(op->getUsers(), isConverted))
      return;
    WordBuilder b(op.getLoc(), op);
    Halves lhs = b.buildSplit(getReplacement(op.getLhs()));
    Halves rhs = b.buildSplit(getReplacement(op.getRhs()));
    Halves product{arith::MulFOp::create(b, lhs.even, rhs.even),
                   arith::MulFOp::create(b, lhs.odd, rhs.odd)};
    Value upper = b.buildPackUpper(product);
    // Up if above one half, or one half above an odd value.
    Value lower = arith::OrIOp::create(b, b.buildPackLower(product),
                                       b.build<arith::AndIOp>(upper, 1));
    Value isUp = b.buildCompare(arith::CmpIPredicate::ugt, lower, 0x8000);
    Value up = arith::ExtUIOp::create(b, upper.getType(), isUp);
    replace(b, op, arith::AddIOp::create(b, upper, up));
  }

  /// A maximumNumber of elements that are not negative: they order as their bits do.
  void legalize(vector::ReductionOp op) {
    if (op.isMasked() || op.getKind() != vector::CombiningKind::MAXNUMF ||
        !getPairableType(op.getVector().getType()))
      return;
    auto [mayBeNaN, mayBeNegative] = getClass(op.getVector());
    std::optional<APFloat> start = op.getAcc() ? getConstant(op.getAcc()) : std::nullopt;
    bool startsFromZero = start && start->isPosZero();
    if (mayBeNegative || (mayBeNaN && !startsFromZero) ||
        (op.getAcc() && !startsFromZero))
      return;

    WordBuilder b(op.getLoc(), op);
    Value bits = b.buildBitcast(getReplacement(op.getVector()), b.getI16Type());
    if (mayBeNaN)
      bits = b.build<arith::AddIOp>(bits, kBias);
    maxima[op.getResult()] = {bits, mayBeNaN};
    Value maximum = vector::ReductionOp::create(b, vector::CombiningKind::MAXSI, bits);
    replacements[op] = arith::BitcastOp::create(b, b.getBF16Type(),
                                                buildUnbiased(b, {maximum, mayBeNaN}));
  }

  /// A vector of such maxima: the vectors that they are of are reduced together.
  void legalize(vector::FromElementsOp op) {
    int64_t count = op.getElements().size();
    if (op.getType().getRank() != 1 || count < 2 || !llvm::isPowerOf2_64(count))
      return;
    auto first = maxima.find(op.getElements()[0]);
    if (first == maxima.end())
      return;
    Maximum maximum = first->second;
    Type type = maximum.bits.getType();
    SmallVector<Value> vectors;
    for (Value element : op.getElements()) {
      auto known = maxima.find(element);
      if (known == maxima.end() || known->second.bits.getType() != type ||
          known->second.isBiased != maximum.isBiased)
        return;
      vectors.push_back(known->second.bits);
    }
    int64_t size = cast<VectorType>(type).getNumElements();
    if (size % count != 0 || !llvm::isPowerOf2_64(size))
      return;

    WordBuilder b(op.getLoc(), op);
    // Down to one register of SSE.
    for (Value &vector : vectors)
      vector = buildFold(b, vector, std::max<int64_t>(count, 8));
    // Each step halves the vectors. With `period` of them in one, element i is of vector
    // i % period.
    for (int64_t period = 1; period < count; period *= 2) {
      SmallVector<Value> merged;
      for (size_t i = 0; i < vectors.size(); i += 2)
        merged.push_back(buildMerge(b, vectors[i], vectors[i + 1], period, count));
      vectors = merged;
    }
    maximum.bits = buildFold(b, vectors[0], count);
    replacements[op] = b.buildBitcast(buildUnbiased(b, maximum), b.getBF16Type());
  }

  /// Maxima of the halves of `vector`, again and again down to `size` elements.
  static Value buildFold(WordBuilder &b, Value vector, int64_t size) {
    int64_t half = cast<VectorType>(vector.getType()).getNumElements();
    while (half > size) {
      half /= 2;
      Value lower = vector::ExtractStridedSliceOp::create(b, vector, 0, half, 1);
      Value upper = vector::ExtractStridedSliceOp::create(b, vector, half, half, 1);
      vector = arith::MaxSIOp::create(b, lower, upper);
    }
    return vector;
  }

  /// Two vectors, in each of which element i is of source i % period, to one with twice
  /// that period. Elements move within blocks of `block`.
  static Value buildMerge(WordBuilder &b, Value lhs, Value rhs, int64_t period,
                          int64_t block) {
    int64_t size = cast<VectorType>(lhs.getType()).getNumElements();
    SmallVector<int64_t> lower, upper;
    for (int64_t begin = 0; begin < size; begin += block) {
      for (int64_t i = begin; i < begin + block / 2; i += period) {
        for (int64_t source : {int64_t(0), size}) {
          for (int64_t j = source + i; j < source + i + period; ++j) {
            lower.push_back(j);
            upper.push_back(j + block / 2);
          }
        }
      }
    }
    return arith::MaxSIOp::create(b, vector::ShuffleOp::create(b, lhs, rhs, lower),
                                  vector::ShuffleOp::create(b, lhs, rhs, upper));
  }

  /// The bits of the maximum, or of a vector of them; 0 where there was nothing but NaN.
  static Value buildUnbiased(WordBuilder &b, Maximum maximum) {
    if (!maximum.isBiased)
      return maximum.bits;
    Value zero = b.buildConstant(maximum.bits.getType(), kBias);
    return arith::SubIOp::create(b, arith::MaxSIOp::create(b, maximum.bits, zero), zero);
  }

  /// bf16 times a power of two to f8E4M3FN. In f32 the product has nothing in its lower
  /// half (or is below all that matters), so its upper half is all that has to be
  /// rounded.
  void legalize(arith::TruncFOp op) {
    FailureOr<std::pair<Value, Value>> product = matchScaled(op);
    if (failed(product))
      return;
    auto [source, factor] = *product;
    WordBuilder b(op.getLoc(), op);
    Halves halves = b.buildSplit(getReplacement(source));
    Value sign;
    if (getClass(source).mayBeNegative) {
      Value bits = b.buildBitcast(getReplacement(source), b.getI16Type());
      sign = b.build<arith::AndIOp>(b.build<arith::ShRUIOp>(bits, 8), 0x80);
    }
    auto type = cast<VectorType>(halves.even.getType());
    Value factors = vector::BroadcastOp::create(b, type, buildWideFactor(b, factor));
    // In the binade of 2^14 an f32 has a unit in the last place of 2^-9.
    Value magic = arith::ConstantOp::create(b, DenseElementsAttr::get(type, 0x1.0p14f));
    Halves sums;
    for (auto [half, sum] :
         {std::pair(&halves.even, &sums.even), std::pair(&halves.odd, &sums.odd)}) {
      if (sign)
        *half = b.toF32(b.build<arith::AndIOp>(b.toI32(*half), 0x7fffffff));
      *half = arith::MulFOp::create(b, *half, factors);
      *sum = arith::AddFOp::create(b, *half, magic);
    }
    Value bits = b.buildPackUpper(halves);

    // Normal results: keep 3 of 7 mantissa bits, rounding to nearest even, and rebias
    // the exponent from 127 to 7. NaN, and what rounds to more than 448, is 480 here:
    // its byte is that of NaN.
    Value least = b.build<arith::MinUIOp>(bits, 0x43f0);
    Value isOdd = b.build<arith::AndIOp>(b.build<arith::ShRUIOp>(least, 4), 1);
    Value rebiased = b.build<arith::AddIOp>(least, 7 - ((127 - 7) << 7));
    Value normal = b.build<arith::ShRSIOp>(arith::AddIOp::create(b, rebiased, isOdd), 4);

    // Subnormal results are multiples of 2^-9, and the addition rounded them. Of them the
    // rebiased bits make less, and normal ones are at least 8.
    Value subnormal = b.build<arith::MinUIOp>(b.buildPackLower(sums), 8);
    Value result = arith::MaxSIOp::create(b, normal, subnormal);
    if (sign) {
      Value isNaN = b.buildCompare(arith::CmpIPredicate::eq, normal, 0x7f);
      result = arith::OrIOp::create(b, result, sign);
      result = arith::SelectOp::create(b, isNaN, normal, result);
    }
    auto bytesType = cast<VectorType>(op.getType()).clone(b.getI8Type());
    Value bytes = arith::TruncIOp::create(b, bytesType, result);
    replacements[op] = arith::BitcastOp::create(b, op.getType(), bytes);
  }

  /// The bf16 vector and the bf16 scalar whose product `op` converts to f8E4M3FN, if the
  /// scalar is known for 0 or a power of two.
  FailureOr<std::pair<Value, Value>> matchScaled(arith::TruncFOp op) {
    if (!isa<Float8E4M3FNType>(getElementTypeOrSelf(op.getType())) ||
        op.getRoundingmode().value_or(arith::RoundingMode::to_nearest_even) !=
            arith::RoundingMode::to_nearest_even)
      return failure();
    auto product = op.getIn().getDefiningOp<arith::MulFOp>();
    auto broadcast = product ? product.getRhs().getDefiningOp<vector::BroadcastOp>()
                             : vector::BroadcastOp();
    if (!broadcast || !getPairableType(product.getType()) ||
        !broadcast.getSource().getType().isBF16())
      return failure();

    // Nothing but the exponent field may be set.
    Value factors = broadcast.getSource();
    if (auto extract = factors.getDefiningOp<vector::ExtractOp>())
      factors = extract.getSource();
    auto bitcast = factors.getDefiningOp<arith::BitcastOp>();
    auto trunc =
        bitcast ? bitcast.getIn().getDefiningOp<arith::TruncIOp>() : arith::TruncIOp();
    auto shift = trunc ? trunc.getIn().getDefiningOp<arith::ShLIOp>() : arith::ShLIOp();
    APInt amount;
    if (!shift || !matchPattern(shift.getRhs(), m_ConstantInt(&amount)) || amount.ult(7))
      return failure();
    auto *range = solver.lookupState<dataflow::IntegerValueRangeLattice>(shift);
    if (!range || range->getValue().isUninitialized() ||
        range->getValue().getValue().umax().uge(kInfinity))
      return failure();
    return std::pair(product.getLhs(), broadcast.getSource());
  }

  /// A bf16 scalar as f32. An element of a vector is widened with its neighbours, which
  /// costs no more and leaves it where a broadcast takes it from.
  static Value buildWideFactor(WordBuilder &b, Value factor) {
    auto extract = factor.getDefiningOp<vector::ExtractOp>();
    Value narrow = extract ? extract.getSource() : factor;
    auto like = [&](Type elementType) -> Type {
      auto vector = dyn_cast<VectorType>(narrow.getType());
      return vector ? vector.clone(elementType) : elementType;
    };
    Value bits = arith::BitcastOp::create(b, like(b.getI16Type()), narrow);
    Value wide = arith::ExtUIOp::create(b, like(b.getI32Type()), bits);
    wide = arith::BitcastOp::create(b, like(b.getF32Type()),
                                    b.build<arith::ShLIOp>(wide, 16));
    return extract ? vector::ExtractOp::create(b, wide, extract.getMixedPosition())
                   : wide;
  }

  void replace(WordBuilder &b, Operation *op, Value bits) {
    replacements[op] = b.buildBitcast(bits, b.getBF16Type());
  }

  Value getReplacement(Value value) {
    Value replacement = replacements.lookup(value.getDefiningOp());
    return replacement ? replacement : value;
  }

  FloatClass getClass(Value value) {
    auto *lattice = solver.lookupState<FloatClassLattice>(value);
    return lattice ? lattice->getValue() : kAnyFloat;
  }

  DataFlowSolver &solver;
  /// What stands for the one result of an original.
  llvm::MapVector<Operation *, Value> replacements;
  DenseMap<Value, Maximum> maxima;
};

struct LegalizeBF16Pass : moe::impl::MoeLegalizeBF16Base<LegalizeBF16Pass> {
  void runOnOperation() override {
    // Not through calls: the range of what a recursion counts down would be searched for
    // one value at a time.
    DataFlowSolver solver(DataFlowConfig().setInterprocedural(false));
    dataflow::loadBaselineAnalyses(solver);
    solver.load<dataflow::IntegerRangeAnalysis>();
    solver.load<FloatClassAnalysis>();
    if (failed(solver.initializeAndRun(getOperation())))
      return signalPassFailure();
    Legalizer legalizer(solver);
    SmallVector<Operation *> ops;
    getOperation()->walk<WalkOrder::PreOrder>([&](Operation *op) { ops.push_back(op); });
    for (Operation *op : ops)
      legalizer.legalize(op);
    legalizer.replaceOriginals();
  }
};

} // namespace
