"""A small PostgreSQL client: protocol 3.0, trust authentication, simple queries, text results.

Standard library only, so that the scripts need nothing but Python. It exists because a test of lost transactions has to know
exactly which commits the server acknowledged, to the byte.
"""

import socket
import struct


class ServerError(Exception):
    """An ErrorResponse; `code` is its SQLSTATE, `fields` all that it says by the letters of the protocol."""

    def __init__(self, fields):
        self.fields = fields
        self.code = fields.get("C", "?????")
        super().__init__(f"{self.code}: {fields.get('M', '')}")


# Of asm-generic/socket.h; Python does not name it.
SO_TIMESTAMPNS = 35


class Disconnected(Exception):
    """The connection is gone."""


class Connection:
    """One connection. Not to be shared between threads."""

    def __init__(self, port, host="127.0.0.1", user="postgres", database="postgres", timeout=60.0):
        self._buffer = b""
        # What NoticeResponses have said in the last answer, field by field.
        self.notices = []
        # When the end of the last answer came, in nanoseconds of CLOCK_REALTIME, once note_arrivals has been called.
        self.arrived_ns = None
        try:
            self._socket = socket.create_connection((host, port), timeout=timeout)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            parameters = b"user\0" + user.encode() + b"\0database\0" + database.encode() + b"\0\0"
            self._socket.sendall(struct.pack("!ii", 8 + len(parameters), 196608) + parameters)
        except OSError as error:
            raise Disconnected(str(error)) from error
        self._until_ready()

    def close(self):
        """Say goodbye and close."""
        try:
            self._socket.sendall(b"X" + struct.pack("!i", 4))
        except OSError:
            pass
        self._socket.close()

    def query(self, text):
        """Run statements; the rows of all of them, as tuples of text or None. Raises ServerError after the server is ready."""
        self.send(text)
        return self.answer()

    def send(self, *texts):
        """Send queries without waiting for their answers, of which `answer` then takes one after the other."""
        bodies = [text.encode() + b"\0" for text in texts]
        try:
            self._socket.sendall(b"".join(b"Q" + struct.pack("!i", 4 + len(body)) + body for body in bodies))
        except OSError as error:
            raise Disconnected(str(error)) from error

    def answer(self):
        """The answer to the next query that was sent, as `query` gives it."""
        self.notices = []
        return self._until_ready()

    def value(self, text):
        """The first column of the first row."""
        return self.query(text)[0][0]

    def _until_ready(self):
        rows, failure = [], None
        while True:
            kind, body = self._message()
            if kind == b"D":
                rows.append(_row(body))
            elif kind == b"E":
                failure = ServerError(_fields(body))
                if _fields(body).get("S") == "FATAL":
                    raise failure
            elif kind == b"N":
                self.notices.append(_fields(body))
            elif kind == b"G":
                # COPY FROM STDIN: of nothing.
                self._socket.sendall(b"c" + struct.pack("!i", 4))
            elif kind == b"R" and struct.unpack("!i", body[:4])[0] != 0:
                raise ServerError({"C": "28000", "M": "the server asks for a password"})
            elif kind == b"Z":
                if failure is not None:
                    raise failure
                return rows

    def _message(self):
        head = self._take(5)
        length = struct.unpack("!i", head[1:])[0]
        return head[:1], self._take(length - 4)

    def _take(self, count):
        while len(self._buffer) < count:
            try:
                received = self._receive()
            except OSError as error:
                raise Disconnected(str(error)) from error
            if not received:
                raise Disconnected("the server closed the connection")
            self._buffer += received
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def note_arrivals(self):
        """From now on the kernel says when something arrives: who measures is not to measure its own waking up."""
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.arrived_ns = 0

    def _receive(self):
        if self.arrived_ns is None:
            return self._socket.recv(65536)
        received, notes, _, _ = self._socket.recvmsg(65536, socket.CMSG_SPACE(16))
        for level, kind, data in notes:
            if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
                seconds, nanoseconds = struct.unpack("qq", data)
                self.arrived_ns = seconds * 1_000_000_000 + nanoseconds
        return received


def _row(body):
    count = struct.unpack("!h", body[:2])[0]
    at, values = 2, []
    for _ in range(count):
        length = struct.unpack("!i", body[at : at + 4])[0]
        at += 4
        if length < 0:
            values.append(None)
        else:
            values.append(body[at : at + length].decode())
            at += length
    return tuple(values)


def _fields(body):
    parts = body.rstrip(b"\0").split(b"\0")
    return {part[:1].decode(): part[1:].decode(errors="replace") for part in parts if part}
