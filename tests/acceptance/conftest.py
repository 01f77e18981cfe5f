"""A town and a browser for each module of page tests."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from meterloop.embedded.postgres import EmbeddedPostgres
from protocols.mqtt.broker import BrokerAddress
from tests.acceptance.browser_kit import ARGS, CHROMIUM
from tests.integration.portal_kit import Town, fresh_town


@pytest.fixture(scope="module")
def town(
    postgres: EmbeddedPostgres,
    migrated_template: str,
    mqtt_broker: BrokerAddress,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("pages")
    with fresh_town(postgres, migrated_template, mqtt_broker, folder) as served:
        yield served


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        browser.close()
