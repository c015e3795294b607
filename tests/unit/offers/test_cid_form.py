"""The CID an offer was registered by: kept in all that happens to an offer, and no part of what it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.config import OfferConfig
from fastmarket.core.commands import FindOffers, OffersFound
from fastmarket.errors import CallerFault
from fastmarket.formats.cid import Cid, CidForm
from fastmarket.formats.envelope import seal
from fastmarket.native.batch import SignedBatch
from fastmarket.native.sha256 import sha256
from fastmarket.offers.announce.reprovider import Reprovider
from fastmarket.offers.model.offer import (
    OFFER_DOMAIN,
    OFFER_PAYLOAD_TYPE,
    Offer,
    OfferTerms,
    Signing,
    alone,
    sign_offers,
    terms_of,
)
from fastmarket.offers.store.offer_store import OfferStore
from fastmarket.offers.wire.messages import Ack
from fastmarket.offers.wire.verifying import OfferReader, OfferVerifier, open_offer, read_offer
from fastmarket.pb.fastmarket.v1.offer_pb2 import OfferBody
from tests.virtual import START, VirtualNetwork, identity, terms

HOLDER = identity(1)
FORMS: list[CidForm | None] = [None, (0, 0x70), (1, 0x55), (1, 0x70), (1, 0x0129), (1, 2**63 - 1)]


def wanted(form: CidForm | None, number: int = 0, name: str | None = None) -> OfferTerms:
    made = terms(content=b"\x12\x20" + sha256(b"%d" % number))
    return dataclasses.replace(made, form=form, user_name=made.user_name if name is None else name)


def batch_of(offers: list[Offer]) -> SignedBatch:
    batch = offers[0].signed
    assert isinstance(batch, SignedBatch)
    return batch


WAYS: dict[str, Callable[[list[Offer]], list[Offer]]] = {
    "as signed": lambda offers: offers,
    "one by one": lambda offers: [open_offer(offer.envelope, START) for offer in offers],
    "one after the other": lambda offers: (
        lambda verifier: [verifier.open(offer.envelope, START) for offer in offers]
    )(OfferVerifier(9)),
    "whole": lambda offers: [
        one
        for one in OfferVerifier(9).open_whole(SignedBatch(batch_of(offers).data), START)
        if isinstance(one, Offer)
    ],
    "from disk": lambda offers: OfferReader(HOLDER.peer_id).read_batch(batch_of(offers).data)[1],
    "from disk, alone": lambda offers: [read_offer(offer.envelope) for offer in offers],
    "not with its batch": lambda offers: [alone(offer) for offer in offers],
    "renewed": lambda offers: sign_offers(
        HOLDER, [Signing(terms_of(offer), offer) for offer in offers], START + 9
    ),
    "withdrawn": lambda offers: sign_offers(
        HOLDER, [Signing(terms_of(offer), offer, withdrawn=True) for offer in offers], START + 9
    ),
}


@pytest.mark.parametrize("name", ["bob", "Zo\xeb"], ids=["plain", "careful"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_it_is_kept_on_every_way(way: Callable[[list[Offer]], list[Offer]], name: str) -> None:
    many = [wanted(form, number, name) for number, form in enumerate(FORMS)]
    offers = sign_offers(HOLDER, [Signing(one) for one in many], START)
    came = {offer.content: offer for offer in way(offers)}  # a batch has them in the order of their keys
    assert len(came) == len(many)
    for one in many:
        told = came[one.content]
        assert told.form == one.form
        assert told.cid == ("" if one.form is None else str(Cid(*one.form, one.content)))
        assert terms_of(told) == one


@pytest.mark.parametrize("form", FORMS)
def test_an_offer_by_itself_keeps_it(form: CidForm | None) -> None:
    (offer,) = sign_offers(HOLDER, [Signing(wanted(form))], START)
    assert [open_offer(offer.envelope, START).form, read_offer(offer.envelope).form] == [form, form]
    body = OfferBody.FromString(offer.body)
    assert (body.HasField("version"), body.HasField("codec")) == (form is not None,) * 2


@given(
    st.fixed_dictionaries(
        {}, optional={"version": st.integers(0, 2**32 - 1), "codec": st.integers(0, 2**64 - 1)}
    )
)
def test_what_makes_no_cid_costs_the_offer_nothing(fields: dict[str, int]) -> None:
    """A later release may know of more versions: the offer stands, and travels as it came."""
    (offer,) = sign_offers(HOLDER, [Signing(wanted(None))], START)
    body = OfferBody.FromString(offer.body)
    for field, value in fields.items():
        setattr(body, field, value)
    signed = seal(HOLDER, OFFER_DOMAIN, OFFER_PAYLOAD_TYPE, body.SerializeToString())
    told = open_offer(signed, START)
    form = (fields.get("version", -1), fields.get("codec", -1))
    usable = form == (0, 0x70) or (form[0] == 1 and 0 <= form[1] < 2**63)
    assert (told.form, told.envelope) == (form if usable else None, signed)


def test_no_terms_with_a_form_that_the_content_has_not() -> None:
    for form in ((2, 0x55), (0, 0x55), (1, 2**63)):
        with pytest.raises(CallerFault, match="form"):
            wanted(form)
    with pytest.raises(CallerFault, match="form"):
        dataclasses.replace(terms(content=b"\x13\x40" + bytes(64)), form=(0, 0x70))


def test_the_same_content_under_another_codec_is_a_new_version() -> None:
    config = OfferConfig()
    store = OfferStore(config)
    own = Reprovider(config, HOLDER, store, 20)
    first = own.register(wanted((0, 0x70)), START)
    second = own.register(wanted((1, 0x55)), START + 1)
    assert (first.key, len(own), len(store)) == (second.key, 1, 1)
    assert second.replaces(first)
    assert [offer.form for offer in own] == [(1, 0x55)]
    assert store.add(first, START + 1) is Ack.SUPERSEDED
    now = START + config.announce_interval_s
    own.on_announced(second, None, START + 1)
    own.handle_timer(now)
    (renewed,) = own.take_due(now)
    assert (renewed.form, renewed.seq > second.seq) == ((1, 0x55), True)


def test_it_reaches_others_in_the_network_and_a_newcomer() -> None:
    net = VirtualNetwork.immediate()
    holder, other, asked = net.mesh(3)
    holder.run_announcement(holder.offers.register(wanted((1, 0x71)), net.now))
    found = asked.run(FindOffers(wanted(None).content, 10.0)).result
    assert isinstance(found, OffersFound)
    assert [offer.form for offer in found.offers] == [(1, 0x71)]
    assert [offer.form for offer in other.offers.store] == [(1, 0x71)]
