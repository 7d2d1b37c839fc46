// An OPC UA server on node-opcua with many Doubles that all change at every tick.
//
// At tick n, variable i (`s=v<i>` in `urn:bench`) is n + i / 2^20: a value says what it is, and has many digits.
// Options: port, folder (for its certificates), count, tick_ms, stamps ("tick": the values of a tick have one source time;
// "own": each has another one than its neighbours).
// It takes commands as JSON lines on its input, answers each with a line on its output, and ends with its parent.
import { createInterface } from 'node:readline'
import opcua from 'node-opcua'

const { DataType, MessageSecurityMode, SecurityPolicy, StatusCodes, Variant } = opcua
const options = JSON.parse(process.argv.at(-1))

console.log = console.warn = console.info = console.error // the output is for answers
const say = message => process.stdout.write(JSON.stringify(message) + '\n')

const certificates = new opcua.OPCUACertificateManager({
  automaticallyAcceptUnknownCertificate: true, rootFolder: `${options.folder}/pki`,
})
await certificates.initialize()
const server = new opcua.OPCUAServer({
  port: options.port,
  host: '127.0.0.1',
  hostname: '127.0.0.1',
  nodeset_filename: [opcua.nodesets.standard],
  serverCertificateManager: certificates,
  userCertificateManager: certificates,
  securityPolicies: [SecurityPolicy.None],
  securityModes: [MessageSecurityMode.None],
  serverCapabilities: { maxMonitoredItems: 1e6, maxMonitoredItemsPerSubscription: 1e6 },
})
await server.initialize()
const space = server.engine.addressSpace
const bench = space.registerNamespace('urn:bench')
const folder = bench.addFolder(space.rootFolder.objects, { browseName: 'Bench' })
const variables = Array.from({ length: options.count }, (_, i) => bench.addVariable({
  organizedBy: folder, browseName: `v${i}`, nodeId: `s=v${i}`, dataType: 'Double',
  value: { dataType: DataType.Double, value: i / 2 ** 20 },
}))

let ticks = 0
function tick() {
  ticks += 1
  const now = new Date()
  variables.forEach((variable, i) => {
    const value = new Variant({ dataType: DataType.Double, value: ticks + i / 2 ** 20 })
    const stamp = options.stamps === 'tick' ? now : new Date(now.getTime() - i % 500)
    variable.setValueFromSource(value, StatusCodes.Good, stamp)
  })
}

// ---- commands

let timer
const COMMANDS = {
  go() { timer = setInterval(tick, options.tick_ms) },
  hold() { clearInterval(timer) },
  ticks: () => ticks,
}
async function end() {
  await server.shutdown(0)
  process.exit(0)
}

await server.start()
process.on('SIGTERM', end)
createInterface({ input: process.stdin })
  .on('line', line => {
    try { say({ result: COMMANDS[JSON.parse(line).command]() }) } catch (error) { say({ error: error.message }) }
  })
  .on('close', end)
say({ ready: true })
