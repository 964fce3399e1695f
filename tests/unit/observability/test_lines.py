"""Lines: whole, in order, never waiting."""

from __future__ import annotations

import os
import socket
import time

from tokenhub.observability.lines import Lines


def test_a_line_arrives_whole_in_a_pipe():
    reader, writer = os.pipe()
    assert Lines(writer).write(b"one\n")
    assert os.read(reader, 100) == b"one\n"


def test_a_full_pipe_drops_lines_counts_them_and_never_waits():
    _reader, writer = os.pipe()
    lines, line = Lines(writer), b"x" * 999 + b"\n"
    started = time.monotonic()
    written = sum(lines.write(line) for _ in range(200))
    assert time.monotonic() - started < 0.5
    assert 0 < written < 200
    assert lines.dropped == 200 - written


def test_writing_resumes_with_whole_lines_once_the_reader_reads():
    reader, writer = os.pipe()
    lines, line = Lines(writer), b"x" * 999 + b"\n"
    while lines.write(line):
        pass
    drained = os.read(reader, 1 << 20)
    assert lines.write(b"after\n")
    rest = (drained + os.read(reader, 1 << 20)).split(b"\n")
    assert set(rest) == {line[:-1], b"after", b""}


def test_the_inherited_descriptor_stays_blocking():
    _reader, writer = os.pipe()
    Lines(writer)
    assert os.get_blocking(writer)


def test_a_line_torn_by_a_full_socket_is_finished_before_the_next():
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    lines, line = Lines(ours.fileno()), b"y" * 3000 + b"\n"
    while lines.write(line):
        pass
    theirs.settimeout(0.2)
    got, tries = b"", 0
    while not got.endswith(b"end\n") and tries < 200:
        got, tries = got + theirs.recv(1 << 20), tries + 1
        lines.write(b"end\n")
    assert set(got.split(b"\n")) == {line[:-1], b"end", b""}
    ours.close()
    theirs.close()


def test_a_file_is_appended_to(tmp_path):
    with open(tmp_path / "log", "ab") as file:
        file.write(b"first\n")
        file.flush()
        Lines(file.fileno()).write(b"second\n")
    assert (tmp_path / "log").read_bytes() == b"first\nsecond\n"


def test_a_reader_that_went_away_is_not_an_error():
    reader, writer = os.pipe()
    lines = Lines(writer)
    os.close(reader)
    assert not lines.write(b"lost\n")
    assert lines.dropped == 1


def test_closing_leaves_the_given_descriptor_open():
    reader, writer = os.pipe()
    Lines(writer).close()
    os.write(writer, b"still open")
    assert os.read(reader, 100) == b"still open"
