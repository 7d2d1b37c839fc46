// An OPC UA server on node-opcua that looks like the control of a CNC machine.
//
// Options: port, folder (for its certificates), namespaces (URIs to come before ours, which moves our index), nodesets
// (companion models), tick_ms, anonymous, trusting, server (more options for OPCUAServer), quirks (see quirks.mjs),
// count_ms, count_from, ledger (a file), sampling_ms (the shortest sampling interval, instead of 50).
// It takes commands as JSON lines on its input, answers each with a line on its output, and ends with its parent.
import { openSync, writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import opcua from 'node-opcua'

const { DataType, MessageSecurityMode, SecurityPolicy, StatusCodes, VariantArrayType, WellKnownRoles } = opcua
const options = JSON.parse(process.argv.at(-1))

console.log = console.warn = console.info = console.error // the output is for answers
const say = message => process.stdout.write(JSON.stringify(message) + '\n')

// ---- the server

const certificates = new opcua.OPCUACertificateManager({
  automaticallyAcceptUnknownCertificate: options.trusting, rootFolder: `${options.folder}/pki`,
})
await certificates.initialize()
const server = new opcua.OPCUAServer({
  port: options.port,
  host: '127.0.0.1',
  hostname: '127.0.0.1',
  resourcePath: '/UA/cnc',
  nodeset_filename: ['standard', ...options.nodesets].map(name => opcua.nodesets[name]),
  serverCertificateManager: certificates,
  userCertificateManager: certificates,
  allowAnonymous: options.anonymous,
  securityPolicies: [
    SecurityPolicy.None, SecurityPolicy.Basic256Sha256, SecurityPolicy.Aes128_Sha256_RsaOaep, SecurityPolicy.Aes256_Sha256_RsaPss,
  ],
  securityModes: [MessageSecurityMode.None, MessageSecurityMode.Sign, MessageSecurityMode.SignAndEncrypt],
  userManager: {
    isValidUser: (user, password) => user === 'operator' && password === 'op-secret',
    getUserRoles: () => opcua.makeRoles([WellKnownRoles.AuthenticatedUser]),
  },
  ...options.server,
})
await server.initialize()
const space = server.engine.addressSpace

// ---- the machine

for (const uri of options.namespaces) { // whoever keeps our old index gets this
  space.registerNamespace(uri).addVariable({
    organizedBy: space.rootFolder.objects, browseName: 'SpindleSpeed', nodeId: 's=CNC1.SpindleSpeed',
    dataType: 'Double', value: { dataType: DataType.Double, value: -1 },
  })
}
const shop = space.registerNamespace('urn:shop:cnc')
const machine = shop.addObject({
  organizedBy: space.rootFolder.objects, browseName: 'CNC1', nodeId: 's=CNC1',
  eventNotifier: 1, eventSourceOf: space.rootFolder.objects.server,
})
const modes = shop.addEnumerationType({ browseName: 'CncMode', enumeration: ['Off', 'Setup', 'Manual', 'Auto'] })

const words = value => [Number(BigInt.asUintN(64, value) >> 32n), Number(BigInt.asUintN(32, value))]
const CONVERT = { // what JSON does not have
  Int64: value => words(BigInt(value)), UInt64: value => words(BigInt(value)),
  Float: Number, Double: Number, DateTime: value => new Date(value),
}
function variant(type, value) {
  const convert = CONVERT[type] ?? (each => each)
  return Array.isArray(value)
    ? { dataType: DataType[type], arrayType: VariantArrayType.Array, value: value.map(convert) }
    : { dataType: DataType[type], arrayType: VariantArrayType.Scalar, value: convert(value) }
}

const variables = new Map() // node id without namespace -> { variable, type, value }
function set({ id, value, status = 'Good', time }) {
  const entry = variables.get(id)
  if (!entry) throw new Error(`no variable ${id}`)
  if (!StatusCodes[status]) throw new Error(`no status code ${status}`)
  if (value === 'null of any type') entry.value = { dataType: DataType.Null }
  else if (value !== undefined) entry.value = variant(entry.type, value)
  entry.variable.setValueFromSource(entry.value, StatusCodes[status], time ? new Date(time) : new Date())
}
function add({ id, type, value, dataType = type, status, time, ...more }) {
  const create = more.engineeringUnits ? 'addAnalogDataItem' : 'addVariable'
  const browseName = more.name ?? id.replace(/^.=(CNC1\.)?/, '')
  const variable = shop[create]({
    componentOf: machine, browseName, nodeId: id, dataType, valueRank: Array.isArray(value) ? 1 : -1,
    value: variant(type, value), ...more,
  })
  variables.set(id, { variable, type, value: variant(type, value) })
  set({ id, status, time })
  return variable
}
function remove({ id }) {
  shop.deleteNode(variables.get(id).variable)
  variables.delete(id)
}

const speed = add({
  id: 's=CNC1.SpindleSpeed', type: 'Double', value: 0,
  engineeringUnits: opcua.standardUnits.revolutions_per_minute, engineeringUnitsRange: { low: 0, high: 12000 },
})
add({
  id: 's=CNC1.CoolantTemperature', type: 'Float', value: 21.5,
  engineeringUnits: opcua.standardUnits.degree_celsius, engineeringUnitsRange: { low: -20, high: 120 },
})
add({ id: 's=CNC1.PartCount', type: 'UInt32', value: 0 })
add({ id: 's=CNC1.Program', type: 'String', value: 'O1234 "façade" №5' })
add({ id: 's=CNC1.DoorOpen', type: 'Boolean', value: false })
add({ id: 's=CNC1.Mode', type: 'Int32', value: 3, dataType: modes.nodeId })
add({ id: 's=CNC1.Int64Min', type: 'Int64', value: '-9223372036854775808' })
add({ id: 's=CNC1.Int64Max', type: 'Int64', value: '9223372036854775807' })
add({ id: 's=CNC1.UInt64Max', type: 'UInt64', value: '18446744073709551615' })
add({ id: 's=CNC1.Broken', type: 'Double', value: 42, status: 'BadSensorFailure' })
add({ id: 's=CNC1.Doubtful', type: 'Double', value: 17.5, status: 'UncertainLastUsableValue' })
add({ id: 's=CNC1.LastService', type: 'DateTime', value: '2024-02-29T06:30:00.250Z' })
add({ id: 's=CNC1.SerialNumber', type: 'String', value: 'SN-4711', time: '2004-05-06T07:08:09.125Z' })
add({ id: 's=CNC1.AxisPositions', type: 'Double', value: [1.5, -2.25, 300] })

space.installHistoricalDataNode(speed, { maxOnlineValues: 5000 })
space.installAlarmsAndConditionsService() // for ConditionRefresh
shop.instantiateExclusiveLimitAlarm('ExclusiveLimitAlarmType', {
  browseName: 'OverSpeed', conditionName: 'OverSpeed', conditionSource: machine, inputNode: speed,
  lowLowLimit: -10, lowLimit: -5, highLimit: 900, highHighLimit: 990,
})

// Tick n: SpindleSpeed is n / 4, from 0 again after 4000 ticks; PartCount is one more every tenth tick.
let ticks = 0
function tick() {
  ticks += 1
  set({ id: 's=CNC1.SpindleSpeed', value: (ticks % 4000) / 4 })
  set({ id: 's=CNC1.PartCount', value: Math.floor(ticks / 10) })
}

// Count is one more every count_ms, and every number is written down with its time before anybody can have it.
function startCounting() {
  const ledger = openSync(options.ledger, 'a')
  let number = options.count_from
  const write = () => { const now = Date.now(); writeSync(ledger, `${number} ${now}000000\n`); return new Date(now) }
  add({ id: 's=CNC1.Count', type: 'Int64', value: number, time: write() })
  setInterval(() => { number += 1; set({ id: 's=CNC1.Count', value: number, time: write() }) }, options.count_ms)
}

// ---- commands

const sessions = () => Object.values(server.engine._sessions)
const COMMANDS = {
  set,
  add: options => { add(options) },
  remove,
  tick,
  sessions: () => server.engine.currentSessionCount,
  subscriptions: () => server.engine.currentSubscriptionCount,
  remember({ ids }) { // from now on
    for (const id of ids) space.installHistoricalDataNode(variables.get(id).variable, { maxOnlineValues: 5000 })
  },
  points: () => sessions().reduce((sum, session) => sum + session.continuationPointManager._map.size, 0),
  raise({ severity, message, time }) {
    const when = { dataType: DataType.DateTime, value: new Date(time ?? Date.now()) }
    machine.raiseEvent('BaseEventType', {
      severity: { dataType: DataType.UInt16, value: severity }, time: when,
      message: { dataType: DataType.LocalizedText, value: { text: message } },
    })
  },
  kill_sessions({ subscriptions = true }) {
    for (const session of sessions()) server.engine.closeSession(session.authenticationToken, subscriptions, 'Terminated')
  },
  delete_subscriptions() {
    for (const session of sessions()) {
      for (const subscription of session.publishEngine.subscriptions) session.deleteSubscription(subscription.id)
    }
  },
}
async function end() {
  await server.shutdown(0)
  process.exit(0)
}

if (options.sampling_ms) opcua.MonitoredItem.minimumSamplingInterval = options.sampling_ms
if (options.sampling_ms) opcua.Subscription.minimumPublishingInterval = options.sampling_ms
misbehave()
if (options.count_ms) startCounting()
await server.start()
if (options.tick_ms) setInterval(tick, options.tick_ms)
process.on('SIGTERM', end)
createInterface({ input: process.stdin })
  .on('line', line => {
    const { command, ...given } = JSON.parse(line)
    try { say({ result: COMMANDS[command](given) }) } catch (error) { say({ error: error.message }) }
  })
  .on('close', end)
say({ ready: true })
