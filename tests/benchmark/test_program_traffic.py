"""Bytes and kernels of a handwritten program, counted by hand."""

import program_traffic
import pytest

PROGRAM = """
HloModule jit_f, is_scheduled=true

%fused_add (param_0: f32[4,8], param_1: f32[8]) -> f32[4,8] {
  %param_0 = f32[4,8]{1,0} parameter(0)
  %param_1 = f32[8]{0} parameter(1)
  %broadcast.1 = f32[4,8]{1,0} broadcast(%param_1), dimensions={1}
  ROOT %add.1 = f32[4,8]{1,0} add(%param_0, %broadcast.1), metadata={op_name="jit(f)/layer/add"}
}

%fused_slice (param_0.1: f32[12,8]) -> f32[8] {
  %param_0.1 = f32[12,8]{1,0} parameter(0)
  %slice.1 = f32[1,8]{1,0} slice(%param_0.1), slice={[3:4], [0:8]}
  ROOT %bitcast.1 = f32[8]{0} bitcast(%slice.1)
}

%fused_update (param_0.2: f32[12,8], param_1.2: f32[8]) -> f32[12,8] {
  %param_0.2 = f32[12,8]{1,0} parameter(0)
  %param_1.2 = f32[8]{0} parameter(1)
  %bitcast.2 = f32[1,8]{1,0} bitcast(%param_1.2)
  %constant.1 = s32[] constant(3)
  ROOT %dynamic-update-slice.1 = f32[12,8]{1,0} dynamic-update-slice(%param_0.2, %bitcast.2, %constant.1, %constant.1)
}

%fused_product (param_0.3: bf16[4,8]) -> (bf16[4,4], s8[1024]) {
  %param_0.3 = bf16[4,8]{1,0} parameter(0)
  ROOT %custom-call.9 = (bf16[4,4]{1,0}, s8[1024]{0}) custom-call(%param_0.3, %param_0.3), custom_call_target="__cublas$lt$matmul", metadata={op_name="jit(f)/layer/output/dot_general"}
}

ENTRY %main (p.0: f32[4,8], p.1: f32[12,8], p.2: bf16[4,8]) -> f32[12,8] {
  %p.0 = f32[4,8]{1,0} parameter(0)
  %p.1 = f32[12,8]{1,0} parameter(1)
  %p.2 = bf16[4,8]{1,0} parameter(2)
  %wrapped_slice = f32[8]{0} fusion(%p.1), kind=kLoop, calls=%fused_slice, metadata={op_name="jit(f)/layer/slice"}
  %loop_add_fusion = f32[4,8]{1,0} fusion(%p.0, %wrapped_slice), kind=kLoop, calls=%fused_add
  %bitcast.7 = f32[32]{0} bitcast(%loop_add_fusion)
  %custom-call.1 = (bf16[4,4]{1,0}, s8[4096]{0}) custom-call(%p.2, %p.2), custom_call_target="__cublas$lt$matmul", metadata={op_name="jit(f)/layer/output/dot_general"}
  %address_fusion = (bf16[4,4]{1,0}, s8[1024]{0}) fusion(%p.2), kind=kCustom, calls=%fused_product
  ROOT %update_fusion = f32[12,8]{1,0} fusion(%p.1, %wrapped_slice), kind=kLoop, calls=%fused_update, metadata={op_name="jit(f)/add"}
}
"""


def test_bytes_are_those_of_operands_and_results():
    counted = {k.name: (k.read, k.written) for k in program_traffic.kernels(PROGRAM)}
    assert counted == {
        "wrapped_slice": (4 * 8, 4 * 8),  # one row of twelve
        "loop_add_fusion": (4 * 32 + 4 * 8, 4 * 32),
        "custom-call.1": (2 * 2 * 32, 2 * 16),  # without its workspace
        "address_fusion": (2 * 32, 2 * 16),
        "update_fusion": (4 * 8, 4 * 8),  # in place: one row is written
    }


def test_kernels_have_kinds_and_parts():
    kernels = {k.name: (k.kind, k.part) for k in program_traffic.kernels(PROGRAM)}
    product = "matrix products", "dense layers: products"
    assert kernels["custom-call.1"] == kernels["address_fusion"] == product
    # The fusion has no name, its last named instruction has.
    assert kernels["loop_add_fusion"] == ("element by element", "GELU")
    assert kernels["update_fusion"][1] == "perturbation, clipping, Adamax, the rest"


def test_groups_are_sums_with_the_most_bytes_first():
    groups = program_traffic.grouped(program_traffic.kernels(PROGRAM), "kind")
    assert [tuple(group) for group in groups] == [
        ("element by element", 2, 288 + 64),
        ("matrix products", 2, 160 + 96),
        ("gather, slices", 1, 64),
    ]


def test_a_loop_is_an_error():
    looped = PROGRAM.replace(
        "  ROOT %update_fusion",
        "  %while.1 = f32[8]{0} while(%p.0)\n  ROOT %update_fusion",
    )
    with pytest.raises(ValueError, match="no loop"):
        program_traffic.kernels(looped)
