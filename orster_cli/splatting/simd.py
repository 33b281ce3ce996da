# ruff: noqa: ARG001 - numba calls typing and code generation functions by their full signature
"""Eight-lane float vectors inside numba functions.

numba leaves vectorization of loops to LLVM, which silently gives up on a reduction that it may not
reorder; such a loop runs at a third of the speed. Here a vector is a type: `f32x8` values live in
registers, and each operation below is one LLVM vector instruction. LLVM lowers them to AVX, AVX-512 (VL)
or pairs of NEON registers.

A lane holds a float32; a `mask8` holds eight booleans. `a + b`, `a - b`, `a * b`, `a / b` work on two
vectors; `>=`, `>` and `<` return masks. The functions are for use in `@njit` code only, on C-contiguous
one-dimensional arrays, and check no bounds.

numba invalidates a cached kernel only when the kernel's own file changes: after a change here, delete
the `__pycache__` of the package.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from orster_cli.splatting.simd_types import (
    F32,
    I32,
    LANES,
    VF,
    VI,
    broadcast_value,
    call_intrinsic,
    constant_vector,
    element_address,
    f32x8,
    mask8,
    vector_pointer,
)

# -- memory --------------------------------------------------------------------------------------


@intrinsic
def load(typingctx: Any, array: Any, index: Any) -> Any:
    """Lanes `array[index : index + 8]` of a float32 array."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = element_address(context, builder, sig.args[0], args[0], args[1])
        out = builder.load(vector_pointer(builder, pointer, VF), typ=VF)
        out.align = 4
        return out

    return f32x8(array, types.intp), codegen


@intrinsic
def store(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """`array[index : index + 8] = value`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = element_address(context, builder, sig.args[0], args[0], args[1])
        instruction = builder.store(args[2], vector_pointer(builder, pointer, VF))
        instruction.align = 4
        return context.get_dummy_value()

    return types.void(array, types.intp, f32x8), codegen


@intrinsic
def store_int(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """The lanes truncated to int32 into an int32 array; they must be in range."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = element_address(context, builder, sig.args[0], args[0], args[1])
        integers = builder.fptosi(args[2], VI)
        instruction = builder.store(integers, vector_pointer(builder, pointer, VI))
        instruction.align = 4
        return context.get_dummy_value()

    return types.void(array, types.intp, f32x8), codegen


@intrinsic
def gather(typingctx: Any, array: Any, indices: Any, start: Any, stride: Any, offset: Any) -> Any:
    """Lane l is `array[indices[start + l] * stride + offset]`; `indices` is int32."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        array_value, index_value, start_value, stride_value, offset_value = args
        out = ir.Constant(VF, ir.Undefined)
        for lane in range(LANES):
            at = builder.add(start_value, ir.Constant(start_value.type, lane))
            row = builder.load(
                element_address(context, builder, sig.args[1], index_value, at), typ=I32
            )
            flat = builder.add(
                builder.mul(builder.sext(row, stride_value.type), stride_value), offset_value
            )
            pointer = element_address(context, builder, sig.args[0], array_value, flat)
            out = builder.insert_element(
                out, builder.load(pointer, typ=F32), ir.Constant(I32, lane)
            )
        return out

    return f32x8(array, indices, types.intp, types.intp, types.intp), codegen


@intrinsic
def prefetch(typingctx: Any, array: Any, index: Any) -> Any:
    """Start fetching the cache line of `array[index]`; the index may be out of bounds."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = element_address(context, builder, sig.args[0], args[0], args[1])
        pointer = builder.bitcast(pointer, ir.PointerType(ir.IntType(8)))
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, I32, I32, I32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [pointer, *(ir.Constant(I32, value) for value in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen


# -- construction and reduction ------------------------------------------------------------------


@intrinsic
def broadcast(typingctx: Any, value: Any) -> Any:
    """All lanes equal to a float32 scalar."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return broadcast_value(builder, args[0])

    return f32x8(types.float32), codegen


def constant(*values: float) -> Callable[[], Any]:
    """An njit function without arguments that returns the vector of these eight lanes."""
    if len(values) != LANES:
        raise ValueError(f"constant: expected {LANES} lanes, got {len(values)}")

    @intrinsic
    def lanes(typingctx: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return constant_vector(list(values))

        return f32x8(), codegen

    return lanes


@intrinsic
def reduce_add(typingctx: Any, value: Any) -> Any:
    """The sum of the lanes, always in the same order."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector, width = args[0], LANES
        while width > 1:
            half = width // 2
            mask = [i + half if i < half else i for i in range(LANES)]
            moved = builder.shuffle_vector(
                vector,
                ir.Constant(VF, ir.Undefined),
                ir.Constant(ir.VectorType(I32, LANES), mask),
            )
            vector, width = builder.fadd(vector, moved), half
        return builder.extract_element(vector, ir.Constant(I32, 0))

    return types.float32(f32x8), codegen


# -- arithmetic ----------------------------------------------------------------------------------


def _binary(op: Callable[..., Any], method: str) -> None:
    @intrinsic
    def apply(typingctx: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return getattr(builder, method)(*args)

        return f32x8(f32x8, f32x8), codegen

    @overload(op)
    def overloaded(a, b):  # type: ignore[no-untyped-def]  # numba compares the signatures
        if a == f32x8 and b == f32x8:
            return lambda a, b: apply(a, b)
        return None


def _compare(op: Callable[..., Any], predicate: str) -> None:
    @intrinsic
    def apply(typingctx: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.fcmp_ordered(predicate, *args)

        return mask8(f32x8, f32x8), codegen

    @overload(op)
    def overloaded(a, b):  # type: ignore[no-untyped-def]  # numba compares the signatures
        if a == f32x8 and b == f32x8:
            return lambda a, b: apply(a, b)
        return None


for _op, _method in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _binary(_op, _method)
for _op, _predicate in ((operator.ge, ">="), (operator.gt, ">"), (operator.lt, "<")):
    _compare(_op, _predicate)


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """`a * b + c`, in one instruction where the processor has it."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return call_intrinsic(builder, "llvm.fmuladd", *args)

    return f32x8(f32x8, f32x8, f32x8), codegen


@intrinsic
def fnma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """`c - a * b`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a_value, b_value, c_value = args
        return call_intrinsic(builder, "llvm.fmuladd", builder.fneg(a_value), b_value, c_value)

    return f32x8(f32x8, f32x8, f32x8), codegen


def _unary(name: str, doc: str) -> Callable[..., Any]:
    @intrinsic
    def apply(typingctx: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return call_intrinsic(builder, name, args[0])

        return f32x8(f32x8), codegen

    apply.__doc__ = doc
    return apply


sqrt = _unary("llvm.sqrt", "Square root; NaN for negative lanes.")
floor = _unary("llvm.floor", "Round down.")
ceil = _unary("llvm.ceil", "Round up.")
absolute = _unary("llvm.fabs", "Absolute value.")


def _choose(predicate: str) -> Callable[..., Any]:
    @intrinsic
    def apply(typingctx: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.select(builder.fcmp_ordered(predicate, *args), *args)

        return f32x8(f32x8, f32x8), codegen

    return apply


minimum = _choose("<")  # lane by lane; the second value if either is NaN
maximum = _choose(">")


@intrinsic
def select(typingctx: Any, mask: Any, yes: Any, no: Any) -> Any:
    """`yes` in the lanes where `mask` is true, `no` in the others."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(*args)

    return f32x8(mask8, f32x8, f32x8), codegen


@intrinsic
def mask_and(typingctx: Any, a: Any, b: Any) -> Any:
    """Logical and of two masks."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.and_(*args)

    return mask8(mask8, mask8), codegen


@intrinsic
def masked(typingctx: Any, mask: Any, value: Any) -> Any:
    """`value` where `mask` is true, 0 elsewhere."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(args[0], args[1], constant_vector([0.0] * LANES))

    return f32x8(mask8, f32x8), codegen


@intrinsic
def all_negative(typingctx: Any, value: Any) -> Any:
    """True if every lane has its sign bit set."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], VI)
        negative = builder.icmp_signed("<", bits, ir.Constant(VI, [0] * LANES))
        packed = builder.bitcast(negative, ir.IntType(LANES))
        return builder.icmp_unsigned("==", packed, ir.Constant(ir.IntType(LANES), 255))

    return types.boolean(f32x8), codegen


@intrinsic
def any_nonzero(typingctx: Any, value: Any) -> Any:
    """True unless every lane is zero."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        nonzero = builder.fcmp_unordered("!=", args[0], constant_vector([0.0] * LANES))
        packed = builder.bitcast(nonzero, ir.IntType(LANES))
        return builder.icmp_unsigned("!=", packed, ir.Constant(ir.IntType(LANES), 0))

    return types.boolean(f32x8), codegen


# Minimax coefficients of 2^f on [-0.5, 0.5], relative error below 2e-7 in float32
_EXP2 = (1.5403530e-4, 1.3333558e-3, 9.6181291e-3, 5.5504109e-2, 2.4022651e-1, 6.9314718e-1, 1.0)


@intrinsic
def exp2(typingctx: Any, value: Any) -> Any:
    """2 to the power of each lane, for lanes in [-126, 126]; relative error below 3e-7."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        # adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits
        magic = constant_vector([12582912.0] * LANES)
        shifted = builder.fadd(args[0], magic)
        fraction = builder.fsub(args[0], builder.fsub(shifted, magic))
        result = constant_vector([_EXP2[0]] * LANES)
        for coefficient in _EXP2[1:]:
            result = call_intrinsic(
                builder, "llvm.fmuladd", result, fraction, constant_vector([coefficient] * LANES)
            )
        exponent = builder.shl(builder.bitcast(shifted, VI), ir.Constant(VI, [23] * LANES))
        bits = builder.add(builder.bitcast(result, VI), exponent)
        return builder.bitcast(bits, VF)

    return f32x8(f32x8), codegen
