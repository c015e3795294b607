"""Generates packaging/grafana/fastmarket.json: one dashboard for the metrics in docs/operations.md.

`python tools/make_dashboard.py` writes it; tests/unit/test_packaging.py fails when it is out of date, or
queries a metric that no node has.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

FILE = Path(__file__).parent.parent / "packaging" / "grafana" / "fastmarket.json"
SOURCE = {"type": "prometheus", "uid": "${source}"}
WIDTH, HEIGHT, COLUMNS = 8, 7, 3
RATE = "[$__rate_interval]"
WHO = 'instance=~"$instance"'
# Title, unit, and per curve: expression, legend.
PANELS: tuple[tuple[str, str, Sequence[tuple[str, str]]], ...] = (
    (
        "Calls per second by code",
        "reqps",
        [(f"sum by (code) (rate(fastmarket_grpc_call_seconds_count{{{WHO}}}{RATE}))", "{{code}}")],
    ),
    (
        "Call latency (p50, p99)",
        "s",
        [
            (
                f"histogram_quantile({share}, sum by (le, method) "
                f"(rate(fastmarket_grpc_call_seconds_bucket{{{WHO}}}{RATE})))",
                f"{{{{method}}}} {name}",
            )
            for share, name in (("0.5", "p50"), ("0.99", "p99"))
        ],
    ),
    (
        "Event loop lag (p99)",
        "s",
        [
            (
                f"histogram_quantile(0.99, sum by (le, instance) "
                f"(rate(fastmarket_event_loop_lag_seconds_bucket{{{WHO}}}{RATE})))",
                "{{instance}}",
            )
        ],
    ),
    (
        "Peers",
        "short",
        [
            (f"fastmarket_routing_table_peers{{{WHO}}}", "{{instance}} in the table"),
            (f"fastmarket_connected_peers{{{WHO}}}", "{{instance}} connected"),
        ],
    ),
    (
        "Connections and refusals",
        "short",
        [
            (f"fastmarket_connections{{{WHO}}}", "{{instance}} connections"),
            (
                f"sum by (reason) (rate(fastmarket_connection_refusals_total{{{WHO}}}{RATE}))",
                "refused per second: {{reason}}",
            ),
        ],
    ),
    (
        "Network traffic",
        "Bps",
        [
            (f"rate(fastmarket_network_received_bytes_total{{{WHO}}}{RATE})", "{{instance}} received"),
            (f"rate(fastmarket_network_sent_bytes_total{{{WHO}}}{RATE})", "{{instance}} sent"),
        ],
    ),
    (
        "Offers stored",
        "short",
        [
            (f"fastmarket_offers_stored{{{WHO}}}", "{{instance}} all"),
            (f"fastmarket_offers_own{{{WHO}}}", "{{instance}} own"),
        ],
    ),
    (
        "Store requests per second by outcome",
        "ops",
        [(f"sum by (outcome) (rate(fastmarket_offer_stores_total{{{WHO}}}{RATE}))", "{{outcome}}")],
    ),
    (
        "Refused offers per second by reason",
        "ops",
        [(f"sum by (reason) (rate(fastmarket_offer_refusals_total{{{WHO}}}{RATE}))", "{{reason}}")],
    ),
    (
        "Lookups per second",
        "ops",
        [(f"sum by (kind) (rate(fastmarket_job_seconds_count{{{WHO}}}{RATE}))", "{{kind}}")],
    ),
    (
        "Lookup duration (p50)",
        "s",
        [
            (
                f"histogram_quantile(0.5, sum by (le, kind) "
                f"(rate(fastmarket_job_seconds_bucket{{{WHO}}}{RATE})))",
                "{{kind}}",
            )
        ],
    ),
    (
        "Hops and queried peers per lookup (mean)",
        "short",
        [
            (
                f"sum by (kind) (rate(fastmarket_lookup_{what}_sum{{{WHO}}}{RATE})) / "
                f"sum by (kind) (rate(fastmarket_lookup_{what}_count{{{WHO}}}{RATE}))",
                f"{{{{kind}}}} {name}",
            )
            for what, name in (("hops", "hops"), ("asked_peers", "queried"))
        ],
    ),
    (
        "Memory",
        "bytes",
        [(f"process_resident_memory_bytes{{{WHO}}}", "{{instance}}")],
    ),
    (
        "CPU",
        "percentunit",
        [(f"rate(process_cpu_seconds_total{{{WHO}}}{RATE})", "{{instance}}")],
    ),
    (
        "Shared store (fleet)",
        "short",
        [
            (f"fastmarket_shared_store_up{{{WHO}}}", "{{instance}} up"),
            (f"fastmarket_shared_store_unwritten_offers{{{WHO}}}", "{{instance}} unwritten"),
            (
                f"sum by (source) (rate(fastmarket_shared_store_views_total{{{WHO}}}{RATE}))",
                "views per second: {{source}}",
            ),
        ],
    ),
)


def dashboard() -> dict[str, object]:
    """As Grafana imports it."""
    return {
        "uid": "fastmarket",
        "title": "fastmarket",
        "description": "Nodes of a fastmarket network; docs/operations.md says what each number means.",
        "schemaVersion": 39,
        "tags": ["fastmarket"],
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [
                {"name": "source", "label": "Source", "type": "datasource", "query": "prometheus"},
                {
                    "name": "instance",
                    "label": "Node",
                    "type": "query",
                    "datasource": SOURCE,
                    "query": "label_values(fastmarket_node_info, instance)",
                    "refresh": 2,
                    "multi": True,
                    "includeAll": True,
                    "current": {"text": "All", "value": "$__all"},
                },
            ]
        },
        "panels": [_panel(place, *panel) for place, panel in enumerate(PANELS)],
    }


def _panel(place: int, title: str, unit: str, curves: Sequence[tuple[str, str]]) -> dict[str, object]:
    return {
        "id": place + 1,
        "type": "timeseries",
        "title": title,
        "datasource": SOURCE,
        "gridPos": {
            "x": place % COLUMNS * WIDTH,
            "y": place // COLUMNS * HEIGHT,
            "w": WIDTH,
            "h": HEIGHT,
        },
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": SOURCE,
                "expr": expression,
                "legendFormat": legend,
            }
            for number, (expression, legend) in enumerate(curves)
        ],
    }


def text() -> str:
    """The file."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
