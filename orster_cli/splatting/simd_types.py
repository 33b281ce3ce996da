"""The vector types of `simd` in numba and LLVM, and the LLVM code that several operations share.

`f32x8` holds eight float32, `mask8` eight booleans; each is one LLVM vector value.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import models, register_model

LANES = 8


F32, I32, I1 = ir.FloatType(), ir.IntType(32), ir.IntType(1)
VF, VI, VB = (ir.VectorType(t, LANES) for t in (F32, I32, I1))


class _F32x8(types.Type):
    def __init__(self) -> None:
        super().__init__(name="f32x8")


class _Mask8(types.Type):
    def __init__(self) -> None:
        super().__init__(name="mask8")


f32x8, mask8 = _F32x8(), _Mask8()


@register_model(_F32x8)
class _F32x8Model(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, VF)


@register_model(_Mask8)
class _Mask8Model(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, VB)


def constant_vector(values: list[float]) -> ir.Constant:
    """The constant vector of eight `values`."""
    return ir.Constant(VF, [ir.Constant(F32, float(v)) for v in values])


def broadcast_value(builder: Any, scalar: Any) -> Any:
    """A vector whose lanes all equal `scalar`."""
    undef = ir.Constant(VF, ir.Undefined)
    first = builder.insert_element(undef, scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undef, ir.Constant(ir.VectorType(I32, LANES), [0] * 8))


def call_intrinsic(builder: Any, name: str, *args: Any) -> Any:
    """A call of the vector overload of an LLVM intrinsic, such as `llvm.floor.v8f32`."""
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(VF, [VF] * len(args)), f"{name}.v8f32"
    )
    return builder.call(function, args)


def element_address(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """The address of `array[index]`."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


def vector_pointer(builder: Any, pointer: Any, vector: Any) -> Any:
    """`pointer` as a pointer to the type `vector`."""
    return builder.bitcast(pointer, ir.PointerType(vector))
