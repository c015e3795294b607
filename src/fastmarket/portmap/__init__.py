"""Port mapping at the router of a home network: PCP, NAT-PMP and UPnP-IGD, without I/O."""
