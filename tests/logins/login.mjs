// Log in with node-postgres: node login.mjs PORT USER PASSWORD clear|tls|plus. Prints one line: ok and how, or the SQLSTATE.
import pg from 'pg'
import sasl from 'pg/lib/crypto/sasl.js'

const [port, user, password, how] = process.argv.slice(2)
let mechanism = 'none'
const begin = sasl.startSession
sasl.startSession = (...all) => {
  const session = begin(...all)
  mechanism = session.mechanism
  return session
}
const client = new pg.Client({
  host: '127.0.0.1',
  port: Number(port),
  user,
  password,
  database: 'postgres',
  ssl: how === 'clear' ? false : { rejectUnauthorized: false },
  enableChannelBinding: how === 'plus',
})
try {
  await client.connect()
  const { rows } = await client.query('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()')
  if (rows[0].ssl !== (how !== 'clear')) throw new Error(`ssl is ${rows[0].ssl}`)
  await client.end()
  console.log(`ok ${mechanism}`)
} catch (error) {
  console.log(error.code ?? `failed ${error.message}`)
}
