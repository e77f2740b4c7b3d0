import io
import threading
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappool_assets.lib import npz as npz_module
from mappool_assets.lib.errors import BadShard, SourceUnavailable
from mappool_assets.lib.npz import open_matrices
from mappool_assets.lib.ranged_file.base import unavailable
from mappool_assets.lib.ranged_file.stores import LocalFile

ROWS, WIDTH = 1_000, 24
MATRIX = np.random.default_rng(0).standard_normal((ROWS, WIDTH)).astype(np.float16)
OTHER = MATRIX[::-1].copy()


@pytest.fixture(params=["stored", "deflated", "streamed"])
def npz(request, tmp_path):
    """The same members as numpy writes them to a file, deflated, and to a stream that cannot seek."""
    path = tmp_path / "shard.npz"
    if request.param == "streamed":
        with path.open("wb") as file:
            unseekable = io.BufferedWriter(type("Pipe", (io.RawIOBase,), {
                "writable": lambda self: True, "write": lambda self, data: file.write(data)})())  # fmt: skip
            np.savez(unseekable, l14_img=MATRIX, l14_txt=OTHER)
            unseekable.flush()
    else:
        save = np.savez if request.param == "stored" else np.savez_compressed
        save(path, l14_img=MATRIX, l14_txt=OTHER)
    return path


def test_blocks_are_the_array_whatever_their_size(npz):
    for block_rows in (1, 7, 999, 1_000, 5_000):
        with LocalFile(str(npz)) as file, open_matrices(file, ["l14_img", "l14_txt"]) as (images, texts):
            assert (images.rows, images.width) == (ROWS, WIDTH)
            np.testing.assert_array_equal(np.concatenate(list(images.blocks(block_rows))), MATRIX)
            np.testing.assert_array_equal(np.concatenate(list(texts.blocks(block_rows))), OTHER)


def test_any_rows_can_be_taken(npz):
    @given(st.sets(st.integers(0, ROWS - 1)), st.sampled_from([0, 48, 1_000, 10**9]))
    def takes(rows, request_cost_bytes):
        with LocalFile(str(npz)) as file:
            file.request_cost_bytes = request_cost_bytes
            with open_matrices(file, ["l14_txt"]) as (texts,):
                np.testing.assert_array_equal(texts.take(sorted(rows)), OTHER[sorted(rows)])

    takes()


def test_taking_rows_reads_only_what_pays(tmp_path):
    path = tmp_path / "shard.npz"
    np.savez(path, l14_txt=OTHER)
    for cost, expected_rows in ((0, 3), (2 * 48, 4), (10**6, 801)):
        with LocalFile(str(path)) as file, open_matrices(file, ["l14_txt"]) as (texts,):
            file.request_cost_bytes = cost
            before = file.bytes_read
            texts.take([100, 102, 900])
            assert file.bytes_read - before == expected_rows * texts.row_bytes


def test_however_wide_the_gaps_no_read_is_longer_than_its_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(npz_module, "LONGEST_READ_BYTES", 100 * MATRIX[0].nbytes)
    path = tmp_path / "shard.npz"
    np.savez(path, l14_txt=OTHER)
    rows, lengths = np.arange(0, ROWS, 30), []

    class Noting(LocalFile):
        request_cost_bytes = 10**9  # whole members

        def _read(self, start, length):
            lengths.append(length)
            return super()._read(start, length)

    with Noting(str(path)) as file, open_matrices(file, ["l14_txt"]) as (texts,):
        lengths.clear()
        np.testing.assert_array_equal(texts.take(rows), OTHER[rows])
        assert len(lengths) == 10
        assert max(lengths) <= 100 * texts.row_bytes


def test_ranges_are_asked_for_at_the_same_time_and_each_error_is_seen(tmp_path):
    path = tmp_path / "shard.npz"
    np.savez(path, l14_txt=OTHER)
    all_there = threading.Barrier(3)

    class Waiting(LocalFile):
        request_cost_bytes, requests_at_a_time, is_down = 0, 3, False

        def _read(self, start, length):
            if length == MATRIX[0].nbytes:
                all_there.wait(10)  # breaks unless three are under way
                if self.is_down and start % 7 == 0:
                    raise unavailable(self.url, "nothing")
            return super()._read(start, length)

    with Waiting(str(path)) as file, open_matrices(file, ["l14_txt"]) as (texts,):
        rows = np.arange(0, 90, 10)
        np.testing.assert_array_equal(texts.take(rows), OTHER[rows])
        file.is_down = True
        with pytest.raises(SourceUnavailable):
            texts.take(np.arange(0, 63, 3))


def test_one_row_and_no_row(tmp_path):
    for rows in (0, 1):
        path = tmp_path / f"{rows}.npz"
        np.savez(path, l14_img=MATRIX[:rows])
        with LocalFile(str(path)) as file, open_matrices(file, ["l14_img"]) as (images,):
            assert sum(len(block) for block in images.blocks(10)) == rows


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"l14_image": MATRIX}, "lacks a member"),
        ({"l14_img": MATRIX.astype(np.float32)}, "another form"),
        ({"l14_img": MATRIX[0]}, "another form"),
        ({"l14_img": np.asfortranarray(MATRIX)}, "another form"),
    ],
)
def test_members_of_another_form_are_refused(tmp_path, members, message):
    path = tmp_path / "shard.npz"
    np.savez(path, **members)
    with LocalFile(str(path)) as file, pytest.raises(BadShard, match=message), open_matrices(file, ["l14_img"]):
        pass


def test_a_flipped_bit_fails_the_checksum_of_its_member_only(tmp_path):
    path = tmp_path / "shard.npz"
    np.savez(path, l14_img=MATRIX, l14_txt=OTHER)
    content = bytearray(path.read_bytes())
    content[1_000] ^= 1
    path.write_bytes(content)
    with LocalFile(str(path)) as file, open_matrices(file, ["l14_img", "l14_txt"]) as (images, texts):
        assert sum(len(block) for block in texts.blocks(64)) == ROWS
        with pytest.raises(BadShard, match="damaged"):
            list(images.blocks(64))


def test_a_damaged_deflated_member_is_refused(tmp_path):
    path = tmp_path / "shard.npz"
    np.savez_compressed(path, l14_img=MATRIX)
    content = bytearray(path.read_bytes())
    content[5_000] ^= 255
    path.write_bytes(content)
    with LocalFile(str(path)) as file, pytest.raises(BadShard), open_matrices(file, ["l14_img"]):
        pass


@pytest.mark.parametrize("keep", [0, 10, 40_000])
def test_a_truncated_file_is_refused(tmp_path, keep):
    path = tmp_path / "shard.npz"
    np.savez(path, l14_img=MATRIX)
    path.write_bytes(path.read_bytes()[:keep])
    with LocalFile(str(path)) as file, pytest.raises(BadShard, match="zip"), open_matrices(file, ["l14_img"]):
        pass


def test_a_member_that_is_no_array_is_refused(tmp_path):
    path = tmp_path / "shard.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("l14_img.npy", b"not an array" * 100)
    with LocalFile(str(path)) as file, pytest.raises(BadShard, match="not an array"), open_matrices(file, ["l14_img"]):
        pass


@pytest.mark.parametrize("header", [b"{'descr': '<f2', 'fortran_order'", b"\x00\x01((((", b"{1: [}"])
def test_a_damaged_npy_header_is_refused(tmp_path, header):
    path = tmp_path / "shard.npz"
    with zipfile.ZipFile(path, "w") as archive:
        text = header.ljust(118) + b"\n"
        archive.writestr("l14_img.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
    with (
        pytest.raises(BadShard, match="is not an array"),
        LocalFile(str(path)) as file,
        open_matrices(file, ["l14_img"]),
    ):
        pass
