"""What is answered to which Accept."""

from __future__ import annotations

import pytest

from fastmarket.web.media_types import IPNS_RECORD, JSON, NDJSON, accepted, accepts, media_type_of


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ([], JSON),
        ([""], JSON),
        (["*/*"], JSON),
        (["application/*"], JSON),
        ([JSON], JSON),
        ([NDJSON], NDJSON),
        (["Application/X-NDJSON"], NDJSON),
        ([f"{NDJSON},{JSON}"], NDJSON),
        ([f"{JSON}, {NDJSON}"], NDJSON),
        ([JSON, NDJSON], NDJSON),
        ([f"{NDJSON}, {JSON};q=0.8"], NDJSON),
        ([f"{NDJSON};q=0.5, {JSON}"], JSON),
        ([f"{NDJSON};q=0, */*"], JSON),
        ([f"{JSON};q=0, */*"], None),
        ([f"{JSON}; charset=utf-8"], JSON),
        (["text/html,application/xhtml+xml,*/*;q=0.8"], JSON),
        (["text/html"], None),
        ([IPNS_RECORD], None),
        ([f"x{NDJSON}x"], None),
        (["*/*;q=0"], None),
        ([f"{JSON};q=rubbish"], JSON),
    ],
)
def test_json_or_a_stream(headers: list[str], answer: str | None) -> None:
    assert accepted(headers) == answer


@pytest.mark.parametrize(
    ("headers", "yes"),
    [([], True), ([IPNS_RECORD], True), (["*/*"], True), (["application/*"], True), ([JSON], False)],
)
def test_a_record(headers: list[str], yes: bool) -> None:
    assert accepts(headers, IPNS_RECORD) is yes


def test_a_content_type_without_its_parameters() -> None:
    assert media_type_of(" Application/JSON ; charset=utf-8") == JSON
    assert media_type_of("") == ""
