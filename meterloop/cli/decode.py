"""The verb that tells what captured DLMS frames say."""

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from meterloop.cli.answer import JsonFlag, failures_told, say
from meterloop.config import ConfigError
from protocols.dlms.explain import Explained, KeyBook, explain
from protocols.dlms.security import Keys
from protocols.errors import PeerError

_MOST_OCTETS = 16_777_216
_KEY_FIELDS = ("encryption_key", "authentication_key", "dedicated_key")
_TITLE_FIELDS = ("client_title", "server_title")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    dlms = typer.Typer(no_args_is_help=True, help="Look into DLMS/COSEM.")
    dlms.command("decode")(decode)
    dlms.callback()(lambda: None)
    app.add_typer(dlms, name="dlms")


def decode(
    *,
    frames: Annotated[str, typer.Option("--hex", help="Frames as hex; blanks are left out.")] = "",
    file: Annotated[Path | None, typer.Option(help="A file of frames, hex or binary.")] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(help="JSON, mode 0600: encryption_key, authentication_key, .. as hex."),
    ] = None,
    meter: Annotated[str, typer.Option(help="Whose keys, where the file holds many.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Print every layer of captured frames: HDLC, wrapper, blocks, ciphering, services, values."""
    with failures_told(as_json=as_json):
        octets = _octets(frames, file)
        book = _book(key_file, meter) if key_file else KeyBook()
        told: list[dict[str, Any]] = []
        try:
            for frame in explain(octets, book):
                told.append(_as_plain(frame))
                if not as_json:
                    typer.echo(_as_text(frame))
        except PeerError as error:
            where = f"in frame {error.evidence.get('frame', 1)}: "
            evidence = {**error.evidence, "frames": told}
            raise PeerError(error.code, where + error.message, evidence=evidence) from error
        if as_json:
            say({"frames": told}, as_json=True)


def _octets(frames: str, file: Path | None) -> bytes:
    """Return the octets to look at. Raises: ConfigError when there are none."""
    if bool(frames) == (file is not None):
        raise ConfigError("command line", ["give the frames by --hex or by --file, one of them"])
    if file is not None:
        try:
            raw = file.read_bytes()[:_MOST_OCTETS]
        except OSError as error:
            fault = f"--file {file}: cannot be read ({error.strerror})"
            raise ConfigError("command line", [fault]) from error
        if raw[:1] == b"\x7e" or raw[:2] == b"\x00\x01":
            return raw
        frames = raw.decode("ascii", errors="replace")
    try:
        return bytes.fromhex(re.sub(r"0x|[\s:,;-]", "", frames))
    except ValueError:
        fault = "the frames are not hex: two digits an octet, blanks between them do no harm"
        raise ConfigError("command line", [fault]) from None


def _book(path: Path, meter: str) -> KeyBook:
    """Return the keys in a file. Raises: ConfigError; never shows a key."""
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError(str(path), ["other users may read the keys; chmod 600 it"])
        plain = json.loads(path.read_bytes())
        entry = {**plain, **plain[meter]} if meter else plain
        found = {
            name: bytes.fromhex(entry[name])
            for name in (*_KEY_FIELDS, *_TITLE_FIELDS, "system_title")
            if isinstance(entry.get(name), str)
        }
        keys = None
        if found.get("encryption_key"):
            keys = Keys(
                encryption=found["encryption_key"], authentication=found["authentication_key"]
            )
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read ({error.strerror})"]) from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        # the text of such an error may quote a key, so only its kind is told
        fault = f"is no map of hex keys ({type(error).__name__}); --meter names one of many"
        raise ConfigError(str(path), [fault]) from None
    return KeyBook(
        keys=keys,
        dedicated_key=found.get("dedicated_key", b""),
        client_title=found.get("client_title", found.get("system_title", b"")),
        server_title=found.get("server_title", b""),
    )


def _as_plain(frame: Explained) -> dict[str, Any]:
    layers = [{"layer": layer.name, **layer.fields} for layer in frame.layers]
    return {"frame": frame.number, "octets": frame.octets.hex(), "layers": layers}


def _as_text(frame: Explained) -> str:
    lines = [f"frame {frame.number}: {len(frame.octets)} octets"]
    for depth, layer in enumerate(frame.layers, 1):
        pad = "  " * depth
        lines.append(f"{pad}{layer.name}")
        for name, value in layer.fields.items():
            if isinstance(value, list):
                lines.append(f"{pad}  {name}:")
                lines += [f"{pad}    {_short(item)}" for item in value]
            else:
                lines.append(f"{pad}  {name}: {_short(value)}")
    return "\n".join(lines)


def _short(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    if "obis" in value and "class" in value:
        head = f"{value['obis']} {value['class_name']} attribute {value['index']}"
        rest = {
            name: item
            for name, item in value.items()
            if name not in ("obis", "class", "class_name", "index")
        }
        return f"{head}  {_short(rest)}" if rest else head
    if "items" in value:
        inner = ", ".join(_short(item) for item in value["items"])
        extra = f" = scaler {value['scaler']} {value['unit']}" if "unit" in value else ""
        return f"{value.get('type', '')}[{inner}]{extra}"
    plain = {name: item for name, item in value.items() if name not in ("type", "value")}
    shown = f"{value['type']} {value['value']}" if "value" in value else ""
    extra = " ".join(f"{name} {_short(item)}" for name, item in plain.items() if item != "")
    return " ".join(part for part in (shown, f"({extra})" if extra else "") if part)
