"""The data layer against everything that can go wrong between a name and a checked file.
A server on this machine plays the network; the user's cache and the internet are never touched."""

import gzip
import hashlib
import multiprocessing
import os
import stat
import subprocess
import sys
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from utils import datasets
from utils.datasets import __main__ as command
from utils.datasets import download, errors, files, safe
from utils.datasets.registry import ROOT, Entry, registry

CONTENT = b"0123456789abcdef" * 4096
NAME = "made-up/file.bin"


class Handler(BaseHTTPRequestHandler):
    """Serves /good (slowly enough for two to meet), and one address for each way to fail."""

    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == "/flaky" and len(self.server.asked) > 1:
            self.path = "/good"
        if self.path in ("/missing", "/busy", "/flaky"):
            return self.send_error(404 if self.path == "/missing" else 503)
        body = {"/wrong": CONTENT[::-1], "/gzip": gzip.compress(CONTENT)}.get(self.path, CONTENT)
        self.send_response(200)
        if self.path != "/short":  # /short ends early without having said how long it is
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.path in ("/cut", "/short"):
            self.wfile.write(body[:1000])
        elif self.path in ("/stall", "/trickle"):
            for _ in range(100):
                if self.server.over.wait(0.1):
                    break
                if self.path == "/trickle":
                    self.wfile.write(b"0")
        else:
            time.sleep(0.1)
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked, server.over = [], threading.Event()
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.over.set()
        server.shutdown()


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """An empty cache, no mirror, no proxy, and no patience."""
    monkeypatch.setenv("WALKTHROUGHS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("WALKTHROUGHS_MIRROR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSE", 0.01)
    monkeypatch.setattr(download, "TIMEOUT", (0.5, 0.5))
    files._answers.cache_clear()


@pytest.fixture
def register(server, monkeypatch):
    def add(page: str, **changes) -> Path:
        """Register NAME at a page of the server; return its place in the cache."""
        address = f"http://127.0.0.1:{server.server_port}{page}"
        digest = hashlib.sha256(CONTENT).hexdigest()
        entry = Entry(NAME, "made-up", address, len(CONTENT), digest, "", "plain", "none")
        monkeypatch.setitem(registry(), NAME, entry._replace(**changes))
        return files.cache_folder() / NAME

    return add


def in_cache() -> list[Path]:
    return [file for file in files.cache_folder().rglob("*") if file.is_file()]


def test_download_is_checked_cached_and_silent(register, server, capsys):
    cached = register("/good")
    assert datasets.path(NAME) == cached and cached.read_bytes() == CONTENT
    assert datasets.path(NAME) == cached and server.asked == ["/good"]
    assert in_cache() == [cached] and list(cached.parent.iterdir()) == [cached]
    assert capsys.readouterr() == ("", "")


def test_a_server_that_is_busy_at_first_is_asked_again(register, server):
    assert register("/flaky") == datasets.path(NAME)
    assert server.asked == ["/flaky", "/flaky"]


def test_gzip_content_is_checked_unpacked(register):
    register("/gzip", content="gzip")
    assert gzip.decompress(datasets.path(NAME).read_bytes()) == CONTENT


def test_git_blob_pins_content(register):
    blob = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()
    register("/good", sha256="", bytes=None, git_blob=blob)
    assert datasets.path(NAME).read_bytes() == CONTENT
    register("/wrong", sha256="", bytes=None, git_blob=blob)
    datasets.path(NAME).write_bytes(b"changed")
    with pytest.raises(errors.BadFile, match=blob):
        datasets.path(NAME)


@pytest.mark.parametrize(
    ("page", "error", "words", "tries"),
    [
        ("/missing", errors.NotFound, "404", 1),
        ("/busy", errors.Unreachable, "503", 3),
        ("/stall", errors.Unreachable, "out of reach", 3),
        ("/wrong", errors.BadFile, "wrong content: expected 65536 bytes", 3),
        ("/cut", errors.BadFile, "truncated: expected 65536 bytes .* found [0-9]+ bytes", 3),
        ("/short", errors.BadFile, "truncated: expected 65536 bytes .* found 1000 bytes", 3),
    ],
)
def test_failed_downloads_say_why_and_leave_nothing(register, server, page, error, words, tries):
    register(page)
    with pytest.raises(error, match=words) as caught:
        datasets.path(NAME)
    assert f"127.0.0.1:{server.server_port}{page}" in str(caught.value) and "what to do:" in str(caught.value)
    assert in_cache() == [] and server.asked == [page] * tries


def test_a_trickling_server_runs_into_the_time_limit(register, monkeypatch):
    register("/trickle")
    monkeypatch.setattr(download, "PATIENCE", 1)
    monkeypatch.setattr(download, "SLOWEST", 1e9)
    start = time.monotonic()
    with pytest.raises(errors.Unreachable, match="stalled"):
        datasets.path(NAME)
    assert time.monotonic() - start < 3 and in_cache() == []


def test_no_network(register):
    register("", address="http://127.0.0.1:9/file.bin")
    assert not datasets.within_reach([NAME])
    with pytest.raises(errors.Unreachable, match="connect to the network, or set WALKTHROUGHS_MIRROR"):
        datasets.path(NAME)


def test_within_reach_asks_the_server_once(register, server):
    register("/good")
    assert datasets.within_reach([NAME]) and datasets.within_reach("made-up")
    server.shutdown()
    assert datasets.within_reach([NAME]) and in_cache() == []


def test_content_that_is_not_pinned_is_not_fetched(register, server):
    register("/good", sha256="")
    assert not datasets.within_reach([NAME])
    with pytest.raises(errors.NotPinned, match="not pinned"):
        datasets.path(NAME)
    assert server.asked == []


@pytest.mark.parametrize("damage", [CONTENT[:-1], CONTENT[::-1], b""])
def test_a_cache_file_that_is_corrupted_later_is_fetched_anew(register, server, damage):
    cached = register("/good")
    assert datasets.path(NAME) == datasets.path(NAME) == cached  # twice: the second look is remembered
    cached.write_bytes(damage)
    os.utime(cached, ns=(1, 1))
    assert datasets.path(NAME).read_bytes() == CONTENT and server.asked == ["/good"] * 2
    cached.write_bytes(damage)
    register("", address="http://127.0.0.1:9/file.bin")
    with pytest.raises(errors.Unreachable):
        datasets.path(NAME)
    assert in_cache() == []


def test_a_mirror_file_is_used_in_place_and_checked(register, server, tmp_path, monkeypatch):
    register("/good")
    mirrored = tmp_path / "mirror" / NAME
    mirrored.parent.mkdir(parents=True)
    mirrored.write_bytes(CONTENT)
    monkeypatch.setenv("WALKTHROUGHS_MIRROR", str(tmp_path / "mirror"))
    assert datasets.path(NAME) == mirrored and datasets.within_reach([NAME])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WALKTHROUGHS_MIRROR", "mirror")
    assert datasets.path(NAME) == mirrored
    mirrored.write_bytes(CONTENT[:100])
    with pytest.raises(errors.BadFile, match=f"found 100 bytes .*\n.*{mirrored}"):
        datasets.path(NAME)
    assert mirrored.exists() and server.asked == [] and in_cache() == []


def test_a_relative_mirror_is_looked_for_in_the_repository_first(monkeypatch):
    monkeypatch.setenv("WALKTHROUGHS_MIRROR", "data")
    assert files.mirror_folder() == ROOT / "data"


def test_a_cache_folder_that_cannot_be_written(register, monkeypatch, tmp_path):
    register("/good")
    (tmp_path / "cache").write_text("a file in the place of the folder")
    with pytest.raises(errors.CacheNotWritable, match="set WALKTHROUGHS_CACHE"):
        datasets.path(NAME)
    (tmp_path / "cache").unlink()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download.os, "replace", full)
    with pytest.raises(errors.CacheNotWritable, match="No space left"):
        datasets.path(NAME)
    assert in_cache() == []


def test_two_processes_get_the_same_file_at_once(register):
    register("/good")
    with multiprocessing.get_context("fork").Pool(2) as pool:
        first, second = pool.map(datasets.path, [NAME, NAME], chunksize=1)
    assert first == second and first.read_bytes() == CONTENT and in_cache() == [first]


def test_unknown_names_come_with_the_nearest():
    with pytest.raises(errors.UnknownName, match=r"planetoid/ind\.cora\.allx"):
        datasets.path("planetoid/ind.cora.alx")
    with pytest.raises(errors.UnknownName, match="did you mean .*citeseer"):
        files.files("citeseeer")
    with pytest.raises(errors.UnknownName, match="did you mean .*mnist"):
        datasets.card("mnits")


@pytest.mark.parametrize("member", ["../out.txt", "a/../../out.txt", "/out.txt", "..\\out.txt", "C:\\out.txt", "link"])
def test_a_zip_whose_member_climbs_out_is_refused(tmp_path, member):
    info = zipfile.ZipInfo(member)
    if member == "link":
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("fine.txt", "fine")
        archive.writestr(info, "../target")
    with pytest.raises(errors.UnsafeArchive, match="would leave the folder"):
        safe.extract(tmp_path / "bad.zip", tmp_path / "folder")
    assert not (tmp_path / "folder").exists() and not (tmp_path / "out.txt").exists()


def test_a_harmless_zip_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "good.zip", "w") as archive:
        archive.writestr("SET/SET.txt", "1 2..3")
    safe.extract(tmp_path / "good.zip", tmp_path / "folder")
    assert (tmp_path / "folder" / "SET" / "SET.txt").read_text() == "1 2..3"
    (tmp_path / "good.zip").write_bytes(b"no zip")
    with pytest.raises(errors.BadFile, match="not a zip"):
        safe.extract(tmp_path / "good.zip", tmp_path / "folder")


def test_the_command(register, capsys):
    cached = register("/good")
    assert command.main(["verify", "made-up"]) == 1 and "remote 1" in capsys.readouterr().out
    assert command.main(["fetch", "made-up"]) == 0 and "cache 1" in capsys.readouterr().out
    assert command.main(["verify", "made-up"]) == 0
    assert command.main(["list"]) == 0 and "made-up: files 1, bytes 65,536" in capsys.readouterr().out
    cached.write_bytes(b"damaged")
    assert command.main(["verify", "made-up"]) == 1 and not cached.exists()
    register("/missing")
    assert command.main(["fetch", "made-up"]) == 1 and "404" in capsys.readouterr().err
    with pytest.raises(SystemExit) as usage:
        command.main(["fetch", "made-upp"])
    assert usage.value.code == 2 and "did you mean made-up" in capsys.readouterr().err


IMPORT = """
import socket, sys
def refuse(*_, **__): raise AssertionError("a connection was opened")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import utils.datasets
heavy = {"torch", "tensorflow", "dgl", "scipy", "pandas", "pooch", "requests", "networkx"} & set(sys.modules)
assert not heavy, heavy
"""


def test_import_is_light_and_opens_no_connection():
    subprocess.run([sys.executable, "-c", IMPORT], check=True, cwd=ROOT)
