"""What tests of pages share: a browser, somebody signed in, the eye for faults."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page

from tests.integration.portal_kit import PASSWORD, Town, door_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = (Path(__file__).parents[1] / "vendor" / "axe.min.js").read_text(encoding="utf-8")
RULES = "['wcag2a','wcag2aa','wcag21a','wcag21aa','wcag22aa','best-practice']"
# what was well is counted, not sent: of a table of hours it is megabytes
LOOK = f"""async () => {{
    const found = await axe.run(document, {{runOnly: {RULES}, resultTypes: ['violations']}});
    return {{
        passes: found.passes.length,
        broken: found.violations.flatMap(
            (rule) => rule.nodes.map((node) => [rule.id, node.html.slice(0, 200)])),
        wide: document.documentElement.scrollWidth > innerWidth,
    }};
}}"""
ARGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
]  # fmt: skip
OPEN_ALL = "document.querySelectorAll('main details').forEach((one) => { one.open = true; })"
SHOTS = os.environ.get("METERLOOP_SHOTS", "")

needs_browser = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"),
    reason="no chromium: apt-get install --no-install-recommends chromium",
)


@dataclass
class Look:
    """A page with what went wrong on it."""

    page: Page
    faults: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)


@contextmanager
def looking(chromium: Browser, town: Town, login: str, *, width: int = 1280) -> Iterator[Look]:
    """Open a browser of its own, signed in, noting errors and hosts asked."""
    context = chromium.new_context(viewport={"width": width, "height": 800})
    look = Look(page=context.new_page())
    look.page.on(
        "console", lambda said: look.faults.append(said.text) if said.type == "error" else None
    )
    look.page.on("pageerror", lambda error: look.faults.append(str(error)))
    look.page.on("request", lambda asked: look.hosts.add(urlsplit(asked.url).netloc))
    if login:
        # by the form's own request: that the page itself signs in is shown by test_page_portal
        door = door_of(context.request.get(town.url + "/sign-in").text())
        signed = context.request.post(
            town.url + "/sign-in",
            form={"login": login, "password": PASSWORD, "door": door}, max_redirects=0,
        )  # fmt: skip
        assert signed.status == 303, signed.text()
    yield look
    context.close()


def step_up(page: Page, town: Town, back: str) -> None:
    """Give the password once more, as acts on money and meters ask; end at the page `back`."""
    page.goto(f"{town.url}/confirm?next={back}")
    page.fill("#password", PASSWORD)
    page.locator("form[action='/confirm'] button").click()
    page.wait_for_url(f"**{back}")


def check(look: Look, where: str) -> None:
    page = look.page
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE + ";0")
    found = page.evaluate(LOOK)
    assert not found["broken"], f"{where}: {found['broken']}"
    assert found["passes"] > 10, "axe did not look"
    assert not found["wide"], where


def keep(page: Page, name: str) -> None:
    if SHOTS:
        file = name.replace("/", "_").replace("?", "_").replace("=", "_")
        page.screenshot(path=f"{SHOTS}/{file}.png", full_page=True)
