"""PyTorch's two formats: what is located, what is judged, and never another reading than torch's own."""

import hashlib
import io
import json
import pickle
import selectors
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pickle_builder as b
import pytest
import torch
import torch_reader
from fuzzing import effort
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zip_builder import Member, archive, checkpoint

from aiverify.formats.checkpoint import StorageRange
from aiverify.formats.examine import examine
from aiverify.formats.interface import Format, ScanOptions
from aiverify.policy import Policy
from aiverify.report import Outcome
from aiverify.verdict import effect

STATE = b.stream(b.dct((b.text("w"), b.tensor())), 2)
NUMBERS = struct.pack("<4f", 1, 2, 3, 4)
RUN = b.stream(b.call("os.system", b.text("true")), 2)


@pytest.fixture
def look(tmp_path):
    def look(raw: bytes, name: str = "m.pt"):
        path = tmp_path / "content"
        path.write_bytes(raw)
        return examine(path, name, ScanOptions())

    return look


def rules(examination) -> set[str]:
    return {item.rule for item in examination.findings}


def clean(examination) -> bool:
    return not examination.unexamined and all(effect(item, Policy()) is Outcome.PASS for item in examination.findings)


def saved(content, **options) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def new(*more: Member, state: bytes = STATE, **options) -> bytes:
    return archive(*checkpoint(state, *more, storages={"0": NUMBERS}), **options)


def test_a_checkpoint_by_hand_is_clean_and_its_storages_are_located(look):
    raw = new()
    examination = look(raw)
    assert clean(examination)
    assert examination.format is Format.TORCH_ZIP
    found = examination.checkpoint
    place = found.storages["0"]
    assert isinstance(place, StorageRange)
    assert raw[place.offset : place.offset + place.length] == NUMBERS
    assert (found.byteorder, found.stream_sha256) == ("little", hashlib.sha256(STATE).hexdigest())


def test_what_torch_saves_is_clean(look):
    content = {"w": torch.ones(3), "b": torch.zeros(2, dtype=torch.bfloat16), "epoch": 3}
    for options in ({}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4}):
        examination = look(saved(content, **options))
        assert clean(examination), examination
        assert len(examination.checkpoint.storages) == 2


def test_a_nested_tensor_of_the_jagged_layout_is_unknown_and_no_danger(look):
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)
    assert rules(look(saved({"n": nested}))) == {"AIV302", "AIV303"}


def test_a_compressed_storage_is_located_with_the_checksum_of_its_content(look):
    member = Member(name=b"archive/data/0", data=NUMBERS, method=8)
    place = look(archive(*checkpoint(STATE), member)).checkpoint.storages["0"]
    assert place.length == len(member.stored)
    assert (place.inflated.length, place.inflated.crc32) == (16, zlib.crc32(NUMBERS))


@pytest.mark.parametrize(("order", "expected"), [(b"big", "big"), (b"little", "little")])
def test_the_byte_order_is_taken_from_its_record(look, order, expected):
    members = [m for m in checkpoint(STATE, storages={"0": NUMBERS}) if not m.name.endswith(b"byteorder")]
    assert look(archive(*members)).checkpoint.byteorder == "little"
    assert look(archive(*members, Member(name=b"archive/byteorder", data=order))).checkpoint.byteorder == expected


@pytest.mark.parametrize("order", [b"", b"middle", b"little\n", b"LITTLE"])
def test_a_byte_order_that_is_none_leaves_the_checkpoint_unexamined(look, order):
    members = [m for m in checkpoint(STATE, storages={"0": NUMBERS}) if not m.name.endswith(b"byteorder")]
    examination = look(archive(*members, Member(name=b"archive/byteorder", data=order)))
    assert examination.checkpoint is None
    assert "byte order" in examination.unexamined[0].reason


def test_a_second_pickle_anywhere_is_a_finding_and_judged(look):
    for name in (
        b"archive/extra.pkl",
        b"archive/nested/a.pickle",
        b"archive/data/9.pkl",
        b"archive/noname",
        b"archive/DATA.PKL",
    ):
        examination = look(new(Member(name=name, data=RUN)))
        assert {"AIV301", "AIV313"} <= rules(examination), name


def test_a_second_data_pkl_is_judged_like_the_first(look):
    examination = look(new(Member(name=b"archive/data.pkl", data=RUN)))
    assert {"AIV301", "AIV402"} <= rules(examination)


def test_the_code_of_a_program_is_judged(look):
    source = b"def forward(self, x):\n  return torch.from_file(x)\n"
    examination = look(new(Member(name=b"archive/code/__torch__.py", data=source)))
    assert [(item.rule, item.location.member) for item in examination.findings] == [
        ("AIV412", "archive/code/__torch__.py")
    ]
    assert examination.unexamined == []


def program(state: bytes, source: bytes) -> bytes:
    return archive(
        Member(name=b"m/data.pkl", data=state),
        Member(name=b"m/code/__torch__.py", data=source),
        Member(name=b"m/constants.pkl", data=b.stream(b")", 2)),
    )


def test_a_class_that_the_code_defines_may_be_named_and_no_other(look):
    state = b.stream(b"c__torch__\nModel\n)\x81", 2)
    assert clean(look(program(state, b"class Model(Module):\n  pass\n")))
    assert rules(look(program(state, b"class Other(Module):\n  pass\n"))) == {"AIV302"}


def test_what_a_program_defines_does_not_hide_what_is_dangerous(look):
    assert "AIV301" in rules(look(program(RUN, b"class system(Module):\n  pass\n")))


def test_bytecode_for_phones_is_said_to_be_unexamined(look):
    code = Member(name=b"archive/code/__torch__.py", data=b"")
    examination = look(new(code, Member(name=b"archive/bytecode.pkl", data=b.stream(b")", 2))))
    assert ["bytecode" in item.reason for item in examination.unexamined] == [True]


def test_constants_of_a_program_are_judged(look):
    assert "AIV313" not in rules(look(new(Member(name=b"archive/constants.pkl", data=b.stream(b")", 2)))))
    assert "AIV301" in rules(look(new(Member(name=b"archive/constants.pkl", data=RUN))))


def test_an_entry_that_does_not_belong_there_is_examined_as_a_file_of_its_own(look):
    assert clean(look(new(Member(name=b"archive/readme.txt", data=b"x"))))
    examination = look(new(Member(name=b"archive/what", data=b"\xff\xfe\xfd\0" * 9)))
    assert examination.unexamined[0].member == "archive/what"
    assert look(new(Member(name=b"archive/version", data=b"\xff" * 5000))).unexamined
    inner = new(state=RUN)
    examination = look(new(Member(name=b"archive/extra/inner.zip", data=inner, method=8)))
    assert {"AIV301", "AIV313"} <= rules(examination)
    assert {item.location.member for item in examination.findings if item.rule == "AIV301"} == {
        "archive/extra/inner.zip!archive/data.pkl"
    }


def test_a_second_prefix_is_no_checkpoint(look):
    examination = look(new(Member(name=b"other/data.pkl", data=RUN)))
    assert examination.format is Format.ZIP
    assert "AIV301" in rules(examination)
    assert not clean(look(new(Member(name=b"other/a", data=b"x"))))


def test_a_wrong_checksum_of_the_pickle_is_a_finding_and_the_pickle_is_judged(look):
    wrong = {"crc": 1}
    members = [Member(name=b"archive/data.pkl", data=RUN, local=wrong, central=wrong), *checkpoint(b"")[1:]]
    assert {"AIV301", "AIV406"} <= rules(look(archive(*members)))


def test_a_pickle_that_cannot_be_inflated_is_not_examined(look):
    broken = {"method": 8}
    members = [Member(name=b"archive/data.pkl", data=b"\xff" * 9, local=broken, central=broken), *checkpoint(b"")[1:]]
    examination = look(archive(*members))
    assert "broken" in examination.unexamined[0].reason
    extra = look(new(Member(name=b"archive/x.pkl", data=b"\xff" * 9, local=broken, central=broken)))
    assert "broken" in extra.unexamined[0].reason
    other = look(archive(Member(name=b"x.pkl", data=b"\xff" * 9, local=broken, central=broken)))
    assert "broken" in other.unexamined[0].reason
    array = look(archive(Member(name=b"x.npy", data=b"\xff" * 9, local=broken, central=broken)))
    assert "broken" in array.unexamined[0].reason


def test_two_streams_in_one_pickle_make_no_checkpoint(look):
    assert look(new(state=STATE + STATE)).checkpoint is None
    assert look(new(state=STATE[:-1])).checkpoint is None


def test_the_members_of_a_general_archive_are_files_of_their_own(look):
    assert look(archive()).unexamined == []
    assert look(archive()).format is Format.ZIP
    assert clean(look(archive(Member(name=b"a.txt", data=b"x")), "a.zip"))
    assert look(archive(Member(name=b"a.bin.x", data=b"\xff\xfe\xfd\0" * 9, method=8)), "a.zip").unexamined
    assert rules(look(archive(Member(name=b"a.py", data=b"x", method=8)), "a.zip")) == {"AIV502"}
    for member in (
        Member(name=b"a", data=RUN),
        Member(name=b"a.PKL", data=RUN, method=8),
        Member(name=b"d/a.joblib", data=RUN),
    ):
        assert "AIV301" in rules(look(archive(member), "a.zip"))
    assert look(archive(Member(name=b"dir/", data=b"")), "a.zip").unexamined == []


# The old format


def legacy(*parts: bytes, keys: bytes = b"](U\x010e", tail: bytes = b"") -> bytes:
    facts = b.dct((b.text("protocol_version"), b.number(1001)), (b.text("little_endian"), b"\x88"))
    given = list(parts) or [
        b.number(0x1950A86A20F9469CFC6C),
        b.number(1001),
        facts,
        b.dct((b.text("w"), b.tensor())),
        keys,
    ]
    return b"".join(b.stream(part, 2) for part in given) + tail


STORED = struct.pack("<q", 4) + NUMBERS


def test_an_old_file_by_hand_is_clean_and_its_storages_are_located(look):
    raw = legacy(tail=STORED)
    examination = look(raw)
    assert clean(examination), examination
    assert examination.format is Format.TORCH_LEGACY
    place = examination.checkpoint.storages["0"]
    assert raw[place.offset : place.offset + place.length] == NUMBERS
    assert place.crc32 is None


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (legacy(tail=b""), "ends before its storages"),
        (legacy(tail=struct.pack("<q", 5) + NUMBERS), "past the end"),
        (legacy(tail=struct.pack("<q", -1) + NUMBERS), "past the end"),
        (legacy(tail=struct.pack("<q", 1 << 62)), "past the end"),
        (legacy(keys=b"](U\x010U\x010e", tail=STORED * 2), "does not use"),
        (legacy(keys=b"](U\x019e", tail=STORED), "does not use"),
        (legacy(keys=b"](K\x01e", tail=STORED), "not a list of names"),
        (legacy(keys=b"}", tail=STORED), "not a list of names"),
    ],
)
def test_an_old_file_whose_storages_do_not_fit_is_not_examined(look, raw, reason):
    examination = look(raw)
    assert examination.checkpoint is None
    assert reason in examination.unexamined[0].reason


def test_bytes_behind_the_last_storage_are_a_finding(look):
    assert rules(look(legacy(tail=STORED + b"x"))) == {"AIV308"}


def test_every_pickle_of_an_old_file_is_judged(look):
    magic, version = b.number(0x1950A86A20F9469CFC6C), b.number(1001)
    evil = b.call("os.system", b.text("true"))
    for place in range(2, 5):
        parts = [magic, version, b"}", b"}", b"]"]
        parts[place] = evil
        examination = look(legacy(*parts))
        assert "AIV301" in rules(examination)
    assert (
        look(legacy(magic, b.number(7), b"}", b"}", b"]")).unexamined[0].reason
        == "an unknown version of the legacy format"
    )


def test_an_old_file_cut_anywhere_is_never_clean(look):
    raw = legacy(tail=STORED)
    for cut in range(1, len(raw)):
        assert not clean(look(raw[:cut], "m.bin")), cut


def test_the_system_facts_of_an_old_file_change_nothing_as_in_torch(look):
    magic, version = b.number(0x1950A86A20F9469CFC6C), b.number(1001)
    tail = [b.dct((b.text("w"), b.tensor())), b"](U\x010e"]
    big = b.dct((b.text("little_endian"), b"\x89"))
    assert look(legacy(magic, version, big, *tail, tail=STORED)).checkpoint.byteorder == "little"
    assert look(legacy(magic, version, b"]", *tail, tail=STORED)).checkpoint.byteorder == "little"


def test_a_storage_of_an_unknown_type_is_not_located(look):
    magic, version = b.number(0x1950A86A20F9469CFC6C), b.number(1001)
    for kind in ("torch.UnheardStorage", "other.FloatStorage"):
        state = b.dct((b.text("w"), b.tensor(b.storage(kind))))
        assert (
            "unknown type" in look(legacy(magic, version, b"}", state, b"](U\x010e", tail=STORED)).unexamined[0].reason
        )
    untyped = b.dct((b.text("w"), b.tensor(b.storage("torch.storage.UntypedStorage", size=16))))
    found = look(legacy(magic, version, b"}", untyped, b"](U\x010e", tail=struct.pack("<q", 16) + NUMBERS))
    assert found.checkpoint.storages["0"].length == 16


# The same bytes, torch's own reader


class Torch:
    """torch.load(weights_only=True) in a child process: hostile files may crash it."""

    def __init__(self) -> None:
        self.child = None

    def read(self, path: Path) -> str | None:
        if self.child is None:
            self.child = subprocess.Popen(
                [sys.executable, torch_reader.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        self.child.stdin.write(f"{path}\n")
        self.child.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self.child.stdout, selectors.EVENT_READ)
            line = self.child.stdout.readline() if selector.select(30) else ""
        if not line:
            self.close()
            return "crashed"
        return json.loads(line)

    def close(self) -> None:
        child, self.child = self.child, None
        if child is not None:
            child.kill()
            child.communicate()


@pytest.fixture(scope="module")
def reader():
    reader = Torch()
    yield reader
    reader.close()


ORIGINAL = saved({"w": torch.arange(4.0), "v": torch.ones(2, 2)})
OLD = saved({"w": torch.arange(4.0)}, _use_new_zipfile_serialization=False)


def content_ranges(raw: bytes, examination) -> list[tuple[int, int]]:
    return [(place.offset, place.offset + place.length) for place in examination.checkpoint.storages.values()]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], parent=effort(250))
@given(
    st.just(ORIGINAL),
    st.lists(
        st.tuples(st.integers(0, 5000), st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 8, 0x80, 0xFF]))),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from([b"", b"", b"x", b"PK\x05\x06" + bytes(18)]),
)
def test_an_altered_checkpoint_is_never_clean_when_torch_reads_it_differently(
    look, reader, tmp_path, original, changes, tail
):
    """Except where the alteration lies in a storage: those bytes are the content, whose digest is the file's.

    Legacy files have no checksums: there, an altered file is another checkpoint, and as honest as the first.
    """
    path = tmp_path / "original"
    path.write_bytes(original)
    inside = content_ranges(original, examine(path, "m.pt", ScanOptions()))
    raw = bytearray(original)
    for place, value in changes:
        place %= len(raw)
        if not any(begin <= place < end for begin, end in inside):
            raw[place] = value
    raw = bytes(raw) + tail
    examination = look(raw)
    if not clean(examination):
        return
    altered = tmp_path / "altered"
    altered.write_bytes(raw)
    theirs = reader.read(altered)
    assert theirs.startswith("error") or theirs == reader.read(path), (theirs, examination)


MUTATIONS = {
    "a duplicate storage": lambda: new(Member(name=b"archive/data/0", data=bytes(16))),
    "a duplicate storage in capital letters": lambda: new(Member(name=b"ARCHIVE/data/0", data=bytes(16))),
    "a duplicate pickle": lambda: new(
        Member(name=b"archive/data.pkl", data=b.stream(b.dct((b.text("v"), b.tensor())), 2))
    ),
    "a shifted local header": lambda: archive(
        *checkpoint(STATE),
        Member(name=b"archive/data/0", data=NUMBERS, local={"extra": b"\0\0\0\0"}, central={"compressed": 16}),
    ),
    "bytes behind": lambda: new(suffix=b"\0" * 30),
    "bytes in front": lambda: new(prefix=b"\0" * 30),
    "an archive behind": lambda: new() + new(state=b.stream(b.dct((b.text("v"), b.tensor())), 2)),
    "an end in the comment": lambda: new(comment=b"PK\x05\x06" + bytes(18)),
}


@pytest.mark.parametrize("name", [name for name in MUTATIONS if name != "a shifted local header"])
def test_an_archive_that_two_readers_read_differently_is_never_clean(look, name):
    assert not clean(look(MUTATIONS[name]()))


def test_extra_bytes_in_a_local_header_shift_nothing(look, reader, tmp_path):
    path = tmp_path / "m.pt"
    path.write_bytes(MUTATIONS["a shifted local header"]())
    plain = tmp_path / "plain.pt"
    plain.write_bytes(new())
    if clean(examine(path, "m.pt", ScanOptions())):
        assert reader.read(path) == reader.read(plain)


@pytest.mark.parametrize("original", [ORIGINAL, OLD], ids=["new", "old"])
def test_a_checkpoint_cut_anywhere_is_never_clean(look, original):
    for cut in range(1, len(original), 7):
        assert not clean(look(original[:cut], "m.bin")), cut


def test_the_reader_sees_a_difference(reader, tmp_path):
    (tmp_path / "a").write_bytes(new())
    (tmp_path / "b").write_bytes(new(state=b.stream(b.dct((b.text("v"), b.tensor())), 2)))
    assert reader.read(tmp_path / "a") != reader.read(tmp_path / "b")
    (tmp_path / "c").write_bytes(pickle.dumps(1))
    assert reader.read(tmp_path / "c").startswith("error")


def test_names_that_differ_in_letter_case_are_one_name_to_torch_and_two_to_numpy(look, tmp_path):
    np.savez(tmp_path / "arrays.npz", w=np.zeros(2), W=np.ones(2))
    assert clean(examine(tmp_path / "arrays.npz", "arrays.npz", ScanOptions()))
    doubled = new(Member(name=b"archive/DATA/0", data=bytes(16)))
    assert "AIV402" in {finding.rule for finding in look(doubled).findings}
