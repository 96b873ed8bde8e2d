"""Loops of KFP's local runner over any output of a task.

KFP 2.17 looks a loop's items up by the name of its input, which works for a task's single output
only: for the output `sources` of `plan` it looks for an input of the pipeline named
`pipelinechannel--plan-sources`. On a cluster, KFP follows the reference in the loop's inputs.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from kfp.local.orchestrator import enhanced_dag_orchestrator as orchestrator


@contextlib.contextmanager
def any_output() -> Iterator[None]:
    """Lets loops of the local runner read the task's output that their inputs refer to."""
    run_loop = orchestrator._run_parallel_for_task

    def run_loop_over_output(*, task_spec: Any, io_store: Any, **others: Any) -> bool:
        name = task_spec.parameter_iterator.items.input_parameter
        reference = task_spec.inputs.parameters[name].task_output_parameter
        items = io_store.get_task_output(reference.producer_task, reference.output_parameter_key)
        io_store.put_parent_input(name, items)
        return bool(run_loop(task_spec=task_spec, io_store=io_store, **others))

    orchestrator._run_parallel_for_task = run_loop_over_output
    try:
        yield
    finally:
        orchestrator._run_parallel_for_task = run_loop
