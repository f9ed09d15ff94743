"""Ray: the machines of a cluster, and the distribution of units to workers on them."""

import json
import logging
import os
import re
import socket
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flower_model.bulk.units import Unit
from flower_model.bulk.worker import Job, Report, Worker, read_model
from flower_model.errors import FlowerModelError, shorten
from flower_model.system.cores import usable_cores

CORES = 4  # per worker; decoding in Python threads stops scaling at about twice as many
STORE = (
    512_000_000  # bytes of Ray's object store on this machine: it holds the model and file names
)


@dataclass(frozen=True)
class Slots:
    """The places for workers in a cluster.

    Attributes:
        count: Number of workers that fit.
        cores: Cores of each.
        gpus: GPUs of each, 0 or 1.
    """

    count: int
    cores: int
    gpus: int


@contextmanager
def connect() -> Generator[None]:
    """Connect to the cluster that $RAY_ADDRESS names, or start one on this machine.

    Raises:
        FlowerModelError: If Ray is not installed or the cluster can't be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise FlowerModelError(
            "--engine ray needs Ray: pip install '.[ray]' in a clone of this project."
        ) from None
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    # Never a Ray that another command has started on this machine: it would end with that command.
    address = os.environ.get("RAY_ADDRESS") or "local"
    _check_reachable(address)
    try:
        ray.init(address, **quiet) if address != "local" else _start_here(quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        if "AuthenticationError" in str(error.__cause__):  # Ray quotes its traceback
            raise FlowerModelError(
                f"The Ray cluster at '{shorten(address)}' requires a token: set RAY_AUTH_MODE=token, "
                "with the cluster's ~/.ray/auth_token on this machine."
            ) from None
        raise _no_cluster(address, error) from None
    try:
        yield
    finally:
        ray.shutdown()


def find_slots(cores: int | None) -> Slots:
    """Return the slots of the connected cluster; with GPUs in it, one for each GPU.

    Args:
        cores: Cores per worker; by default `CORES`, or with GPUs an equal share of their machine.

    Raises:
        FlowerModelError: If no machine has as many cores.
    """
    import ray

    if cores is not None and cores < 1:
        raise FlowerModelError(f"--cores-per-worker must be at least 1, not {cores}.")
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    on_gpus = [machine for machine in machines if machine.get("GPU", 0) >= 1]
    if on_gpus:
        share = min(machine.get("CPU", 0) // machine["GPU"] for machine in on_gpus)
        cores = cores or max(1, int(share))
        count = sum(min(m["GPU"], m.get("CPU", 0) // cores) for m in on_gpus)
    else:
        most = max((machine.get("CPU", 0) for machine in machines), default=0)
        cores = cores or max(1, min(CORES, int(most)))
        count = sum(machine.get("CPU", 0) // cores for machine in machines)
    if not count:
        raise FlowerModelError(
            f"No machine of the Ray cluster has {cores} cores for a worker: "
            "add machines, or pass --cores-per-worker."
        )
    return Slots(int(count), cores, 1 if on_gpus else 0)


def answer_units(
    units: Iterable[Unit], job: Job, model_folder: Path, slots: Slots
) -> Generator[Report]:
    """Yield the reports of units as workers finish them.

    Workers that die, alone or with their machine, are replaced, and their units are repeated. More
    workers start when machines join the cluster.

    Raises:
        FlowerModelError: If a report says that no unit can be answered.
    """
    import pyarrow as pa
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # Each worker has one unit at a time, so that the last ones are shared out evenly. By Ray's default
    # of 1.75 units no worker would ever count as busy, and none would start on machines that join.
    context.autoscaling_config.actor_pool_util_upscaling_threshold = 1.0
    tables = [ray.put(pa.table({"unit": [unit.to_json()]})) for unit in units]
    reports = ray.data.from_arrow_refs(tables).map_batches(
        Worker,
        fn_constructor_kwargs={
            "job": replace(job, cores=slots.cores),
            "model_files": [ray.put(read_model(model_folder))],
        },
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(
            min_size=1, initial_size=slots.count, max_tasks_in_flight_per_actor=1
        ),
        num_cpus=slots.cores,
        num_gpus=slots.gpus,
    )
    for row in reports.iter_rows():
        report = Report(**json.loads(row["report"]))
        if report.stop:
            raise FlowerModelError(report.stop)
        yield report


def _check_reachable(address: str) -> None:
    """Try the port of host:port, for which Ray would wait for minutes."""
    host, _, port = address.rpartition(":")
    if re.fullmatch(r"[\w.-]+", host) and port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise _no_cluster(address, error) from None


def _no_cluster(address: str, error: Exception) -> FlowerModelError:
    return FlowerModelError(
        f"No Ray cluster answers at '{shorten(address)}' ({shorten(error, 150)}): check $RAY_ADDRESS."
    )


def _start_here(quiet: dict[str, Any]) -> None:
    import ray

    ray.init(
        "local",
        num_cpus=usable_cores(),
        include_dashboard=False,
        object_store_memory=STORE,
        **quiet,
    )
