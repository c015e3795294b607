"""The status page in a headless Chromium, where there is one (Debian: chromium and chromium-driver)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import grpc
import pytest

from fastmarket.cli.processes import ServerProcess
from fastmarket.pb import market_pb2

pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

pytestmark = pytest.mark.e2e
DEADLINE_S = 30.0
NAMED = "a, button, input, summary, progress, meter, svg, [tabindex]"
FREE_PORTS = ("-p", "0", "-l", "/ip4/127.0.0.1/tcp/0", "--ephemeral")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ServerProcess]]:
    """Three nodes, the page on the first; the others have an offer each for one content."""
    directory = tmp_path_factory.mktemp("servers")
    with ExitStack() as stack:
        first = stack.enter_context(ServerProcess("page", (*FREE_PORTS, "--http-port", "0"), directory))
        first.wait_ready()
        started = [first]
        for name, price in (("Ann", 7), ("Bob", 4)):
            server = stack.enter_context(ServerProcess(name, (*FREE_PORTS, "-b", first.address), directory))
            server.wait_ready()
            started.append(server)
            user = market_pb2.User(id=name.encode(), name=name, ip="192.0.2.1", port=4000, price=price)
            with grpc.insecure_channel(server.ready["grpc"]) as channel:
                register = channel.unary_unary("/market.Market/RegisterFile")
                request = market_pb2.RegisterFileRequest(user=user, fileHash="<b>holiday</b>")
                register(request.SerializeToString(), timeout=DEADLINE_S)
        yield started


def text(browser: WebDriver, name: str) -> str:
    return str(browser.find_element(By.ID, name).text)


def opened(browser: WebDriver, servers: list[ServerProcess]) -> WebDriverWait[WebDriver]:
    browser.get(f"http://{servers[0].ready['http']}/")
    wait = WebDriverWait(browser, DEADLINE_S)
    wait.until(lambda _: text(browser, "state").startswith("Running for"))
    return wait


def test_the_page_shows_the_node_and_its_table(browser: WebDriver, servers: list[ServerProcess]) -> None:
    opened(browser, servers)
    assert browser.find_element(By.ID, "state").get_attribute("aria-live") == "off", "read aloud every 2 s"
    assert servers[0].ready["peer_id"] in text(browser, "facts")
    assert "2\npeers known" in text(browser, "figures")
    assert len(browser.find_elements(By.CSS_SELECTOR, "#buckets circle.connected")) == 2
    drawing = browser.find_element(By.CSS_SELECTOR, "#buckets svg")
    assert drawing.get_attribute("role") == "img"
    assert str(drawing.get_attribute("aria-label")).startswith("2 peers in ")
    assert not browser.find_element(By.ID, "peers").is_displayed(), "folded"
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_a_search_by_keyboard_alone(browser: WebDriver, servers: list[ServerProcess]) -> None:
    wait = opened(browser, servers)
    body = browser.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text == "Skip to the search"
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    browser.switch_to.active_element.send_keys(Keys.TAB)
    field = browser.switch_to.active_element
    assert field.get_attribute("id") == "content"
    field.send_keys("<b>holiday</b>", Keys.ENTER)
    wait.until(lambda _: text(browser, "found-state").startswith("2 holders in"))
    rows = [row.text.split() for row in browser.find_elements(By.CSS_SELECTOR, "#found tr")]
    assert [row[:2] for row in rows] == [["Bob", "4"], ["Ann", "7"]]
    assert browser.find_element(By.ID, "found-state").get_attribute("aria-live") == "polite"


def test_a_search_without_holders_says_so(browser: WebDriver, servers: list[ServerProcess]) -> None:
    wait = opened(browser, servers)
    browser.find_element(By.ID, "content").send_keys("nobody has it", Keys.ENTER)
    wait.until(lambda _: text(browser, "found-state").startswith("No holders found"))
    assert not browser.find_element(By.ID, "found-box").is_displayed()


def test_every_control_has_a_name(browser: WebDriver, servers: list[ServerProcess]) -> None:
    opened(browser, servers)
    unnamed = [
        control.get_attribute("outerHTML")
        for control in browser.find_elements(By.CSS_SELECTOR, NAMED)
        if control.is_displayed() and not control.accessible_name
    ]
    assert unnamed == []


def test_a_node_that_is_gone_is_told(browser: WebDriver, servers: list[ServerProcess]) -> None:
    wait = opened(browser, servers)
    servers[0].terminate()
    wait.until(lambda _: text(browser, "state") == "The node does not answer.")
    assert browser.find_element(By.ID, "state").get_attribute("aria-live") == "assertive"
