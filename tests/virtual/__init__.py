"""The one virtual harness: whole nodes, their disks, and the network between them, in virtual time."""

from tests.virtual.network import VirtualNetwork, VirtualNode

__all__ = ["VirtualNetwork", "VirtualNode"]
