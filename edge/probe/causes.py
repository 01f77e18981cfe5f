"""From a PeerError's code to what it most likely means in the field, and what to do about it."""

from dataclasses import dataclass

from protocols.errors import PeerError


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What a failure means, in words, and the line that would mend it."""

    words: str
    fix: str


_CAUSES: dict[str, tuple[str, str]] = {
    "link.refused": (
        "nothing listens there, or the port cannot be opened",
        "check host and port (DLMS 4059, Modbus 502); for a serial port: is it plugged in, does "
        "the path exist, are you in the group dialout?",
    ),
    "link.busy": (
        "another program holds the serial port",
        "stop the other program (the agent itself?) before probing: one owner per port",
    ),
    "link.timeout": (
        "no answer came in time",
        "check the address, the wiring and that the meter has power; over a modem give "
        "--timeout 10; a firewall that drops packets looks the same",
    ),
    "link.closed": (
        "the other side ended the connection",
        "many meters take one client at a time: end other sessions and wait a minute; or this "
        "port speaks another protocol",
    ),
    "link.babble": (
        "the line never falls silent",
        "check polarity (swap A and B), termination and baud rate; look for a second master",
    ),
    "dlms.rejected": (
        "the meter speaks DLMS but refuses this association",
        "check --client-sap and --authentication; probe without keys lists what each client "
        "address asks for",
    ),
    "dlms.authentication": (
        "one side does not accept the other's proof: the keys differ",
        "check authentication_key and encryption_key of this very meter in the key file, and "
        "that they are not swapped; stop after two tries, some meters lock",
    ),
    "dlms.tag_mismatch": (
        "an answer does not open with our keys: the keys differ, or somebody changed it",
        "check authentication_key and encryption_key of this very meter in the key file",
    ),
    "dlms.exception": (
        "the meter could not take the request; in answer to HLS this most often is a wrong key",
        "check the encryption key first, then whether --client-sap is the one the keys belong to",
    ),
    "dlms.counter_rejected": (
        "the meter has already seen a higher invocation counter from this title",
        "try once more: our counter has been raised; if it returns, another program uses our "
        "system title",
    ),
    "dlms.counter_lowered": (
        "the meter refuses our counter, yet stands below it: it was replaced or set back",
        "compare the serial number with the installation record; new keys are needed",
    ),
    "dlms.counter_jump": (
        "the meter asks for an absurdly high counter",
        "do not follow it: check that this is the meter expected, then give it new keys",
    ),
    "dlms.foreign": (
        "another meter answers at this address",
        "compare the logical device name with the plate; was the meter swapped or the wiring "
        "crossed? Record the exchange of meters before reading on",
    ),
    "dlms.address": (
        "the answer comes from another access point than was asked",
        "correct --server-sap (1 is usual)",
    ),
    "dlms.access": (
        "the meter has no such object, or not for this client",
        "probe lists the objects of each client address; check OBIS and class, and --client-sap",
    ),
    "dlms.wrapper": (
        "what came is not the DLMS wrapper",
        "this port may speak HDLC or another protocol; let probe try them all",
    ),
    "dlms.clock": (
        "the meter's time cannot be placed: no deviation, or marked invalid",
        "configure the zone it keeps (assumed_deviation), then set its clock",
    ),
    "dlms.unit": (
        "a register is told in another unit than its OBIS stands for",
        "read its scaler and unit; the meter's profile file needs an entry",
    ),
    "dlms.profile": (
        "the load profile has columns that we cannot use",
        "read capture_objects of 1-0:99.1.0; a clock and an energy column are needed",
    ),
    "dlms.security_control": (
        "the meter protects its answers otherwise than agreed",
        "compare its security policy (0-0:43.0.0) with the configuration",
    ),
    "dlms.plain_answer": (
        "a plain answer in a ciphered association: refused, it could be anyone's",
        "look for something between us and the meter that answers in its place",
    ),
    "dlms.replayed": (
        "an answer with an old counter: refused, it could be a recording",
        "look for something between us and the meter that repeats answers",
    ),
    "dlms.reflected": (
        "our own challenge came back",
        "the line echoes (RS-485 with echo on?), or somebody reflects what we send",
    ),
    "dlms.context": (
        "the meter accepts another kind of association than was asked",
        "set --authentication to what the meter offers: none, lls or hls5",
    ),
    "dlms.mechanism": (
        "the meter wants another authentication mechanism",
        "set --authentication to what the meter offers; MD5 and SHA-1 must be allowed first",
    ),
    "dlms.title": (
        "the meter's system title is missing or ours",
        "give every client its own system title in the key file",
    ),
    "dlms.action_refused": (
        "the meter will not do that",
        "check the control mode of its switch and the rights of this client",
    ),
    "hdlc.refused": (
        "the meter answers at this HDLC address but refuses the link",
        "it may be busy with another client, or not know this client address: try --client-sap 16",
    ),
    "hdlc.timeout": (
        "no HDLC station answers",
        "check the physical address (--hdlc-physical; often 16, 17 or the last four digits of "
        "the serial number + 1000), baud rate and parity",
    ),
    "mode_e.identification": (
        "something answers the sign-on, but not readably",
        "the optical port starts at 300 baud, 7 bits, even parity; check the head and cable",
    ),
    "mode_e.no_hdlc": (
        "the meter signs on, but does not offer HDLC behind it",
        "it speaks plain IEC 62056-21 only: read it with a tool for that, or use another port",
    ),
    "modbus.exception": (
        "the device speaks Modbus, but has no such register",
        "choose the right --model; gateways answer 10 or 11 when the unit behind them is silent",
    ),
    "modbus.foreign": (
        "another device answers: its serial number or unit is not the one expected",
        "compare the serial number with the plate; was the meter swapped?",
    ),
    "modbus.implausible": (
        "the registers hold no plausible values for this model",
        "another model, another word order or a 1-based map: let probe name the model",
    ),
    "modbus.torn": (
        "a counter changed while it was read",
        "read it again; if it stays so, lower max_registers in the map",
    ),
    "modbus.step_back": (
        "an energy register stands lower than before",
        "was the meter exchanged, reset, or its register full? record the exchange; a register "
        "that stays low is passed on for validation to judge",
    ),
    "modbus.map": (
        "the register map cannot be used",
        "mend the file and key named above",
    ),
    "bus.timeout": (
        "the unit does not answer",
        "check unit, baud rate and parity, polarity (swap A and B) and supply; a slow meter needs "
        "a longer answer_ms",
    ),
    "bus.silent": (
        "the unit has failed several times and is left alone for a while",
        "check its address, wiring and supply; it is probed again by itself",
    ),
    "bus.doubtful": (
        "more octets follow the answer than may, so it could be the one before",
        "look for two units with one address or a second master; a slow meter needs a longer "
        "answer_ms",
    ),
    "bus.babble": (
        "the line never falls silent",
        "look for a second master, a stuck driver, a wrong baud rate or parity, missing bias or "
        "termination",
    ),
    "sunspec.absent": (
        "no SunSpec marker stands where it should",
        "the device does not describe itself: choose a register map with --model",
    ),
    "dlt645.address": (
        "the meter's address cannot be read",
        "alone on the line it answers to AAAAAAAAAAAA; otherwise give the 12 digits on its plate",
    ),
    "dlt645.checksum": (
        "octets arrive spoilt",
        "check parity: DL/T 645 is 8E1, at 2400 baud from the factory",
    ),
}
_FAMILIES: tuple[tuple[str, str, str], ...] = (
    (
        "dlms.",
        "the answer is not what DLMS/COSEM allows here",
        "record the session (meterloop record) and decode it (meterloop dlms decode)",
    ),
    (
        "hdlc.",
        "the HDLC link does not hold",
        "check baud rate, parity and that one client talks at a time; record the session",
    ),
    (
        "mode_e.",
        "the sign-on at the optical port fails",
        "check that the head sits and the port starts at 300 baud 7E1",
    ),
    (
        "modbus.",
        "the Modbus device does not answer as it should",
        "check unit, model, baud rate and parity; meters polled too fast fall silent: raise gap_ms",
    ),
    (
        "sunspec.",
        "the device describes itself in a way that leads nowhere",
        "choose a register map with --model instead",
    ),
    (
        "dlt645.",
        "the DL/T 645 meter does not answer as it should",
        "check address, baud rate (2400) and parity (8E1)",
    ),
    (
        "link.",
        "the line does not work",
        "check address, cable and power",
    ),
    (
        "meter.",
        "this meter has no such part",
        "correct its entry: has_relay, interval_seconds and the like",
    ),
)
_REJECTED = {
    1: ("without giving a reason", ""),
    2: (
        "it wants another application context, most often a ciphered one",
        "use --authentication hls5 with the meter's keys",
    ),
    11: (
        "it does not know this authentication mechanism",
        "this client address uses another one: try lls or hls5",
    ),
    12: (
        "it wants an authentication here",
        "use --authentication lls with its password, or hls5 with its keys",
    ),
    13: (
        "password or key is wrong",
        "check the password in the key file; do not guess, meters lock after a few tries",
    ),
    14: ("it wants a proof by challenge", "use --authentication hls5 with the meter's keys"),
}
DIAGNOSTICS = {code: words for code, (words, _) in _REJECTED.items()}
"""Words for the diagnostic of a refused association. *Source*: IEC 62056-5-3, ACSE."""


def cause_of(error: PeerError) -> Cause:
    """Return what an error most likely means and what to do; every code has an answer."""
    if error.code == "dlms.rejected":
        words, fix = _CAUSES[error.code]
        more = _REJECTED.get(int(error.evidence.get("diagnostic", 0)))
        if more is not None:
            return Cause(words=f"{words}: {more[0]}", fix=more[1] or fix)
        return Cause(words=words, fix=fix)
    if error.code in _CAUSES:
        words, fix = _CAUSES[error.code]
        return Cause(words=words, fix=fix)
    for prefix, words, fix in _FAMILIES:
        if error.code.startswith(prefix):
            return Cause(words=words, fix=fix)
    return Cause(
        words=error.message,
        fix="record the session (meterloop record) and compare it with the meter's manual",
    )
