"""Hostile and broken archives are refused with a typed failure before anything is unpacked."""

import io
import stat
import struct
import tarfile
import zipfile
import zlib

import pytest

from maskmill.pipeline.storage.archives import ArchiveLimits, TarArchive, ZipArchive
from maskmill.schemas.errors import ArchiveFailure, ErrorCode


def zip_of(*members: tuple[str, bytes], mode: int = 0o644, compress: bool = False) -> io.BytesIO:
    stream = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(stream, "w", kind) as archive:
        for name, data in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = kind
            info.external_attr = mode << 16
            archive.writestr(info, data)
    stream.seek(0)
    return stream


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    stream.seek(0)
    return stream


def refused(build: type, file: io.BytesIO, limits: ArchiveLimits | None = None) -> ErrorCode:
    with pytest.raises(ArchiveFailure) as caught:
        build(file, "upload.zip", limits)
    assert "upload.zip" in str(caught.value)
    return caught.value.code


def test_members_are_read() -> None:
    archive = ZipArchive(zip_of(("b/ü x.png", b"22"), ("a.txt", b"1")), "z")
    assert [(one.name, one.size) for one in archive.members()] == [("a.txt", 1), ("b/ü x.png", 2)]
    assert archive.read("b/ü x.png") == b"22"
    assert archive.has("a.txt")
    assert not archive.has("c")


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/etc/passwd", "C:/evil", "a\\..\\..\\evil", "..", "./"]
)
def test_names_that_leave_the_folder(name: str) -> None:
    if name == "./":
        stream = zip_of((".", b""))
        assert refused(ZipArchive, stream) is ErrorCode.UNSAFE_PATH
        return
    assert refused(ZipArchive, zip_of((name, b"x"))) is ErrorCode.UNSAFE_PATH
    assert refused(TarArchive, tar_of((tarfile.TarInfo(name), b"x"))) is ErrorCode.UNSAFE_PATH


def test_links_and_devices() -> None:
    link = zip_of(("link", b"/etc/passwd"), mode=stat.S_IFLNK | 0o777)
    assert refused(ZipArchive, link) is ErrorCode.UNSAFE_LINK
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        info = tarfile.TarInfo("link")
        info.type, info.linkname = kind, "/etc/passwd"
        assert refused(TarArchive, tar_of((info, b""))) is ErrorCode.UNSAFE_LINK


def test_bombs() -> None:
    limits = ArchiveLimits(ratio_from_bytes=1 << 16)
    bomb = zip_of(("zeros", bytes(1 << 20)), compress=True)
    assert refused(ZipArchive, bomb, limits) is ErrorCode.UNSAFE_SIZE
    many = zip_of(*((str(number), b"") for number in range(5)))
    assert refused(ZipArchive, many, ArchiveLimits(members=4)) is ErrorCode.UNSAFE_SIZE
    large = zip_of(("a", bytes(100)), ("b", bytes(100)))
    assert refused(ZipArchive, large, ArchiveLimits(total_bytes=150)) is ErrorCode.UNSAFE_SIZE
    assert refused(ZipArchive, large, ArchiveLimits(member_bytes=50)) is ErrorCode.UNSAFE_SIZE


def test_a_mask_of_nothing_but_zeros_is_no_bomb() -> None:
    archive = ZipArchive(zip_of(("mask.bmp", bytes(1 << 20)), compress=True), "z")
    assert archive.read("mask.bmp") == bytes(1 << 20)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_name_twice() -> None:
    assert refused(ZipArchive, zip_of(("a", b"1"), ("a", b"2"))) is ErrorCode.UNSAFE_PATH
    assert refused(ZipArchive, zip_of(("a", b"1"), ("./a", b"2"))) is ErrorCode.UNSAFE_PATH


def test_damage() -> None:
    assert refused(ZipArchive, io.BytesIO(b"no zip at all")) is ErrorCode.CORRUPT
    assert refused(TarArchive, io.BytesIO(b"no tar at all" * 100)) is ErrorCode.CORRUPT
    raw = bytearray(zip_of(("a", b"0123456789")).getvalue())
    raw[raw.index(b"0123456789")] ^= 255
    archive = ZipArchive(io.BytesIO(bytes(raw)), "z")
    with pytest.raises(ArchiveFailure) as caught:
        archive.read("a")
    assert caught.value.code is ErrorCode.CORRUPT
    with pytest.raises(ArchiveFailure):
        archive.read("missing")


def test_tar_members_are_read() -> None:
    archive = TarArchive(tar_of((tarfile.TarInfo("sub/a"), b"123")), "t")
    assert archive.read("sub/a") == b"123"
    assert [one.name for one in archive.members()] == ["sub/a"]


def zip_without_flag(name: bytes, data: bytes) -> io.BytesIO:
    """A stored zip of one member, byte by byte, as macOS and Info-ZIP write it: no UTF-8 flag."""
    crc, size = zlib.crc32(data), len(data)
    times = struct.pack("<HH", 0, 0x21)
    sizes = struct.pack("<III", crc, size, size)
    local = b"PK\x03\x04" + struct.pack("<HHH", 20, 0, 0) + times + sizes
    local += struct.pack("<HH", len(name), 0) + name + data
    central = b"PK\x01\x02" + struct.pack("<HHHH", 0x031E, 20, 0, 0) + times + sizes
    central += struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, 0o100644 << 16, 0) + name
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    return io.BytesIO(local + central + end)


@pytest.mark.parametrize("stored, read", [
    ("Fotos/Straße ü.png".encode(), "Fotos/Straße ü.png"),
    ("写真/犬.png".encode(), "写真/犬.png"),
    (b"caf\x82.png", "café.png"),  # code page 437, which is no UTF-8
    (b"plain.png", "plain.png"),
])  # fmt: skip
def test_names_without_the_flag_are_utf8_where_they_can_be(stored, read):
    archive = ZipArchive(zip_without_flag(stored, b"12345"), "z")
    assert [member.name for member in archive.members()] == [read]
    assert archive.read(read) == b"12345"


def test_an_unsafe_name_stays_unsafe_in_utf8():
    assert refused(ZipArchive, zip_without_flag("../ü.png".encode(), b"")) is ErrorCode.UNSAFE_PATH
