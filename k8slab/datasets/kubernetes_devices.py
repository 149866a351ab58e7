"""What a dump says of GPUs that pods share: the annotations of the open-gpu-share and gpushare schedulers.

open-gpu-share, which the FGD study's simulator is built on: a node allows alibabacloud.com/gpu-count
and is labelled with its model; a pod is annotated with milli of each GPU, how many, which models,
and once it is placed, which GPUs. gpushare counts GPU memory as a resource, aliyun.com/gpu-mem, and
annotates a placed pod with the number of its GPU.
"""

from __future__ import annotations

from typing import Final

from k8slab.datasets.kubernetes_dump import ApiObject, Fields
from k8slab.datasets.kubernetes_requests import Amounts
from k8slab.domain.devices import INDEX_LABEL, MOST_DEVICES, SPEC_LABEL, WHOLE
from k8slab.domain.resources import GPU
from k8slab.errors import InputError

_PREFIX: Final = "alibabacloud.com/"
_COUNT: Final = f"{_PREFIX}gpu-count"
_MILLI: Final = f"{_PREFIX}gpu-milli"
_MODEL: Final = f"{_PREFIX}gpu-card-model"
_INDEX: Final = f"{_PREFIX}gpu-index"
_MEMORY_INDEX: Final = "ALIYUN_COM_GPU_MEM_IDX"


def node_gpus(node: ApiObject, amounts: Amounts) -> Amounts:
    """What a node allows, with its open-gpu-share GPUs as milli of the resource "gpu"."""
    if _COUNT not in amounts:
        return amounts
    count = amounts[_COUNT]
    if count > MOST_DEVICES:
        node.status.inside("allocatable").fail(_COUNT, count, f"{MOST_DEVICES} GPUs or less")
    # Its gpu-milli says what one GPU has, 1000 always.
    rest = {resource: value for resource, value in amounts.items() if resource not in (_COUNT, _MILLI)}
    return {**rest, GPU: count * WHOLE}


def pod_gpus(pod: ApiObject) -> Amounts:
    """What a pod asks of GPUs by its annotations: milli of all of them, nothing if it has none.

    Raises InputError with the pod and the annotation for what no pod can ask.
    """
    said = _annotations(pod)
    if said is None or not (said.get(_MILLI) or said.get(_COUNT)):
        return {}
    count = _whole(said, _COUNT, MOST_DEVICES, default=1)
    if count and not said.get(_MILLI):
        said.fail(_MILLI, said.get(_MILLI), f"milli of each GPU, 1 to {WHOLE}")
    milli = _whole(said, _MILLI, WHOLE, default=0)
    if count > 1 and milli < WHOLE:
        said.fail(_MILLI, said.get(_MILLI), f"{WHOLE}: who asks {count} GPUs takes them whole")
    return {GPU: milli * count} if milli * count else {}


def gpu_labels(pod: ApiObject) -> dict[str, str]:
    """A pod's accepted models and the GPUs that it has, as labels."""
    said = _annotations(pod)
    if said is None:
        return {}
    found = {}
    if said.get(_MODEL):
        found[SPEC_LABEL] = said.text(_MODEL)
    key = _INDEX if said.get(_INDEX) else _MEMORY_INDEX
    if said.get(key):
        numbers = said.text(key).replace(",", "-").split("-")
        if not all(number.isdecimal() and int(number) < MOST_DEVICES for number in numbers):
            said.fail(key, said.get(key), 'numbers of GPUs joined by -, such as "0-1"')
        if len(set(numbers)) < len(numbers):
            said.fail(key, said.get(key), "each GPU once")
        found[INDEX_LABEL] = "-".join(numbers)
    return found


def check_gpu_index(pod: ApiObject, node: ApiObject, devices: int) -> None:
    """Raises InputError for a pod whose GPUs its node hasn't."""
    index = gpu_labels(pod).get(INDEX_LABEL)
    if index is not None and max(map(int, index.split("-"))) >= devices:
        has = f"has {devices}, from 0 to {devices - 1}" if devices else "has none"
        raise InputError(f"{pod}: its annotations say it has GPU {index}, but {node} {has}")


def _annotations(pod: ApiObject) -> Fields | None:
    found = pod.metadata.get("annotations")
    return None if not found else pod.metadata.child("annotations")


def _whole(said: Fields, key: str, most: int, default: int) -> int:
    text = said.get(key)
    if text is None or text == "":
        return default
    if not isinstance(text, str | int) or isinstance(text, bool) or not str(text).isdecimal() or int(text) > most:
        said.fail(key, text, f"a whole number from 0 to {most:,}")
    return int(text)
