"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS over PostgreSQL's protocol, message by message, so that each can be seen and timed.

Standard library only. RFC 5802, 7677 and 5929; PostgreSQL 15 documentation, 55.3. Passwords are taken as they are: without SASLprep.
"""

import base64
import hashlib
import hmac
import os
import socket
import ssl
import struct

from wire import Disconnected, ServerError, _fields

SSL_REQUEST = struct.pack("!ii", 8, 80877103)
BINDING = "p=tls-server-end-point"


def message(kind, body):
    return kind + struct.pack("!i", len(body) + 4) + body


def _hmac(key, text):
    return hmac.new(key, text, hashlib.sha256).digest()


class Exchange:
    """A connection up to its login. `parameters` are those of the startup packet besides user and database."""

    def __init__(self, port, user, database="postgres", tls=False, source="127.0.0.1", parameters=(), timeout=30.0):
        self.received = b""
        self.certificate = None
        try:
            self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout, source_address=(source, 0))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls:
                self._encrypt()
            pairs = [("user", user), ("database", database), *parameters]
            body = b"".join(name.encode() + b"\0" + value.encode() + b"\0" for name, value in pairs) + b"\0"
            self.socket.sendall(struct.pack("!ii", 8 + len(body), 196608) + body)
        except OSError as error:
            raise Disconnected(str(error)) from error

    def _encrypt(self):
        self.socket.sendall(SSL_REQUEST)
        answer = self.socket.recv(1)
        if answer != b"S":
            raise Disconnected(f"the server does not encrypt: {answer!r}")
        # Any certificate will do: binding to it is what is tried here.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.socket = context.wrap_socket(self.socket)
        self.certificate = self.socket.getpeercert(binary_form=True)

    def close(self):
        self.socket.close()

    def next(self):
        """The next message. An ErrorResponse is raised."""
        while len(self.received) < 5 or len(self.received) < 1 + struct.unpack("!i", self.received[1:5])[0]:
            try:
                chunk = self.socket.recv(65536)
            except OSError as error:
                raise Disconnected(str(error)) from error
            if not chunk:
                raise Disconnected("the server closed the connection")
            self.received += chunk
        length = struct.unpack("!i", self.received[1:5])[0]
        kind, body, self.received = self.received[:1], self.received[5 : 1 + length], self.received[1 + length :]
        if kind == b"E":
            raise ServerError(_fields(body))
        return kind, body

    def authentication(self, code):
        """The data of the next message, which must be of this kind of authentication."""
        kind, body = self.next()
        found = struct.unpack("!i", body[:4])[0]
        if kind != b"R" or found != code:
            raise Disconnected(f"the server says {kind!r} {found}, not R {code}")
        return body[4:]

    def mechanisms(self):
        return [name.decode() for name in self.authentication(10).split(b"\0") if name]

    def first(self, mechanism, header, name="", nonce=None):
        """Sends the first message; the server's."""
        self.header = header
        self.bare = f"n={name},r={nonce or base64.b64encode(os.urandom(18)).decode()}"
        data = (header + self.bare).encode()
        self.socket.sendall(message(b"p", mechanism.encode() + b"\0" + struct.pack("!i", len(data)) + data))
        return self.authentication(11).decode()

    def final(self, password, challenge):
        """The final message to a challenge, to be sent."""
        parts = dict(part.split("=", 1) for part in challenge.split(","))
        bound = hashlib.sha256(self.certificate).digest() if self.header.startswith("p=") else b""
        without_proof = f"c={base64.b64encode(self.header.encode() + bound).decode()},r={parts['r']}"
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(parts["s"]), int(parts["i"]))
        client_key = _hmac(salted, b"Client Key")
        covered = f"{self.bare},{challenge},{without_proof}".encode()
        signature = _hmac(hashlib.sha256(client_key).digest(), covered)
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        self.signature = base64.b64encode(_hmac(_hmac(salted, b"Server Key"), covered)).decode()
        return message(b"p", f"{without_proof},p={base64.b64encode(proof).decode()}".encode())

    def finish(self):
        """Checks that the server knows the password too, and waits until it is ready."""
        if self.authentication(12).decode() != f"v={self.signature}":
            raise Disconnected("the server does not know the password")
        while self.next()[0] != b"Z":
            pass
