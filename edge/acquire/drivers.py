"""From configuration and keys to the driver that speaks a meter's protocol."""

from edge.acquire.dlms import CounterStore, DlmsDriver, DlmsTarget
from edge.acquire.driver import MeterDriver
from edge.acquire.modbus import ModbusDriver, ModbusTarget
from edge.clock import EdgeClock
from edge.config import KeyRing, MeterConfig


def build_driver(
    config: MeterConfig, keys: KeyRing, counters: CounterStore, clock: EdgeClock
) -> MeterDriver:
    """Return the driver of one meter; it opens its session on first use."""
    if config.protocol == "modbus":
        return ModbusDriver(
            ModbusTarget(
                meter=config.meter,
                host=config.host,
                port=config.port,
                unit=config.unit,
                model=config.model,
                serial=config.serial,
                timeout_seconds=config.timeout_seconds,
            ),
            clock,
        )
    secrets = keys.of(config.meter)
    return DlmsDriver(
        DlmsTarget(
            meter=config.meter,
            host=config.host,
            port=config.port,
            client_sap=config.client_sap,
            server_sap=config.server_sap,
            authentication=config.authentication,
            password=secrets.password,
            system_title=keys.system_title,
            authentication_key=secrets.authentication_key,
            encryption_key=secrets.encryption_key,
            expected_device_name=config.meter,
            interval_seconds=config.interval_seconds,
            has_relay=config.has_relay,
            timeout_seconds=config.timeout_seconds,
        ),
        counters,
        clock,
    )
