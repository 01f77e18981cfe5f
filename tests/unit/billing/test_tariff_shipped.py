"""Every tariff file that comes with the product proves itself and can be read in five languages."""

import pytest

from billing.rating.service import prove
from billing.tariffs.service import SHIPPED

FILES = sorted(SHIPPED.glob("*.json"))


@pytest.mark.req("G1", "G2", "G3")
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_shipped_tariff_proves_itself(file) -> None:
    tariff, compiled = prove(file.read_bytes())
    assert file.name == f"{tariff.code}.v{tariff.version}.json"
    assert not compiled.wide
    assert tariff.sources
    for line in tariff.lines:
        assert set(line.label) == {"fa", "zh", "uz", "ru", "en"}, line.id


def test_the_examples_of_four_countries_and_more_are_there() -> None:
    assert {file.stem.split("-")[0] for file in FILES} >= {
        "cn",
        "cq",
        "ir",
        "pge",
        "uk",
        "uz",
        "zj",
    }
