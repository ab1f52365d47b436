"""How large a Spark cluster must be: measured rates of each step, times the rows of a shop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from llmrec.console import Table, notice, out, table
from llmrec.files import read_yaml

__all__ = ["ClusterPlan", "Step", "StepPlan", "Throughput", "plan_cluster", "run_cluster_plan", "throughput"]

THROUGHPUT: Final = Path(__file__).with_name("throughput.yaml")
NODE_CORES: Final = 16  # of the machines that memory is told for
GIB: Final = 2**30


@dataclass(frozen=True)
class Step:
    """A line of `THROUGHPUT`, which says what its fields are."""

    name: str
    what: str
    rows: Literal["sessions", "events"]
    per_core_s: float
    shuffle_bytes: float
    item_bytes: float = 0.0


@dataclass(frozen=True)
class Throughput:
    """What was measured; `THROUGHPUT` says what its fields are."""

    machine: str
    session_items: float
    core_gib: float
    two_workers: float
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class StepPlan:
    """What one step takes.

    Attributes:
        name: Of the step.
        what: It does.
        rows: It reads.
        core_hours: Hours of one core.
        hours: With the cores of the plan.
        shuffle_bytes: That it writes for other executors.
        node_bytes: Memory of a node of `NODE_CORES` cores.
    """

    name: str
    what: str
    rows: int
    core_hours: float
    hours: float
    shuffle_bytes: int
    node_bytes: int


@dataclass(frozen=True)
class ClusterPlan:
    """What `llmrec plan --sessions` found.

    Attributes:
        sessions: Of the shop.
        items: Of its catalogue.
        cores: That do all steps, one after the other, in the hours that were asked for.
        hours: That they take.
        nodes: Machines of `NODE_CORES` cores.
        node_bytes: Memory of each: that of the step that needs most.
        shuffle_bytes: Of the step that writes most, which the nodes' disks hold together.
        steps: Each of them.
        assumptions: What the numbers rest on.
    """

    sessions: int
    items: int
    cores: int
    hours: float
    nodes: int
    node_bytes: int
    shuffle_bytes: int
    steps: tuple[StepPlan, ...]
    assumptions: tuple[str, ...]


def throughput() -> Throughput:
    """The rates that come with the package."""
    return msgspec.convert(read_yaml(THROUGHPUT), Throughput)


def plan_cluster(sessions: float, items: float, hours: float, rates: Throughput | None = None) -> ClusterPlan:
    """The smallest cluster that does all measured steps in some hours.

    Args:
        sessions: To import, to count and to rank for.
        items: Of the catalogue.
        hours: For all steps together.
        rates: Those of the package if not given.
    """
    rates = rates or throughput()
    rows = {"sessions": round(sessions), "events": round(sessions * rates.session_items)}
    core_hours = {one.name: rows[one.rows] / one.per_core_s / 3600 for one in rates.steps}
    cores = math.ceil(sum(core_hours.values()) / hours)
    cores = cores if cores == 1 else math.ceil(sum(core_hours.values()) / hours / rates.two_workers)
    shared = cores * (rates.two_workers if cores > 1 else 1)
    on_a_node = min(cores, NODE_CORES)
    steps = tuple(
        StepPlan(
            name=one.name,
            what=one.what,
            rows=rows[one.rows],
            core_hours=core_hours[one.name],
            hours=core_hours[one.name] / shared,
            shuffle_bytes=round(rows[one.rows] * one.shuffle_bytes),
            node_bytes=round(on_a_node * rates.core_gib * GIB + items * one.item_bytes),
        )
        for one in rates.steps
    )
    return ClusterPlan(
        sessions=round(sessions),
        items=round(items),
        cores=cores,
        hours=sum(one.hours for one in steps),
        nodes=-(-cores // NODE_CORES),
        node_bytes=max(one.node_bytes for one in steps),
        shuffle_bytes=max(one.shuffle_bytes for one in steps),
        steps=steps,
        assumptions=_assumptions(rates),
    )


def _assumptions(rates: Throughput) -> tuple[str, ...]:
    return (
        f"measured on {rates.machine}; time and shuffle grow with the rows, memory with the items",
        f"two workers did {rates.two_workers:g} of twice one's work in a CPU second; more lose no more",
        f"a session has {rates.session_items:g} events; a core's executor takes {rates.core_gib:g} GiB",
        "steps run one after the other; storage and network keep up; nobody else uses the cores",
        f"in it: {', '.join(one.name for one in rates.steps)}; all else comes on top",
    )


def run_cluster_plan(sessions: float, items: float, hours: float) -> ClusterPlan:
    """Make the plan and tell it; see `plan_cluster`."""
    plan = plan_cluster(sessions, items, hours)
    for line in (*(f"{one.name}: {one.what}" for one in plan.steps), *plan.assumptions):
        notice(line)
    out.print(plan_table(plan))
    cores, nodes = f"{plan.cores:,} core{'s' * (plan.cores > 1)}", f"{plan.nodes:,} node{'s' * (plan.nodes > 1)}"
    out.print(
        f"{cores}, {nodes} of up to {NODE_CORES} with {_gib(plan.node_bytes)} GiB of memory and "
        f"{_gib(plan.shuffle_bytes / plan.nodes)} GiB of disk each: {plan.hours:.2f} hours"
    )
    return plan


def plan_table(plan: ClusterPlan) -> Table:
    """The steps side by side."""
    rows = [
        (
            one.name,
            f"{one.rows / 1e6:,.1f}",
            f"{one.core_hours:,.1f}",
            f"{one.hours:.2f}",
            _gib(one.shuffle_bytes),
            _gib(one.node_bytes),
        )
        for one in plan.steps
    ]
    columns = ("step", "M rows", "core hours", f"hours on {plan.cores:,}", "GiB shuffled", "GiB a node")
    return table(f"{plan.sessions:,} sessions, {plan.items:,} items", columns, rows)


def _gib(size: Any) -> str:
    return f"{size / GIB:,.1f}"
