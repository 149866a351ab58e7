"""Which nodes a search comes to (§2): zone by zone in turn, from where the last one ended, until enough will do."""

from __future__ import annotations

from dataclasses import dataclass

from tests.kube.objects import Node

REGIONS = ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region")
ZONES = ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone")


@dataclass
class Search:
    """nodes : how many there are in all; start : where the next search begins."""

    nodes: int
    percentage: int
    at_least: int
    start: int = 0

    def __call__(self, nodes: list[Node], will_do: set[str]) -> list[Node]:
        order, wanted = zone_by_zone(nodes), self.wanted(len(nodes))
        come_to: list[Node] = []
        for place in range(len(order)):
            if sum(node.name in will_do for node in come_to) == wanted:
                break
            come_to.append(order[(self.start + place) % len(order)])
        self.start = (self.start + len(come_to)) % self.nodes
        return come_to

    def wanted(self, nodes: int) -> int:
        if nodes < self.at_least:
            return nodes
        percent = self.percentage
        if percent == 0:
            percent = 50 - nodes // 125
            if percent < 5:
                percent = 5
        wanted = nodes * percent // 100
        return self.at_least if wanted < self.at_least else wanted


def zone_by_zone(nodes: list[Node]) -> list[Node]:
    waiting: dict[tuple[str, str], list[Node]] = {}
    for node in nodes:
        waiting.setdefault((value(node, REGIONS), value(node, ZONES)), []).append(node)
    order = []
    while any(waiting.values()):
        for zone in waiting.values():
            if zone:
                order.append(zone.pop(0))
    return order


def value(node: Node, keys: tuple[str, str]) -> str:
    for key in keys:
        if key in node.labels:
            return node.labels[key]
    return ""
