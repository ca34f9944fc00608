"""Time by part of the model, in a handwritten program and in a real trace."""

import gzip
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import step_trace

PROGRAM = """
  %dot.1 = f32[2,2]{1,0} dot(%a, %b), metadata={op_name="jit(f)/layer/output/dot_general" stack_frame_id=1}
  %fusion.2 = f32[2] fusion(%dot.1), metadata={op_name="jit(f)/layer/output_norm/add"}
  ROOT %fusion.3 = f32[2] fusion(%dot.1), metadata={op_name="jit(f)/mul"}
  %while.4 = f32[2] while(%x), metadata={op_name="jit(f)/layer/while"}
"""


@pytest.mark.parametrize(
    ("operation", "part"),
    [
        ("transpose(jvp(Encoder))/while/body/layer/attention/query/dot_general", 2),
        ("transpose(jvp(Encoder))/jit(apply)/layer/attention._project/dot_general", 2),
        ("jvp(Encoder)/jit(apply)/layer/attention._project/add", 1),
        ("jvp(Encoder)/while/body/layer/attention/rhqd,rhkd->rhqk/dot_general", 0),
        ("transpose(jvp(Encoder))/layer/attention/rhqk,rhqd->rhkd/dot_general", 0),
        ("jvp(Encoder)/layer/attention/rhqk,rkhd->rqhd/dot_general", 0),
        ("jvp(Encoder)/while/body/layer/attention/reduce_max", 1),
        ("jvp(Encoder)/while/body/layer/attention/dropout/mul", 1),
        ("jvp(Encoder)/jit(apply)/layer/erf", 3),
        ("jvp(Encoder)/while/body/layer/attention_norm/rsqrt", 4),
        ("jvp(Encoder)/while/body/layer/dropout/mul", 5),
        ("jvp(Encoder)/embeddings/word_embeddings/jit(_take)/gather", 6),
        ("jit(_where)/select_n", 7),
    ],
)
def test_operations_belong_to_parts(operation, part):
    assert step_trace.part_of(f"jit(_fun)/{operation}") == step_trace.PARTS[part][0]


def test_time_of_instructions_is_summed_by_part():
    seconds = {"dot.1": 2.0, "fusion.2": 0.5, "fusion.3": 0.25, "while.4": 9.0}
    seconds_of = step_trace.by_part({**seconds, "other": 1.0}, PROGRAM)
    assert seconds_of["dense layers: products"] == 2.0
    assert seconds_of["norms"] == 0.5
    assert seconds_of["perturbation, clipping, Adamax, the rest"] == 0.25
    assert sum(seconds_of.values()) == 2.75  # what the loop ran is counted by itself


def test_events_of_a_trace_are_summed(tmp_path):
    events = [
        {"ph": "X", "name": "dot.1", "dur": 1500.0},
        {"ph": "X", "name": "kernel", "dur": 500.0, "args": {"hlo_op": "dot.1"}},
        {"ph": "M", "name": "dot.1"},
    ]
    path = tmp_path / "trace.json.gz"
    with gzip.open(path, "wt") as file:
        json.dump({"traceEvents": events}, file)
    assert step_trace.seconds_by_instruction(path) == {"dot.1": 0.002}


def test_a_real_trace_names_the_instructions_of_the_program(tmp_path):
    function = jax.jit(lambda x: jnp.sort(x @ x))
    rows = np.ones((64, 64), np.float32)
    text = function.lower(rows).compile().as_text()
    jax.block_until_ready(function(rows))
    path = step_trace.record(
        tmp_path, [lambda: jax.block_until_ready(function(rows))] * 2
    )
    seconds = step_trace.seconds_by_instruction(path)
    names = {match["name"] for match in step_trace.INSTRUCTION.finditer(text)}
    assert names & seconds.keys()
    assert sum(step_trace.by_part(seconds, text).values()) > 0
