// jsmodbus on a port of this machine, with or without TLS, for which clients have to show a certificate;
// options: {port, image: {holding: [...], input: [...], coil: [...], discrete: [...]}, tls: {ca, cert, key}}.
// Ends with its parent.
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { createServer as createTlsServer } from 'node:tls'
import modbus from 'jsmodbus'

const { port, image, tls } = JSON.parse(process.argv.at(-1))
const values = table => image[table] ?? []
const registers = table => Buffer.alloc(2 * values(table).length)
const bits = table => Buffer.alloc(Math.ceil(values(table).length / 8))
const tables = { holding: registers('holding'), input: registers('input'), coil: bits('coil'), discrete: bits('discrete') }

function put(table, address, values) {
  const buffer = tables[table]
  values.forEach((value, i) => {
    const at = address + i
    if (table === 'holding' || table === 'input') buffer.writeUInt16BE(value, 2 * at)
    else buffer[at >> 3] = value ? buffer[at >> 3] | 1 << at % 8 : buffer[at >> 3] & ~(1 << at % 8)
  })
}
for (const table of Object.keys(tables)) put(table, 0, values(table))

const say = message => process.stdout.write(JSON.stringify(message) + '\n')
createInterface({ input: process.stdin })
  .on('line', line => {
    const { table, address, values } = JSON.parse(line)
    try { put(table, address, values); say({}) } catch (error) { say({ error: error.message }) }
  })
  .on('close', () => process.exit(0))

const server = createServer()
new modbus.server.TCP(server, { holding: tables.holding, input: tables.input, coils: tables.coil, discrete: tables.discrete })
let listener = server
if (tls) {
  const files = Object.fromEntries(Object.entries(tls).map(([name, path]) => [name, readFileSync(path)]))
  listener = createTlsServer({ ...files, requestCert: true, rejectUnauthorized: true })
  listener.on('secureConnection', socket => server.emit('connection', socket))
}
listener.listen(port, '127.0.0.1', () => say({ ready: true }))
