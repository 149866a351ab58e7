"""The Standard Workload Format: logs of parallel machines, as pods with the times of the log.

The format: cs.huji.ac.il/labs/parallel/workload/swf.html. A line a job of 18 numbers, -1 for
what isn't known; lines that begin with ";" are the header.
"""

from __future__ import annotations

import gzip
import zipfile
from os import PathLike
from pathlib import Path
from typing import Final

import numpy as np

from k8slab.datasets import _parts
from k8slab.datasets.workload import Workload, checked_count
from k8slab.domain.columns import Codes, Ints, Names
from k8slab.domain.instants import SECOND_NS
from k8slab.errors import InputError
from k8slab.units import Quantity, memory_bytes

FIELDS: Final = 18
_NUMBER, _SUBMIT, _RUN, _USED_CPUS, _USED_KIB, _ASKED_CPUS, _ASKED_KIB, _USER = 0, 1, 3, 4, 6, 7, 9, 11


def swf(path: str | PathLike[str], *, cores_per_pod: int = 16, memory_per_core: Quantity = "1Gi") -> Workload:
    """The jobs of a log (.swf, also .gz, or .zip of one) as pods, with arrival_ns and duration_ns.

    cores_per_pod   : a job of more processors is split into pods of so many and a rest
    memory_per_core : for jobs whose memory the log doesn't know

    A job's pods come when it was submitted and run as long as it ran, of one core a
    processor; those that never ran are left out. The user is the namespace, "job" a label.
    Raises InputError with file and line for what is no such log.
    """
    cores = checked_count("cores_per_pod", cores_per_pod)
    file = Path(path)
    jobs = _read(file)
    jobs = jobs[(jobs[:, _RUN] > 0) & (_processors(jobs) > 0)]
    if not len(jobs):
        raise InputError(f"{file.name}: no job in it that ran")
    processors = _processors(jobs)
    pods = -(-processors // cores)
    job = np.repeat(np.arange(len(jobs)), pods)
    nth = np.arange(len(job)) - np.repeat(np.cumsum(pods) - pods, pods)
    width = np.minimum(cores, processors[job] - nth * cores)
    kib = np.where(jobs[:, _ASKED_KIB] > 0, jobs[:, _ASKED_KIB], jobs[:, _USED_KIB])
    each = np.where(kib > 0, kib * 1024, memory_bytes(memory_per_core, "memory_per_core"))
    submitted = jobs[:, _SUBMIT] - jobs[:, _SUBMIT].min()
    numbers = jobs[job, _NUMBER].tolist()
    return Workload.of(
        Names([f"job-{number}-{part}" for number, part in zip(numbers, nth.tolist(), strict=True)]),
        _parts.sealed(np.stack([width * 1000, width * each[job], np.ones_like(width)], axis=1)),
        namespaces=Codes.of([f"user-{user}" for user in jobs[job, _USER].tolist()]),
        labels={"job": Codes.of([str(number) for number in numbers])},
        source=f"{file.name}, Standard Workload Format",
        arrival_ns=submitted[job] * SECOND_NS,
        duration_ns=jobs[job, _RUN] * SECOND_NS,
    )


def _processors(jobs: Ints) -> Ints:
    return np.where(jobs[:, _USED_CPUS] > 0, jobs[:, _USED_CPUS], jobs[:, _ASKED_CPUS])


def _read(file: Path) -> Ints:
    """int64[jobs, 18]: what is fractional is cut off."""
    rows = []
    for number, line in enumerate(_text(file).splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith(";"):
            continue
        try:
            # The log's writers put times with decimals where the format has none.
            row = [int(float(word)) for word in words]
        except (ValueError, OverflowError):
            raise InputError(f"{file.name}, line {number}: {line.strip()[:80]!r} isn't all numbers") from None
        if len(row) != FIELDS:
            raise InputError(f"{file.name}, line {number}: {len(row)} fields; wanted {FIELDS}")
        rows.append(row)
    if not rows:
        raise InputError(f"{file.name}: no job in it; wanted lines of {FIELDS} numbers")
    return np.array(rows, dtype=np.int64)


def _text(file: Path) -> str:
    try:
        if file.suffix == ".zip":
            with zipfile.ZipFile(file) as archive:
                return archive.read(archive.namelist()[0]).decode("utf-8", errors="replace")
        data = file.read_bytes()
        return (gzip.decompress(data) if file.suffix == ".gz" else data).decode("utf-8", errors="replace")
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(f"cannot read {str(file)!r}: {getattr(error, 'strerror', None) or error}") from error
