"""What is written is what was named: devices, pipes, links, modes, owners."""

import errno
import os
import resource
import stat
import tempfile
import threading
from pathlib import Path

import pytest

from alexnet.files import (
    OutputPathError,
    atomic_path,
    check_output_file,
    check_output_folder,
    final_path,
    is_stream,
    open_stream,
    replace_file,
    write_text,
)

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
as_root = pytest.mark.skipif(not IS_ROOT, reason="only root makes devices and gives files away")


@pytest.fixture
def ordinary_folder():
    """A folder of an ordinary user, as whom the test runs: root may write everywhere."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not IS_ROOT:
            yield folder
            return
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(0)


def null_device(folder: Path) -> Path:
    """A device of the test's own, whose loss would do no harm."""
    path = folder / "null"
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        path.write_bytes(b"x")
    except PermissionError:
        pytest.skip("another user than root: in this container root makes no devices")
    return path


def reader(path: Path) -> tuple[threading.Thread, list[bytes]]:
    """Read a FIFO to its end, as another program would."""
    read: list[bytes] = []
    thread = threading.Thread(target=lambda: read.append(path.read_bytes()), daemon=True)
    thread.start()
    return thread, read


@as_root
def test_a_device_is_written_to_and_stays_a_device(tmp_path):
    device = null_device(tmp_path)
    write_text(device, "lost")
    assert stat.S_ISCHR(device.stat().st_mode)
    assert list(tmp_path.iterdir()) == [device]


@as_root
def test_a_link_to_a_device_stays_a_link(tmp_path):
    device = null_device(tmp_path)
    (tmp_path / "x.json").symlink_to(device)
    write_text(tmp_path / "x.json", "lost")
    assert (tmp_path / "x.json").readlink() == device
    assert stat.S_ISCHR(device.stat().st_mode)


def test_a_fifo_gets_the_whole_text(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    thread, read = reader(fifo)
    write_text(fifo, "x" * 200_000)  # more than a pipe holds
    thread.join(10)
    assert read == [b"x" * 200_000]
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_nothing_of_a_failed_write_reaches_a_fifo(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    handle = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(KeyboardInterrupt), atomic_path(fifo) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert os.read(handle, 10) == b""
    os.close(handle)


def test_a_fifo_whose_reader_goes_away_is_an_error_with_its_name(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def read_little():
        with fifo.open("rb") as file:
            file.read(1)

    threading.Thread(target=read_little, daemon=True).start()
    with pytest.raises(OutputPathError, match=r"The reader of .*fifo went away"):
        write_text(fifo, "x" * 10_000_000)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_stdout_by_name_gets_the_text_behind_what_was_printed(name, capfd):
    print("before")
    write_text(name, "result\n")
    print("after")
    assert capfd.readouterr().out == "before\nresult\nafter\n"


def test_a_link_to_stdout_is_stdout(tmp_path, capfd):
    (tmp_path / "x.json").symlink_to("/dev/stdout")
    write_text(tmp_path / "x.json", "result\n")
    assert capfd.readouterr().out == "result\n"
    assert (tmp_path / "x.json").is_symlink()


def test_a_descriptor_on_a_file_is_written_where_it_stands(tmp_path):
    # As `command --json /dev/fd/N >> log` does: the file is neither replaced nor cut off.
    log = tmp_path / "log"
    log.write_text("before\n")
    with log.open("a") as file:
        inode = log.stat().st_ino
        write_text(f"/dev/fd/{file.fileno()}", "result\n")
        file.write("after\n")
    assert log.read_text() == "before\nresult\nafter\n"
    assert log.stat().st_ino == inode


def test_a_descriptor_on_a_pipe_is_written(tmp_path):
    # What `>(gzip > x.gz)` of a shell is.
    source, target = os.pipe()
    write_text(f"/dev/fd/{target}", "result")
    os.close(target)
    assert os.read(source, 100) == b"result"
    os.close(source)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has the full device")
def test_a_full_device_is_an_error_with_its_name():
    with pytest.raises(OSError, match="/dev/full") as caught:
        write_text("/dev/full", "x")
    assert caught.value.errno == errno.ENOSPC
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_a_disk_that_fills_up_leaves_the_old_file_and_nothing_else(tmp_path):
    # A limit on a file's size ends a write in its middle, as a full disk does.
    (tmp_path / "x").write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            write_text(tmp_path / "x", "x" * 1_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.filename == str(tmp_path / "x")
    assert (tmp_path / "x").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_through_a_link_its_target_is_written(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x").write_text("old")
    (tmp_path / "link").symlink_to("real/x")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").readlink() == Path("real/x")
    assert (tmp_path / "real" / "x").read_text() == "new"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["link", "real", "x"]


def test_through_a_dangling_link_its_target_is_made(tmp_path):
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to(tmp_path / "folder" / "x")
    write_text(tmp_path / "one", "new")
    assert (tmp_path / "folder" / "x").read_text() == "new"
    assert (tmp_path / "one").is_symlink()
    assert (tmp_path / "two").is_symlink()


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="Linux has a second file system there")
def test_a_link_into_another_file_system_is_written_there(tmp_path):
    target = Path(f"/dev/shm/alexnet-test-{os.getpid()}-{os.urandom(4).hex()}")
    (tmp_path / "link").symlink_to(target)
    try:
        write_text(tmp_path / "link", "new")
        assert target.read_text() == "new"
        assert (tmp_path / "link").is_symlink()
    finally:
        target.unlink(missing_ok=True)


def test_links_in_a_circle_are_refused(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        write_text(tmp_path / "a", "x")
    with pytest.raises(OutputPathError, match="symbolic links"):
        check_output_file(tmp_path / "a")
    assert (tmp_path / "a").is_symlink()


def test_an_old_file_keeps_its_mode(tmp_path):
    target = tmp_path / "x"
    target.write_text("old")
    target.chmod(0o640)
    write_text(target, "new")
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


@as_root
def test_an_old_file_keeps_its_owner(tmp_path):
    target = tmp_path / "x"
    target.write_text("old")
    os.chown(target, 1234, 2345)
    write_text(target, "new")
    assert (target.stat().st_uid, target.stat().st_gid) == (1234, 2345)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o277])
def test_a_new_file_has_the_mode_that_open_gives(tmp_path, umask):
    before = os.umask(umask)
    try:
        (tmp_path / "plain").open("w").close()
        write_text(tmp_path / "ours", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_library_that_makes_its_own_file_does_not_decide_the_mode(tmp_path):
    plain = tmp_path / "plain"
    plain.open("w").close()
    with atomic_path(tmp_path / "ours") as temporary:
        temporary.unlink()
        os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))
    assert (tmp_path / "ours").stat().st_mode == plain.stat().st_mode


def test_a_name_of_255_bytes_can_be_written(tmp_path):
    target = tmp_path / ("ü" * 127 + "x")
    write_text(target, "new")
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_folders_that_were_made_for_a_failed_write_are_gone(tmp_path):
    with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "a" / "b" / "x"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_refused_and_untouched(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputPathError, match="is a folder"):
        write_text(tmp_path / "folder", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@as_root
def test_a_disk_is_refused(tmp_path):
    disk = tmp_path / "disk"
    os.mknod(disk, 0o600 | stat.S_IFBLK, os.makedev(7, 250))
    for write in (write_text, lambda path, _: check_output_file(path)):
        with pytest.raises(OutputPathError, match="is a disk"):
            write(disk, "x")


def test_a_write_protected_file_is_refused_and_whole(ordinary_folder):
    target = ordinary_folder / "x"
    target.write_text("old")
    target.chmod(0o444)
    with pytest.raises(OutputPathError, match="write-protected"):
        write_text(target, "new")
    assert target.read_text() == "old"


def test_a_check_leaves_nothing_behind(tmp_path):
    check_output_file(tmp_path / "a" / "x")
    check_output_folder(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_what_a_check_refuses(tmp_path):
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "fifo")
    check_output_file(tmp_path / "fifo")
    check_output_file("/dev/null")
    with pytest.raises(OutputPathError, match="a device or a pipe"):
        check_output_folder(tmp_path / "fifo")
    with pytest.raises(OutputPathError, match="is a file"):
        check_output_folder(tmp_path / "file")
    with pytest.raises(OutputPathError, match="file is no folder"):
        check_output_file(tmp_path / "file" / "x")
    with pytest.raises(OutputPathError, match="File name too long"):
        check_output_file(tmp_path / ("x" * 300))
    with pytest.raises(OutputPathError, match="Bad file descriptor"):
        check_output_file("/dev/fd/987654")


def test_a_folder_that_cannot_be_written_is_refused(ordinary_folder):
    theirs = ordinary_folder / "theirs"
    theirs.mkdir()
    (theirs / "x").write_text("old")
    theirs.chmod(0o555)
    try:
        with pytest.raises(OutputPathError, match="can't be written"):
            check_output_file(theirs / "x")
        with pytest.raises(OutputPathError, match="can't be written"):
            check_output_folder(theirs / "y" / "z")
        with pytest.raises(PermissionError) as caught:
            write_text(theirs / "x", "new")
        assert caught.value.filename == str(theirs / "x")  # not a name that nobody has given
        assert (theirs / "x").read_text() == "old"
    finally:
        theirs.chmod(0o755)


def test_what_a_stream_is(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    (tmp_path / "file").write_text("")
    streams = ["/dev/null", "/dev/stdout", "/dev/stderr", tmp_path / "fifo", tmp_path / "link"]
    assert all(map(is_stream, streams))
    assert not any(map(is_stream, [tmp_path, tmp_path / "file", tmp_path / "none"]))


def test_a_stream_can_be_written_bit_by_bit(capfd):
    with open_stream("/dev/stdout") as file:
        file.write(b"one ")
        file.write(b"two\n")
    assert capfd.readouterr().out == "one two\n"


def test_a_file_of_ones_own_is_put_in_place_through_a_link(tmp_path):
    (tmp_path / "x").write_text("old")
    (tmp_path / "x").chmod(0o640)
    (tmp_path / "link").symlink_to("x")
    (tmp_path / "made").write_text("new")
    replace_file(tmp_path / "made", tmp_path / "link")
    assert (tmp_path / "x").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640
    assert final_path(tmp_path / "link") == (tmp_path / "x").resolve()
    assert not (tmp_path / "made").exists()
