"""
Frames that others have published, through `meterloop dlms decode`, to the values they tell.

Each stands with its source: examples of the DLMS User Association, of grid companies, of makers of
meters, and readouts of real meters that their readers have made public. Check sequences and tags
are those of the source, so none of them can be made up.
"""

import json

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from typer.testing import CliRunner

from meterloop.cli import app
from protocols.dlms.security import (
    AUTHENTICATED,
    ENCRYPTED,
    Keys,
    seal,
    unseal_unproven,
    unwrap_key,
    wrap_key,
)

GREEN_BOOK_KEYS = {
    "encryption_key": "000102030405060708090A0B0C0D0E0F",
    "authentication_key": "D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF",
    "client_title": "4D4D4D0000BC614E",
}
RIC_KEYS = {
    "encryption_key": "454E4352595054494F4E4B45594B4559",
    "authentication_key": "41555448454E5449434154494F4E4B45",
    "client_title": "5249435249435249",
}
RELAY_STATE = {"class": 1, "class_name": "data", "obis": "0-0:96.1.10*255", "index": 2}
PASSWORD_8 = "password of 8 octets"

# Each name leads to the octets, then to a layer, a field of it and what that must hold.
# Source: "Examples for DLMS/COSEM information exchange", G. Kmethy, DLMS User Association.
ASSOCIATION_EXAMPLES = {
    "snrm": ("7EA00A00020023219318717E", "hdlc", "control", "0x93 SNRM"),
    "snrm-address-of-four": ("7EA00A00020023219318717E", "hdlc", "destination", "1/17"),
    "ua": (
        "7EA023210002002373F6C58180140502008006020080070400000001080400000001CE6A7E",
        "hdlc", "control", "0x73 UA",
    ),
    "aarq-in-hdlc": (
        "7EA02E0002002321107ECBE6E600601DA109060760857405080101BE10040E01000000065F1F0400"
        "00301DFFFFD4C57E",
        "initiate", "conformance", ["block_get", "get", "set", "selective_access", "action"],
    ),
}  # fmt: skip
# Source: DLMS UA 1000-2 (Green Book), AARQ, AARE, RLRE, GET, exception and AES-GCM examples.
GREEN_BOOK = {
    "aarq": (
        "601DA109060760857405080101BE10040E01000000065F1F0400007E1F04B0",
        "initiate", "max_pdu", 1200,
    ),
    "aarq-lls": (
        "6036A1090607608574050801018A0207808B0760857405080201AC0A80083132333435363738"
        "BE10040E01000000065F1F0400007E1F04B0",
        "association", "authentication", PASSWORD_8,
    ),
    "aarq-hls": (
        "6036A1090607608574050801018A0207808B0760857405080205AC0A80084B35366956616759"
        "BE10040E01000000065F1F0400007E1F04B0",
        "association", "mechanism", "hls_gmac",
    ),
    "aare": (
        "6129A109060760857405080101A203020100A305A103020100BE10040E0800065F1F040000501F01F40007",
        "initiate", "max_pdu", 500,
    ),
    "aare-hls": (
        "6142A109060760857405080101A203020100A305A10302010E88020780890760857405080205"
        "AA0A8008503677524A323146BE10040E0800065F1F040000501F01F40007",
        "association", "diagnostic", 14,
    ),
    "rlre": ("6303800100", "release", "kind", "RLRE"),
    "get-clock": (
        "C0010000080000010000FF0200", "get", "attributes",
        [{"class": 8, "class_name": "clock", "obis": "0-0:1.0.0*255", "index": 2}],
    ),
    "get-list": ("C003C10200010000800000FF020000010000800100FF0200", "get", "attributes",
        [{"class": 1, "class_name": "data", "obis": "0-0:128.0.0*255", "index": 2},
         {"class": 1, "class_name": "data", "obis": "0-0:128.1.0*255", "index": 2}],
    ),
    "get-answer": ("C401C100090401020304", "get-answer", "values",
        [{"type": "octet_string", "value": "01020304"}]),
    "get-answer-denied": ("C401C10103", "get-answer", "values", [{"refused": "denied"}]),
    "exception-with-counter": ("D8020600001234", "exception", "counter", 0x1234),
}  # fmt: skip
# Source: LLS AARQ as readers of Indian meters send it, answers 41h and address 1/17.
INDIA = {
    "aarq-in-hdlc-lls": (
        "7EA047000200234110974BE6E6006036A1090607608574050801018A0207808B0760857405080201"
        "AC0A80083132333435363738BE10040E01000000065F1F040000121AFFFFEEE07E",
        "association", "authentication", PASSWORD_8,
    ),
}  # fmt: skip
# Source: gurux.fi/node/24607 (AARQ and AARE of an HPL meter), gurux.fi/comment/28022 (a push).
# Their keys are not public: what stands outside the cipher is told, and that it stays closed.
CLOSED = {
    "aarq-ciphered": (
        "7EA05F03411007E2E6E6006051A109060760857405080103A60A040848504C37323939388A020780"
        "8B0760857405080201AC12801031313131313131313131313131313131BE17041521132000000001"
        "E9C53132607662DC7A94A61439BFBEB57E",
        "ciphering", "title", "48504c3732393938",
    ),
    "aare-ciphered": (
        "7EA04A410330EBA8E6E700613CA109060760857405080103A203020100A305A103020100A40A0408"
        "48504C000010F447BE170415281320000000008307" "05F03594EEE1A96C27CCA051765F7E",
        "ciphering", "title", "48504c000010f447",
    ),
    "push-in-wrapper": (
        "0001000100400059DB08414C4C0000519ABD4E2000000000DC242E1C1550A94748C2517E9DFB29A4"
        "540F93B92140E9B137E8FAEC12ABB5C5015F6159C21F41C2612DEA6543F44F06AD41C3F5539D38F6"
        "0CFC54701DE1329C130EBFDB8599FB8976",
        "ciphering", "closed", "no key was given",
    ),
}  # fmt: skip
# Ciphered, with the keys that were published beside them.
# Source: Green Book (title 4D4D4D0000BC614E, counter 01234567); RIC: the worked example of the
# dlms-cli tool (title RICRICRI, counter 80000001), whose tag is cut to 12 octets as DLMS does.
OPENED = {
    "glo-get-authenticated": (
        GREEN_BOOK_KEYS,
        "C81E1001234567C0010000080000010000FF020006725D910F9221D263877516",
        "ciphering", "security_control", "0x10",
    ),
    "glo-get-encrypted": (
        GREEN_BOOK_KEYS, "C81E3001234567411312FF935A47566827C467BC7D825C3BE4A77C3FCC056B6B",
        "get", "attributes",
        [{"class": 8, "class_name": "clock", "obis": "0-0:1.0.0*255", "index": 2}],
    ),
    "aarq-with-glo-initiate": (
        GREEN_BOOK_KEYS,
        "6066A109060760857405080103A60A04084D4D4D0000BC614E8A0207808B0760857405080205"
        "AC0A80084B35366956616759BE34043221303001234567801302FF8A7874133D414CED25B42534D2"
        "8DB0047720606B175BD52211BE6841DB204D39EE6FDB8E356855",
        "initiate", "dedicated_key", True,
    ),
    "glo-get-ric": (
        RIC_KEYS, "C81E30800000010DE63F2331A09AA85E8830F5F3610D47E1E24B14E8A022AEFC",
        "get", "attributes", [RELAY_STATE],
    ),
}  # fmt: skip


def decoded(octets, tmp_path, keys=None):
    """Return the layers of all frames by name, as the command prints them."""
    asked = ["dlms", "decode", "--json", "--hex", octets]
    if keys:
        file = tmp_path / "keys.json"
        file.write_text(json.dumps(keys))
        file.chmod(0o600)
        asked += ["--key-file", str(file)]
    done = CliRunner().invoke(app, asked)
    told = json.loads(done.stdout)
    assert done.exit_code == 0, told
    return {layer["layer"]: layer for frame in told["frames"] for layer in frame["layers"]}


PLAIN = ASSOCIATION_EXAMPLES | GREEN_BOOK | INDIA | CLOSED


@pytest.mark.req("A1", "A10")
@pytest.mark.parametrize("name", PLAIN)
def test_a_published_frame_decodes_to_its_published_value(tmp_path, name):
    octets, layer, field, value = PLAIN[name]
    assert decoded(octets, tmp_path)[layer][field] == value


@pytest.mark.req("A10", "D9")
@pytest.mark.parametrize("name", OPENED)
def test_a_published_ciphered_frame_opens_with_its_published_keys(tmp_path, name):
    keys, octets, layer, field, value = OPENED[name]
    found = decoded(octets, tmp_path, keys)
    assert found["ciphering"]["authenticated"] is True
    assert found[layer][field] == value


def pushed(body):
    """Return what a push tells, by OBIS code: the value behind each, and its unit."""
    told, name = {}, ""
    waiting = list(reversed(body["items"]))
    while waiting:
        item = waiting.pop()
        if "unit" in item and name:
            told[name] = (*told[name], item["scaler"], item["unit"])
        elif "items" in item:
            waiting.extend(reversed(item["items"]))
        elif "obis" in item:
            name = item["obis"]
        elif name and name not in told:
            told[name] = (item["value"],)
    return told


# Source: Aidon HAN interface, list 1, as four readers of Norwegian meters have published it.
AIDON_LIST_1 = {
    512: "7EA02A410883130413E6E7000F40000000000101020309060100010700FF06000002000202"
       "0F00161BC12C7E",
    1105: "7EA02A410883130413E6E7000F40000000000101020309060100010700FF06000004510202"
          "0F00161B6ADC7E",
    4019: "7EA02A410883130413E6E7000F40000000000101020309060100010700FF0600000FB30202"
          "0F00161B256E7E",
    7482: "7EA02A410883130413E6E7000F40000000000101020309060100010700FF0600001D3A0202"
          "0F00161B16F97E",
}  # fmt: skip
# Source: the same meters' list 3, 2022-10-15 20:00, with the values its reader gives beside it.
AIDON_LIST_3 = (
    "7EA18A41088313EBFDE6E7000F40000000000112020209060101000281FF0A0B4149444F4E5F56303030"
    "31020209060000600100FF0A1037333539393932383931323337303238020209060000600107FF0A0436"
    "353334020309060100010700FF06000006CF02020F00161B020309060100020700FF060000000002020F"
    "00161B020309060100030700FF060000000002020F00161D020309060100040700FF060000017C02020F"
    "00161D0203090601001F0700FF10001402020FFF1621020309060100330700FF10003602020FFF162102"
    "0309060100470700FF10000202020FFF1621020309060100200700FF12092702020FFF16230203090601"
    "00340700FF12091802020FFF1623020309060100480700FF12093902020FFF1623020209060000010000"
    "FF090C07E60A0F06140000FF000000020309060100010800FF0600F9E77D02020F01161E020309060100"
    "020800FF060000000002020F01161E020309060100030800FF06000154E102020F011620020309060100"
    "040800FF060009965402020F0116202CB07E"
)
# Source: a Kamstrup meter with the Norwegian HAN interface, three phases; B = 1 throughout.
KAMSTRUP = (
    "7EA0E22B2113239AE6E7000F000000000C07E6011801123A32FF80000002190A0E4B616D73747275705F"
    "563030303109060101000005FF0A103537303635363733323635393034303709060101600101FF0A1236"
    "383431313338424E32343531303130393009060101010700FF060000033A09060101020700FF06000000"
    "0009060101030700FF060000006809060101040700FF06000000B0090601011F0700FF06000000ED0906"
    "0101330700FF060000005909060101470700FF060000004B09060101200700FF1200E809060101340700"
    "FF1200E909060101480700FF1200EC84467E"
)
# Source: a Kaifa meter with the Norwegian HAN interface, list 1; its time wears a tag too many.
KAIFA = "7EA027010201105A87E6E7000F40000000090C07E60A1007150012FF80000002010600000D5FA12E7E"
# Source: Netz Niederoesterreich, description of the customer interface, sample and its key. Two
# M-Bus frames (EN 13757) carry one general-glo-ciphering APDU, encrypted without a tag.
NETZ_NOE_KEYS = {
    "encryption_key": "36C66639E48A8CA4D6BC8B282A793BBB",
    "authentication_key": "00" * 16,
}
NETZ_NOE = (
    "68FAFA6853FF000167DB084B464D675000000981F8200000002388D5AB4F97515AAFC6B88D2F85DAA7A0"
    "E3C0C40D004535C397C9D037AB7DBDA329107615444894A1A0DD7E85F02D496CECD3FF46AF5FB3C9229C"
    "FE8F3EE4606AB2E1F409F36AAD2E50900A4396FC6C2E083F373233A69616950758BFC7D63A9E9B6E99E2"
    "1B2CBC2B934772CA51FD4D69830711CAB1F8CFF25F0A329337CBA51904F0CAED88D61968743C8454BA92"
    "2EB00038182C22FE316D16F2A9F544D6F75D51A4E92A1C4EF8AB19A2B7FEAA32D0726C0ED80229AE6C0F"
    "7621A4209251ACE2B2BC66FF0327A653BB686C756BE033C7A281F1D2A7E1FA31C3983E15F8FD16CC5787"
    "E6F517166814146853FF110167419A3CFDA44BE438C96F0E38BF83D98316"
)


@pytest.mark.parametrize("watts", AIDON_LIST_1)
def test_a_short_push_of_an_aidon_meter(tmp_path, watts):
    found = decoded(AIDON_LIST_1[watts], tmp_path)
    assert found["hdlc"]["control"] == "0x13 UI"
    assert pushed(found["data-notification"]["body"]) == {"1-0:1.7.0*255": (watts, 0, "W")}


def test_a_long_push_of_an_aidon_meter(tmp_path):
    told = pushed(decoded(AIDON_LIST_3, tmp_path)["data-notification"]["body"])
    assert told["1-1:0.2.129*255"] == ("AIDON_V0001",)
    assert told["0-0:96.1.0*255"] == ("7359992891237028",)
    assert told["1-0:1.7.0*255"] == (1743, 0, "W")
    assert told["1-0:4.7.0*255"] == (380, 0, "var")
    assert [told[f"1-0:{code}.7.0*255"][0] for code in (31, 51, 71)] == [20, 54, 2]
    assert [told[f"1-0:{code}.7.0*255"] for code in (32, 52, 72)] == [
        (volts, -1, "V") for volts in (2343, 2328, 2361)
    ]
    assert told["1-0:1.8.0*255"] == (16_377_725, 1, "Wh")
    assert told["1-0:4.8.0*255"] == (628_308, 1, "varh")


def test_a_push_of_a_kamstrup_meter_that_tells_no_zone(tmp_path):
    notification = decoded(KAMSTRUP, tmp_path)["data-notification"]
    assert notification["at"] is None
    told = pushed(notification["body"])
    assert told["1-1:0.0.5*255"] == ("5706567326590407",)
    assert told["1-1:96.1.1*255"] == ("6841138BN245101090",)
    assert [told[f"1-1:{code}.7.0*255"] for code in (1, 2, 3, 4)] == [(826,), (0,), (104,), (176,)]
    assert [told[f"1-1:{code}.7.0*255"] for code in (32, 52, 72)] == [(232,), (233,), (236,)]


def test_a_push_of_a_kaifa_meter_whose_time_wears_a_tag(tmp_path):
    body = decoded(KAIFA, tmp_path)["data-notification"]["body"]
    assert body["items"] == [{"type": "double_long_unsigned", "value": 3423}]


def test_a_ciphered_push_of_a_grid_company_with_its_published_key(tmp_path):
    octets = bytes.fromhex(NETZ_NOE)
    first = 4 + octets[1]
    apdu = octets[9:first] + octets[first + 2 + 9 : -2]
    found = decoded(apdu.hex(), tmp_path, NETZ_NOE_KEYS)
    ciphering, notification = found["ciphering"], found["data-notification"]
    assert (ciphering["title"], ciphering["counter"]) == ("4b464d6750000009", 0x23)
    assert ciphering["authenticated"] is False
    assert notification["at"] == "2021-09-27T07:47:15+00:00"
    told = pushed(notification["body"])
    assert told["1-0:1.8.0*255"] == (12_937, 0, "Wh")
    assert told["1-0:32.7.0*255"] == (2337, -1, "V")
    assert told["1-0:13.7.0*255"][:2] == (1000, -3)


def test_what_a_meter_says_that_is_no_dlms_is_a_typed_error():
    """*Source*: gurux.fi/comment/28751, an HDLC frame that holds the text NEXERRORNO-1."""
    frame = "7EA01B410002040196A089E6E7004E45584552524F524E4F2D31B8007E"
    done = CliRunner().invoke(app, ["dlms", "decode", "--json", "--hex", frame])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["error"]["code"] == "dlms.choice"


def test_the_published_tag_over_a_text_that_is_only_authenticated():
    """*Source*: the dlms-cli tool's example of authenticated data, counter 00000001."""
    keys = Keys(
        encryption=bytes.fromhex(RIC_KEYS["encryption_key"]),
        authentication=bytes.fromhex(RIC_KEYS["authentication_key"]),
    )
    text = bytes.fromhex("0de63f2331a09aa85e8830f5f3")
    sealed = seal(keys, b"RICRICRI", 1, text, control=AUTHENTICATED)
    assert sealed[-12:].hex() == "62d423292e0fe5320370881d"


# Source: McGrew and Viega, "The Galois/Counter Mode of Operation", test cases 3 (128 bits of key)
# and 15 (256 bits). The cipher text does not depend on what is authenticated beside it.
GCM_TEXT = bytes.fromhex(
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
)
GCM = {
    "feffe9928665731c6d6a8f9467308308": (
        "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
        "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985"
    ),
    "feffe9928665731c6d6a8f9467308308" * 2: (
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
        "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
    ),
}


@pytest.mark.req("D9")
@pytest.mark.parametrize("key", GCM, ids=["suite-0", "suite-2"])
def test_both_suites_give_the_cipher_text_of_the_standard(key):
    keys = Keys(encryption=bytes.fromhex(key), authentication=bytes(len(key) // 2))
    title, counter = bytes.fromhex("cafebabefacedbad"), 0xDECAF888
    sealed = seal(keys, title, counter, GCM_TEXT)
    assert sealed[5:-12].hex() == GCM[key]
    # the tag is the first 12 octets of what another door of the same library gives
    control = sealed[:1]
    whole = AESGCM(keys.encryption).encrypt(
        title + counter.to_bytes(4, "big"), GCM_TEXT, control + keys.authentication
    )
    assert sealed[-12:] == whole[-16:-4]
    bare = bytes((ENCRYPTED | keys.suite,)) + sealed[1:-12]
    assert unseal_unproven(keys, title, bare) == (counter, GCM_TEXT)


@pytest.mark.parametrize(
    ("kek", "key", "wrapped"),
    [
        (16, "00112233445566778899AABBCCDDEEFF",
         "1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5"),
        (32, "00112233445566778899AABBCCDDEEFF",
         "64E8C3F9CE0F5BA263E9777905818A2A93C8191E7D6E8AE7"),
        (32, "00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F",
         "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21"),
    ],
    ids=["4.1", "4.3", "4.6"],
)  # fmt: skip
def test_keys_are_wrapped_as_the_rfc_does(kek, key, wrapped):
    """*Source*: RFC 3394, sections 4.1, 4.3 and 4.6."""
    master = bytes(range(kek))
    assert wrap_key(master, bytes.fromhex(key)).hex().upper() == wrapped
    assert unwrap_key(master, bytes.fromhex(wrapped)) == bytes.fromhex(key)
