"""What Npgsql sends: npgsql.py PORT USER PASSWORD clear|tls|plus. Prints one line: ok and how, or the SQLSTATE.

RECONSTRUCTED, not recorded: .NET is not at hand here. These are the bytes that Npgsql 8 sends by its public sources and documentation:
SSLRequest; a StartupMessage with user, client_encoding and database; then as mechanism SCRAM-SHA-256-PLUS with the flag
"p=tls-server-end-point" if the server offers it and the connection is encrypted, or else SCRAM-SHA-256, with the flag "n" if the server
offers the other one, which was not used, and "y" if it does not; "n=*" as the user's name, which SCRAM here does not look at; and
everything after that by RFC 5802.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts" / "lib"))
from scram import BINDING, Exchange
from wire import Disconnected, ServerError


def main(port, user, password, how):
    try:
        exchange = Exchange(int(port), user, tls=how != "clear", parameters=[("client_encoding", "UTF8")])
        offered = exchange.mechanisms()
        if "SCRAM-SHA-256-PLUS" in offered and how == "plus":
            mechanism, flag = "SCRAM-SHA-256-PLUS", BINDING
        else:
            mechanism, flag = "SCRAM-SHA-256", "n" if "SCRAM-SHA-256-PLUS" in offered else "y"
        challenge = exchange.first(mechanism, f"{flag},,", name="*")
        exchange.socket.sendall(exchange.final(password, challenge))
        exchange.finish()
        print(f"ok {mechanism}")
    except ServerError as error:
        print(error.code)
    except Disconnected as error:
        print(f"failed {error}")


main(*sys.argv[1:])
