"""Log in with asyncpg: asyncpg_login.py PORT USER PASSWORD clear|tls. Prints one line: ok and how, or the SQLSTATE."""

import asyncio
import ssl
import sys

import asyncpg


async def main(port, user, password, how):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=int(port), user=user, password=password, database="postgres",
            ssl=False if how == "clear" else context,
        )
        encrypted = await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        await connection.close()
        print("ok SCRAM-SHA-256" if encrypted == (how != "clear") else f"failed ssl is {encrypted}")
    except asyncpg.PostgresError as error:
        print(error.sqlstate)


asyncio.run(main(*sys.argv[1:]))
