"""The threshold autoscaler of the orchestration API. A baseline, and no HPA: see domain/scaling.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

from k8slab.application.ledger import Ledger
from k8slab.domain.instants import UtcTime, from_ns
from k8slab.domain.models import AutoScalingConfig, Pod, PodPhase, ScalingDirection
from k8slab.domain.ports import IntentPort, NodeRepositoryPort, PodRepositoryPort, TimePort
from k8slab.domain.replicas import replicate
from k8slab.domain.scaling import next_to_leave, replicas_of, threshold_direction
from k8slab.errors import AdmissionRefused


class AutoScaler:
    """Adds a pod to a deployment, or takes one away, by its average utilization.

    A pod that it adds waits for whoever schedules. A pod that it takes away gives its
    resources back.
    """

    def __init__(
        self, pod_repo: PodRepositoryPort, node_repo: NodeRepositoryPort, *, clock: TimePort | None = None
    ) -> None:
        self._ledger = Ledger(pod_repo, node_repo)
        self._clock = clock if clock is not None else UtcTime()
        self._configs: dict[str, AutoScalingConfig] = {}

    def configure_autoscaling(self, config: AutoScalingConfig) -> None:
        """Look after this deployment from now on; the config's last_scale_time is kept up to date."""
        with self._ledger.lock:
            self._configs[config.config_id] = config

    def join(self, intents: IntentPort) -> None:
        """Scale alike with others from now on: who leads scales, by what was configured for all."""
        intents.register("configure_autoscaling", self.configure_autoscaling)
        replicate(self, "autoscaler", intents, memory=("_configs",))

    def hold(self) -> None:
        """Begin every cooldown anew: another scaler may have taken a step just now."""
        with self._ledger.lock:
            for config in self._configs.values():
                config.last_scale_time = from_ns(self._clock.now())

    def check_autoscaling(self) -> None:
        """Take each deployment one step, where the threshold rule says so."""
        with self._ledger.lock:
            for config in list(self._configs.values()):
                direction = threshold_direction(config, self._replicas(config), self._clock.now())
                self.scale_deployment(config, direction)

    def scale_deployment(self, config: AutoScalingConfig, direction: ScalingDirection) -> None:
        """Take one step; the rule's bounds are check_autoscaling's business, not this one's.

        Up stores a pending pod like the deployment's last one. Down deletes one. A
        step that was taken starts both cooldowns.
        """
        with self._ledger.lock:
            replicas = self._replicas(config)
            leaving = next_to_leave(replicas)
            if direction is ScalingDirection.UP:
                try:
                    self._ledger.pods.save_pod(self._one_more(config, replicas))
                except AdmissionRefused:
                    # Told of where it was refused. No step was taken, so the next check asks again.
                    return
            elif direction is ScalingDirection.DOWN and leaving is not None:
                self._ledger.remove(leaving)
            else:
                return
            config.last_scale_time = from_ns(self._clock.now())

    def _replicas(self, config: AutoScalingConfig) -> list[Pod]:
        return replicas_of(config, self._ledger.pods.list_pods(config.namespace))

    def _one_more(self, config: AutoScalingConfig, replicas: Sequence[Pod]) -> Pod:
        name = self._free_name(config)
        fresh = Pod(name, name, config.namespace, "", PodPhase.PENDING, "", created_at=from_ns(self._clock.now()))
        if not replicas:
            return fresh
        return replace(
            replicas[-1],
            pod_id=fresh.pod_id,
            name=fresh.name,
            node_id="",
            phase=PodPhase.PENDING,
            restart_count=0,
            created_at=fresh.created_at,
            last_restart=None,
        )

    def _free_name(self, config: AutoScalingConfig) -> str:
        """The first of "web-1", "web-2", ... that no pod of any namespace has for an id."""
        names = (f"{config.deployment_name}-{number}" for number in count(1))
        return next(name for name in names if self._ledger.pods.get_pod(name) is None)
