"""The data layer against everything that can go wrong between a name and a checked file.
A server on this machine plays the network; the user's cache and the internet are never touched."""

import gzip
import hashlib
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from utils import datasets
from utils.datasets import __main__ as command
from utils.datasets import citation, download, errors, files
from utils.datasets.registry import ROOT, Entry, registry

CONTENT = b"0123456789abcdef" * 4096
NAME = "made-up/file.bin"


class Handler(BaseHTTPRequestHandler):
    """Serves /good (slowly enough for two to meet), and one address for each way to fail."""

    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == "/flaky" and len(self.server.asked) > 1:
            self.path = "/good"
        if status := {"/missing": 404, "/refused": 403, "/busy": 503, "/flaky": 503}.get(self.path):
            return self.send_error(status)
        bodies = {"/wrong": CONTENT[::-1], "/gzip": gzip.compress(CONTENT), "/login": b"\n<!DOCTYPE html><p>Log in"}
        bodies["/gzip-cut"] = bodies["/gzip"][:-9]
        body = bodies.get(self.path, CONTENT)
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


def test_gzip_content_that_breaks_off(register):
    register("/gzip-cut", content="gzip")
    with pytest.raises(errors.BadFile, match="cannot be read to its end"):
        datasets.path(NAME)


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
        ("/missing", errors.NotFound, "404(.|\n)*correct the address", 1),
        ("/refused", errors.NotFound, "403(.|\n)*a proxy on the way refuses it", 1),
        ("/login", errors.BadFile, "a web page in place of the file: expected 65536 bytes .* found 25 bytes", 3),
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
    assert download.PART not in str(caught.value)
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


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("{tmp}/nope", "not there"),
        ("{tmp}/file", "a file"),
        ("'{tmp}'", "take off the quotes"),
        ('"{tmp}"', "take off the quotes"),
        ("~/nope", "{tmp}/home/nope"),
    ],
)
def test_a_mirror_that_is_no_folder_is_said_by_loaders_and_command(monkeypatch, tmp_path, capsys, given, words):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WALKTHROUGHS_MIRROR", given.format(tmp=tmp_path))
    words = words.format(tmp=tmp_path)
    for ask in (citation.load, datasets.within_reach):
        with pytest.raises(errors.BadMirror, match="WALKTHROUGHS_MIRROR") as caught:
            ask("cora")
        assert words in str(caught.value)
    assert "STAND-IN" not in capsys.readouterr().out
    with pytest.raises(SystemExit) as usage:
        command.main(["list", "cora"])
    assert usage.value.code == 2 and words in capsys.readouterr().err


def test_a_mirror_in_the_home_folder(monkeypatch, tmp_path):
    (tmp_path / "mirror").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WALKTHROUGHS_MIRROR", "~/mirror")
    assert files.mirror_folder() == tmp_path / "mirror"
    monkeypatch.setenv("WALKTHROUGHS_MIRROR", "")
    assert files.mirror_folder() is None


def test_what_killed_downloads_left_is_removed_after_a_day(register):
    cached = register("/good")
    old, young = (cached.parent / f"{download.PART}{name}" for name in ("old", "young"))
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "file.bin").write_bytes(CONTENT[:9])
    os.utime(old, (1, 1))
    assert datasets.path(NAME) == cached
    assert not old.exists() and (young / "file.bin").exists()


def test_a_cache_folder_that_cannot_be_written(register, monkeypatch, tmp_path):
    register("/good")
    (tmp_path / "cache").write_text("a file in the place of the folder")
    with pytest.raises(errors.CacheNotWritable, match="set WALKTHROUGHS_CACHE"):
        datasets.path(NAME)
    (tmp_path / "cache").unlink()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download.os, "replace", full)
    with pytest.raises(errors.CacheNotWritable, match="No space left(.|\n)*make room on the disk"):
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


def test_content_that_is_not_pinned_fails_the_command_only_where_it_is_named(register, monkeypatch, capsys):
    cached = register("/good", sha256="")
    entry = registry()[NAME]
    monkeypatch.setattr(command, "registry", lambda: {NAME: entry})
    assert command.main(["fetch"]) == 0 and "not pinned 1" in capsys.readouterr().out
    assert command.main(["verify"]) == 0 and command.main(["list", "made-up"]) == 0
    assert command.main(["fetch", "made-up"]) == 1 and "not pinned" in capsys.readouterr().err
    assert command.main(["verify", "made-up"]) == 1 and not cached.exists()


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_text_is_read_without_mark_and_with_plain_line_ends(tmp_path, mark):
    (tmp_path / "text").write_bytes(mark + "中\r\n文\rend\n".encode())
    assert datasets.read_text(tmp_path / "text") == "中\n文\nend\n"


@pytest.mark.parametrize("encoding", ["gbk", "utf-16", "latin-1"])
def test_text_in_another_encoding_is_named(tmp_path, encoding):
    (tmp_path / "text").write_bytes(("naïve" if encoding == "latin-1" else "中文").encode(encoding))
    with pytest.raises(errors.BadFile, match="set/text: not UTF-8"):
        datasets.read_text(tmp_path / "text", "set/text")


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
