"""The one virtual harness: whole nodes, their disks, and the network between them, in virtual time."""

from tests.virtual.conditions import IMMEDIATE, Conditions, State
from tests.virtual.disk import Disk
from tests.virtual.network import VirtualNetwork
from tests.virtual.node import Killed, VirtualNode
from tests.virtual.values import CONTENT, START, addr_of, identity, peer_id_of, peer_info_of, terms

__all__ = [
    "CONTENT",
    "IMMEDIATE",
    "START",
    "Conditions",
    "Disk",
    "Killed",
    "State",
    "VirtualNetwork",
    "VirtualNode",
    "addr_of",
    "identity",
    "peer_id_of",
    "peer_info_of",
    "terms",
]
