"""File descriptors: a process has a limited number, and every connection takes one, whichever side opened
it."""

from __future__ import annotations

import logging
from dataclasses import replace

from fastmarket.config import ContentConfig, HostConfig, MarketConfig, NodeConfig, WebConfig

log = logging.getLogger(__name__)

# The reserve that no connection takes: standard streams, listening sockets, event loops, the database and its
# journal, the data directory's lock, DNS lookups in progress; connections that the system has accepted and
# the node is about to refuse.
OTHER_FILES = 96
WANTED_AT_MOST = 65_536  # if the system sets no limit, or a very high one


def raise_limit() -> None:
    """Raises this process's soft limit to the hard one; it is low only for programs that use select."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_AT_MOST if hard == resource.RLIM_INFINITY else min(hard, WANTED_AT_MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as error:
            log.warning("cannot raise the limit of open files from %d to %d (%s)", soft, wanted, error)


def limit() -> int:
    """How many descriptors this process may have open."""
    try:
        import resource
    except ImportError:
        return WANTED_AT_MOST
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return WANTED_AT_MOST if soft == resource.RLIM_INFINITY else soft


def wanted(config: NodeConfig) -> int:
    """The most descriptors that a node with these limits may have open."""
    host, market, web = config.host, config.market, config.web
    ports = [port for port in (web.port, web.metrics_port) if port is not None]
    http = len(ports) * (web.max_connections + web.reserved_connections)
    nodes = host.max_connections + host.max_dials
    callers = market.max_connections + market.spare_connections
    return OTHER_FILES + nodes + callers + http + _of_content(config.content)


def _of_content(content: ContentConfig) -> int:
    if content.port is None:
        return 0
    return content.max_connections + content.max_turned_away + content.max_open_files


def fitted(config: NodeConfig, most: int) -> NodeConfig:
    """The configuration with connection limits that fit into `most` descriptors.

    All kinds of connections are scaled alike: clients of one port cannot take what other nodes need.
    """
    needed = wanted(config)
    if needed <= most:
        return config
    part = max(most - OTHER_FILES, 0) / (needed - OTHER_FILES)
    log.warning(
        "too few open files allowed: %d, while %d are needed; reducing connection limits", most, needed
    )

    def less(count: int) -> int:
        return max(1, int(count * part))

    host, market, web = config.host, config.market, config.web
    return replace(
        config,
        host=_host(host, less(host.max_connections) / host.max_connections),
        market=_market(market, less(market.max_connections), less(market.spare_connections)),
        web=_web(web, less(web.max_connections), less(web.reserved_connections)),
        content=_content(config.content, part),
    )


def _host(host: HostConfig, part: float) -> HostConfig:
    def less(count: int) -> int:
        return max(1, int(count * part))

    return replace(
        host,
        max_connections=less(host.max_connections),
        max_inbound_connections=less(host.max_inbound_connections),
        high_connections=less(host.high_connections),
        low_connections=less(host.low_connections),
        max_dials=less(host.max_dials),
        max_pending_inbound=less(host.max_pending_inbound),
    )


def _market(market: MarketConfig, connections: int, spare: int) -> MarketConfig:
    per_ip = max(1, market.max_connections_per_ip * connections // market.max_connections)
    return replace(
        market, max_connections=connections, max_connections_per_ip=per_ip, spare_connections=spare
    )


def _web(web: WebConfig, connections: int, reserved: int) -> WebConfig:
    per_ip = max(1, web.max_connections_per_ip * connections // web.max_connections)
    return replace(
        web, max_connections=connections, max_connections_per_ip=per_ip, reserved_connections=reserved
    )


def _content(content: ContentConfig, part: float) -> ContentConfig:
    connections = max(1, int(content.max_connections * part))
    return replace(
        content,
        max_connections=connections,
        max_connections_per_ip=max(
            1, content.max_connections_per_ip * connections // content.max_connections
        ),
        max_turned_away=max(1, int(content.max_turned_away * part)),
        max_open_files=max(1, int(content.max_open_files * part)),
    )
