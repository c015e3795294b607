"""What the page's market is told, as JSON.

Prices and costs are text: they may exceed what a JavaScript number holds exactly. Sizes do not (2^50).
"""

from __future__ import annotations

import json

from starlette.responses import Response

from fastmarket.content.allowed import shown_path
from fastmarket.content.goods import Good
from fastmarket.content.sale import SaleEvent, SaleProgress
from fastmarket.exchange.fetching.order import FetchPlan, HolderShare
from fastmarket.web.gets import Get
from fastmarket.web.media_types import JSON
from fastmarket.web.refused import plain_of

Json = dict[str, object]


class AsciiJson(Response):
    """An answer in JSON of ASCII alone: names of files may hold bytes that are not UTF-8 (PEP 383), and come
    back as they were sent."""

    media_type = JSON

    def render(self, content: object) -> bytes:
        """See `starlette.responses.Response`."""
        return json.dumps(content, separators=(",", ":")).encode()


def plan_json(plan: FetchPlan) -> Json:
    """See `FetchPlan`."""
    return {
        "cid": plan.cid,
        "size": plan.size,
        "wanted": plan.wanted,
        "most_cost": str(plan.most_cost),
        "holders": [share_json(share) for share in plan.holders],
    }


def share_json(share: HolderShare) -> Json:
    """See `HolderShare`."""
    return {
        "name": share.name,
        "provider": share.provider,
        "source": share.source,
        "price": str(share.price),
        "bytes": share.bytes,
        "rate": share.rate,
        "cost": str(share.cost),
        "ended": share.ended,
    }


def get_json(get: Get) -> Json:
    """How far it is. `cost`: of what has come so far."""
    plan, summary = get.plan, get.summary
    return {
        "key": get.key,
        "name": get.name,
        "content": "/".join((str(get.order.root), *get.order.path)),
        "state": get.state.value,
        "asked_at": get.asked_at,
        "size": None if plan is None else plan.size,
        "most_cost": None if plan is None else str(plan.most_cost),
        "done": get.done,
        "cost": str(sum(share.cost for share in get.holders) if summary is None else summary.cost),
        "took_s": None if summary is None else summary.took_s,
        "error": get.error,
        "holders": [share_json(share) for share in get.holders],
    }


def good_json(good: Good, sent_bytes: int) -> Json:
    """`path` is sent back to end the sale; `shown` is for people."""
    return {
        "cid": None if good.cid is None else str(good.cid),
        "name": shown_path(good.name),
        "path": good.path,
        "shown": shown_path(good.path),
        "size": good.size,
        "price": str(good.price_per_mb),
        "holder": good.user_name,
        "state": good.state.name.lower(),
        "sent_bytes": sent_bytes,
        "directory": good.is_directory,
        "watched": good.watched,
    }


def sale_json(event: SaleEvent) -> Json:
    """With `done` while it runs; with `cid` at the end of one content, with or without an `error`."""
    if isinstance(event, SaleProgress):
        return {"done": event.done, "total": event.total, "path": event.path}
    sale: Json = {"path": event.path, "cid": event.cid, "size": event.size}
    if event.outcome is not None:
        sale |= {"acknowledged": event.outcome.acknowledged, "wanted": event.outcome.wanted}
    if event.fault is not None:
        sale["error"] = plain_of(event.fault) or str(event.fault)
    return sale
