"""Buying and selling in a headless Chromium: with the mouse, by keyboard, on a phone, with a token."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fastmarket.cli.processes import ServerProcess, environment, executable
from fastmarket.formats.identity import Identity
from fastmarket.payments.rows import OwedRow
from fastmarket.storage.tabs import TabDatabase
from tests.e2e.conftest import COMMAND_DEADLINE_S, Servers
from tests.unit.storage.test_tabs import BUYER

pytest.importorskip("selenium.webdriver")
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

DEADLINE_S = 60.0
DATA = random.Random(18).randbytes(3_000_000)
HOSTILE = "<img src=x onerror=document.title=1>"


class Page:
    """The page in a browser."""

    def __init__(self, browser: WebDriver, server: ServerProcess) -> None:
        self.browser = browser
        # What a condition has found may be drawn again before the condition reads it.
        self._wait = WebDriverWait(browser, DEADLINE_S, ignored_exceptions=[StaleElementReferenceException])
        self.resize(1100, 1400)
        browser.get("about:blank")
        browser.get(f"http://{server.ready['http']}/")
        self.until(lambda: self.text("state").startswith("Running for"))

    def resize(self, width: int, height: int) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def prefer(self, scheme: str) -> None:
        features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", features)

    def until(self, true: Callable[[], object]) -> None:
        self._wait.until(lambda _: true())

    def element(self, name: str) -> WebElement:
        return self.browser.find_element(By.ID, name)

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def text(self, name: str) -> str:
        return str(self.element(name).text)

    def rows(self, name: str) -> list[list[str]]:
        return [
            [cell.text for cell in row.find_elements(By.TAG_NAME, "td")] for row in self.all(f"#{name} tr")
        ]

    @property
    def focused(self) -> WebElement:
        return self.browser.switch_to.active_element

    def press(self, *keys: str) -> None:
        self.focused.send_keys(*keys)

    def tab_to(self, name: str, *, most: int = 12) -> None:
        """By the tab key alone, from where the focus is."""
        for _ in range(most):
            self.press(Keys.TAB)
            if self.focused.get_attribute("id") == name:
                return
        there = self.focused.get_attribute("outerHTML")
        raise AssertionError(f"no way to {name} in {most} steps, but to {there}")

    def search(self, content: str) -> None:
        field = self.element("content")
        field.clear()
        field.send_keys(content, Keys.ENTER)
        self.until(lambda: " in " in self.text("found-state"))

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.browser.get_log("browser") if entry["level"] == "SEVERE"]  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def goods(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("goods")
    (directory / "album").mkdir()
    (directory / "album" / "one.txt").write_bytes(b"one")
    (directory / f"{HOSTILE}.txt").write_bytes(b"hostile")
    (directory / "holiday.mkv").write_bytes(DATA)
    return directory


@pytest.fixture(scope="module")
def market(shared_servers: Servers, goods: Path) -> tuple[ServerProcess, str]:
    """A node with the page, and the CID of what two others sell."""
    first = shared_servers.start("--http-port", "0", "--content-port", "0", "--allow-path", str(goods))
    for name, price in (("Ann", "7"), (HOSTILE, "4")):
        seller = shared_servers.start("--content-port", "0", join=first)
        cid = sold(seller, goods / "holiday.mkv", name, price)
    return first, cid


@pytest.fixture
def page(browser: WebDriver, market: tuple[ServerProcess, str]) -> Iterator[Page]:
    made = Page(browser, market[0])
    yield made
    assert made.complaints() == []
    assert browser.title == "fastmarket node", "nobody's text ran"


def sold(seller: ServerProcess, path: Path, name: str, price: str) -> str:
    """The CID, as the client prints it."""
    command = [*executable("fastmarket-client"), "-p", seller.port, "-u", name, "--price", price]
    done = subprocess.run(
        [*command, "sell", str(path)],
        capture_output=True,
        text=True,
        timeout=COMMAND_DEADLINE_S,
        env=environment(FASTMARKET_CLIENT_DATA_DIR=str(path.parent.parent / "user")),
        check=True,
    )
    return done.stdout.strip()


def test_a_file_is_bought_and_saved(page: Page, market: tuple[ServerProcess, str], downloads: Path) -> None:
    page.search(market[1])
    assert page.text("found-state").startswith("2 holders in ")
    holders = page.rows("found")
    assert [row[:3] for row in holders] == [[HOSTILE, "4", "yes"], ["Ann", "7", "yes"]]
    assert all(row[3].startswith("answers in ") for row in holders)
    page.element("get-open").click()
    page.until(lambda: page.element("get-go").is_enabled())
    assert page.text("get-plan") == "3.0 MB: it costs at most 22, from 2 holders."
    assert page.element("get-name").get_property("value") == "holiday.mkv"
    page.element("get-go").click()
    page.until(lambda: "verified" in page.text("gets"))
    assert "3.0 MB, verified, for " in page.text("gets")
    saved = downloads / "holiday.mkv"
    page.until(saved.exists)
    assert saved.read_bytes() == DATA
    page.until(lambda: "verified" in str(page.element("gets-state").get_property("textContent")))
    again = Page(page.browser, market[0])
    again.until(lambda: "verified" in again.text("gets"))


def test_what_is_too_dear_is_told_before(page: Page, market: tuple[ServerProcess, str]) -> None:
    page.search(market[1])
    page.element("get-open").click()
    page.until(lambda: page.element("get-go").is_enabled())
    page.element("get-price").send_keys("4", Keys.TAB)
    page.until(lambda: "at most 12, from 1 holder" in page.text("get-plan"))
    page.element("get-price").send_keys(Keys.BACKSPACE, "1", Keys.TAB)
    page.until(lambda: page.text("get-plan").startswith("It cannot be got: "))
    assert not page.element("get-go").is_enabled()


def test_a_name_has_nothing_to_get(page: Page) -> None:
    page.search("some name")
    assert "the hash of its text" in page.text("found-state")
    assert not page.element("get-open").is_displayed()


def test_all_of_it_by_keyboard(page: Page, market: tuple[ServerProcess, str], downloads: Path) -> None:
    page.browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert page.focused.text == "Skip to the search"
    page.press(Keys.ENTER)
    page.tab_to("content")
    page.press(market[1], Keys.ENTER)
    page.until(lambda: page.element("get-open").is_displayed())
    page.tab_to("get-open")
    page.press(Keys.ENTER)
    assert page.focused.get_attribute("id") == "get-name"
    page.press(Keys.CONTROL, "a")
    page.press("mine.bin")
    page.until(lambda: page.element("get-go").is_enabled())
    page.press(Keys.ENTER)
    page.until((downloads / "mine.bin").exists)
    page.until(lambda: page.focused.get_attribute("id") == "get-open")
    page.tab_to("choose")
    page.press(Keys.ENTER)
    page.until(
        lambda: page.focused.tag_name == "button" and "entry" in str(page.focused.get_attribute("class"))
    )
    page.press(Keys.ENTER)
    page.until(lambda: page.focused.text == "↑ up")
    page.press(Keys.ESCAPE)
    assert page.focused.get_attribute("id") == "choose"
    assert not page.element("chooser").is_displayed()


def test_a_chosen_file_is_sold_and_no_longer(page: Page, goods: Path) -> None:
    page.element("choose").click()
    page.until(lambda: page.all("#entries button"))
    page.all("#entries button")[0].click()
    page.until(lambda: len(page.all("#entries button")) == 5)
    assert [entry.text for entry in page.all("#entries button")] == [
        "↑ up",
        f"Sell this folder: {goods}",
        "album/",
        f"{HOSTILE}.txt (7 B)",
        "holiday.mkv (3.0 MB)",
    ]
    page.all("#entries button")[3].click()
    assert page.element("path").get_property("value") == f"{goods}/{HOSTILE}.txt"
    page.element("price").clear()
    page.element("price").send_keys("12")
    page.element("holder").send_keys("Me", Keys.ENTER)
    page.until(lambda: "is sold as Qm" in page.text("sell-state"))
    page.until(lambda: page.rows("goods"))
    (row,) = page.rows("goods")
    assert row[:5] == [f"{HOSTILE}.txt", "selling", "12", "7 B", "0 B"]
    page.all("#goods button")[0].click()
    page.browser.switch_to.alert.accept()
    page.until(lambda: page.text("goods-none") == "Nothing yet.")


def test_what_may_not_be_sold_is_named(page: Page, goods: Path) -> None:
    page.element("price").send_keys("0")
    page.element("path").send_keys("/etc/passwd", Keys.ENTER)
    page.until(lambda: page.text("sell-state").startswith("It is not sold: /etc/passwd may not be sold"))
    page.browser.get_log("browser")  # type: ignore[attr-defined]  # the refusal itself


def test_a_phone_shows_all_of_it(page: Page, market: tuple[ServerProcess, str]) -> None:
    page.resize(360, 740)
    page.search(market[1])
    page.element("get-open").click()
    page.until(lambda: page.element("get-go").is_enabled())
    page.element("choose").click()
    page.until(lambda: page.all("#entries button"))
    for summary in page.all("summary"):
        if summary.is_displayed():
            summary.click()
    assert page.browser.execute_script("return document.documentElement.scrollWidth") == 360
    small = [
        control.get_attribute("outerHTML")
        for control in page.all("button, input:not([type=checkbox]), nav a")
        if control.is_displayed() and control.size["height"] < 32
    ]
    assert small == [], "too small for a finger"
    label = page.browser.execute_script(
        "return getComputedStyle(document.querySelector('#found td'), '::before').content"
    )
    assert label == '"Holder"'


def test_dark_and_light_can_be_read(page: Page, market: tuple[ServerProcess, str]) -> None:
    page.search(market[1])
    seen = set()
    for scheme in ("light", "dark"):
        page.prefer(scheme)
        seen.add(page.element("state").value_of_css_property("color"))
        for name in ("state", "found-state", "found"):
            assert contrast(page, name) >= 4.5, (scheme, name)
    assert len(seen) == 2


def contrast(page: Page, name: str) -> float:
    """Of its text to the page's ground (WCAG 2.2, section 1.4.3: at least 4.5)."""
    ground = page.browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
    low, high = sorted(map(luminance, (ground, page.element(name).value_of_css_property("color"))))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_nothing_leaves_the_machine(page: Page, market: tuple[ServerProcess, str]) -> None:
    page.search(market[1])
    asked = page.browser.execute_script(
        "return performance.getEntriesByType('resource').map(one => one.name)"
    )
    assert len(asked) > 8
    assert {url.partition("://")[2].partition("/")[0] for url in asked} == {market[0].ready["http"]}


def test_a_token_opens_the_market(
    browser: WebDriver, shared_servers: Servers, goods: Path, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("write a-token-that-may-write\n")
    tokens.chmod(0o600)
    server = shared_servers.start("--http-port", "0", "--content-port", "0", "--tokens", str(tokens))
    page = Page(browser, server)
    page.until(lambda: page.element("token-form").is_displayed())
    assert not page.element("sell-form").is_displayed()
    page.element("token").send_keys("not-the-right-token", Keys.ENTER)
    page.until(lambda: "token of this server" in page.text("token-note"))
    page.element("token").send_keys("a-token-that-may-write", Keys.ENTER)
    page.until(lambda: page.element("sell-form").is_displayed())
    assert not page.element("token-form").is_displayed()
    page.element("price").send_keys("0")
    page.element("path").send_keys(str(goods / "album"))
    page.element("sell-go").click()
    page.until(lambda: page.rows("goods"))
    kept = page.browser.execute_script(
        "return localStorage.length + sessionStorage.length + document.cookie.length"
    )
    assert kept == 0
    again = Page(browser, server)
    again.until(lambda: again.element("token-form").is_displayed())
    again.browser.get_log("browser")  # type: ignore[attr-defined]  # the refusals


def test_what_is_owed_is_told(
    browser: WebDriver, servers: Servers, market: tuple[ServerProcess, str], tmp_path: Path
) -> None:
    database = TabDatabase(tmp_path)
    peer = Identity.from_seed(bytes(32)).peer_id
    owed = (OwedRow(bytes(32), 3, 0, 7_000_000),)
    row = replace(BUYER, buyer=peer.raw, paid_bytes=2_000_000, paid_amount=2**60, owed=owed)
    database.write([row], time.time())
    database.close()
    options = ("--payments", "--budget", "500", "--http-port", "0", "--data-dir", str(tmp_path))
    page = Page(browser, servers.start(*options))
    page.until(lambda: page.element("money").is_displayed() and page.rows("tabs"))
    amount = f"{2**60:,}"
    assert page.rows("tabs") == [
        [
            "buyer",
            f"{str(peer)[:8]}…{str(peer)[-6:]}",
            f"{amount} unit",
            "0 unit (0 B)",
            "21 unit (7.0 MB)",
            "blocked, signed two receipts of one number",
        ]
    ]
    facts = page.text("money-facts").splitlines()
    assert dict(zip(facts[::2], facts[1::2], strict=True)) == {
        "earned this month": f"{amount} unit",
        "spent this month": "0",
        "spent today": "0 of 500 unit",
        "unpaid by buyers": "0 unit (0 B)",
        "lost to buyers": "21 unit (7.0 MB), 1 default",
    }
    assert page.complaints() == []
    page = Page(browser, market[0])
    assert not page.element("money").is_displayed()
    assert not page.element("money-link").is_displayed()
