"""
From configuration and keys to the driver that speaks a meter's protocol.

What Modbus and DL/T 645 need is imported where it is used: an agent loads only the protocols of
its meters.
"""

from datetime import timedelta
from typing import TYPE_CHECKING

from edge.acquire.dlms import CounterStore, DlmsDriver, DlmsTarget
from edge.acquire.driver import MeterDriver
from edge.clock import EdgeClock
from edge.config import ConfigError, KeyRing, MeterConfig
from edge.links.hdlc import HdlcPlace
from edge.links.serial import SerialSettings
from protocols.errors import PeerError

if TYPE_CHECKING:
    from edge.acquire.dlt645_line import MeterLine


def build_driver(
    config: MeterConfig, keys: KeyRing, counters: CounterStore, clock: EdgeClock
) -> MeterDriver:
    """
    Return the driver of one meter; it opens its session on first use.

    Raises: ConfigError when two meters want one serial port at different settings.
    """
    if config.protocol == "modbus":
        return _modbus(config, clock)
    if config.protocol == "dlt645":
        return _dlt645(config, keys, clock)
    secrets = keys.of(config.meter)
    return DlmsDriver(
        DlmsTarget(
            meter=config.meter,
            host=config.host,
            port=config.port,
            hdlc=_hdlc_place(config),
            client_sap=config.client_sap,
            server_sap=config.server_sap,
            authentication=config.authentication,
            ciphered=config.ciphered,
            dedicated=config.dedicated_key,
            event_profile=config.event_profile,
            weak_hls=config.weak_hls,
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


def _hdlc_place(config: MeterConfig) -> HdlcPlace | None:
    """Return how the meter hangs on HDLC, None in the TCP wrapper. Raises: ConfigError."""
    if config.link not in {"hdlc-serial", "hdlc-tcp"}:
        return None
    place = HdlcPlace(
        serial_port=config.serial_port if config.link == "hdlc-serial" else "",
        serial=_serial_settings(config),
        physical=config.hdlc_physical,
        address_octets=config.hdlc_address_octets,
        segment_octets=config.hdlc_info_octets,
        mode_e=config.mode_e,
    )
    try:
        place.settings(client_sap=config.client_sap, server_sap=config.server_sap)
    except ValueError as error:
        raise ConfigError(f"meters.{config.meter}.hdlc_address_octets: {error}") from error
    return place


def _serial_settings(config: MeterConfig) -> SerialSettings:
    return SerialSettings(
        baud=config.baud,
        data_bits=config.data_bits,
        parity=config.parity,
        stop_bits=config.stop_bits,
    )


def _modbus(config: MeterConfig, clock: EdgeClock) -> MeterDriver:
    from edge.acquire.modbus import ModbusDriver, ModbusTarget

    if config.link not in {"rtu-serial", "rtu-tcp"}:
        return ModbusDriver(
            ModbusTarget(
                meter=config.meter,
                host=config.host,
                port=config.port,
                unit=config.unit,
                model=config.model,
                map_file=config.map_file,
                serial=config.serial,
                timeout_seconds=config.timeout_seconds,
            ),
            clock,
        )
    return _modbus_rtu(config, clock)


def _modbus_rtu(config: MeterConfig, clock: EdgeClock) -> MeterDriver:
    from edge.acquire.modbus_rtu import (
        ModbusRtuDriver,
        ModbusRtuTarget,
        bus_on_gateway,
        bus_on_port,
    )

    settings = _serial_settings(config)
    try:
        if config.link == "rtu-serial":
            bus = bus_on_port(config.serial_port, settings, monotonic=clock.monotonic)
        else:
            bus = bus_on_gateway(config.host, config.port, settings, monotonic=clock.monotonic)
    except PeerError as error:
        raise ConfigError(f"meters.{config.meter}.serial_port: {error.message}") from error
    target = ModbusRtuTarget(
        meter=config.meter,
        unit=config.unit,
        model=config.model,
        map_file=config.map_file,
        serial=config.serial,
        gap_ms=config.gap_ms,
        timeout_ms=config.answer_ms,
    )
    return ModbusRtuDriver(target, bus, clock)


def _dlt645(config: MeterConfig, keys: KeyRing, clock: EdgeClock) -> MeterDriver:
    from edge.acquire.dlt645 import Dlt645Driver, Dlt645Target
    from protocols.dlt645.exchange import PASSWORD_OCTETS
    from protocols.dlt645.relay import Edition

    target = Dlt645Target(
        meter=config.meter,
        address=config.serial,
        interval_seconds=config.interval_seconds or None,
        has_relay=config.has_relay,
        closes_remotely=config.closes_remotely,
        arms_itself=config.arms_itself,
        edition=Edition(config.dlt645_edition),
        # a meter that is only read needs no password
        password=keys.of(config.meter).password or bytes(PASSWORD_OCTETS),
        utc_offset=timedelta(minutes=config.utc_offset_minutes),
        timeout_seconds=config.timeout_seconds,
    )
    try:
        return Dlt645Driver(target, _dlt645_line(config, clock), clock)
    except ValueError as error:
        raise ConfigError(f"meters.{config.meter}: {error}") from error


def _dlt645_line(config: MeterConfig, clock: EdgeClock) -> "MeterLine":
    from edge.acquire.dlt645_line import BusLine, tcp_line
    from edge.acquire.modbus_rtu import bus_on_port

    if not config.serial_port:
        return tcp_line(config.host, config.port, seconds=config.timeout_seconds)
    settings = _serial_settings(config)
    try:
        bus = bus_on_port(config.serial_port, settings, monotonic=clock.monotonic)
    except PeerError as error:
        raise ConfigError(f"meters.{config.meter}.serial_port: {error.message}") from error
    if config.gap_ms is None:
        return BusLine(bus, config.meter)
    return BusLine(bus, config.meter, gap=config.gap_ms / 1000)
