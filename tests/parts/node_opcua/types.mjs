// An OPC UA server on node-opcua with the data types of types.xml, and variables of them in `urn:shop:types`.
//
// Options: port, folder (for its certificates), nodeset and dictionary (the files). Commands as JSON lines: set {id, value}.
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import opcua from 'node-opcua'

const { DataType, VariantArrayType } = opcua
const options = JSON.parse(process.argv.at(-1))

console.log = console.warn = console.info = console.error // the output is for answers
const say = message => process.stdout.write(JSON.stringify(message) + '\n')

const certificates = new opcua.OPCUACertificateManager({ automaticallyAcceptUnknownCertificate: true, rootFolder: `${options.folder}/pki` })
await certificates.initialize()
const server = new opcua.OPCUAServer({
  port: options.port, host: '127.0.0.1', hostname: '127.0.0.1', resourcePath: '/UA/types',
  nodeset_filename: [opcua.nodesets.standard, opcua.nodesets.di, opcua.nodesets.isa95JobControl, options.nodeset].filter(Boolean),
  serverCertificateManager: certificates,
})
await server.initialize()
const space = server.engine.addressSpace
const shop = space.getNamespace('urn:shop:types')
space.findNode(`ns=${shop.index};i=7001`).setValueFromSource({ dataType: DataType.ByteString, value: readFileSync(options.dictionary) })
const type = name => shop.findDataType(name)
const made = (name, fields) => space.constructExtensionObject(type(name), fields)
const structure = value => ({ dataType: DataType.ExtensionObject, value })
const structures = value => ({ dataType: DataType.ExtensionObject, arrayType: VariantArrayType.Array, value })

const axis = (id, position) => made('Axis', { id, name: `axis ${id}`, position, limits: [-position, position] })
const station = more => made('Station', {
  mode: 3,
  flags: 17,
  axes: [axis(1, 1.5), axis(2, NaN)],
  best: axis(7, -0.25),
  recipe: made('Recipe', { id: 5, comment: { text: 'schnell', locale: 'de' } }),
  result: made('Result', { text: 'ok' }),
  any: { dataType: DataType.Double, arrayType: VariantArrayType.Array, value: [0.5, 0.75] },
  when: new Date('2024-02-29T06:30:00.250Z'),
  raw: Buffer.from('01fe', 'hex'),
  big: [0xffffffff, 0xffffffff],
  'tool.Life': 12.5,
  ...more,
})

const variables = new Map()
const add = (id, dataType, value, more = {}) => {
  const variable = shop.addVariable({
    organizedBy: space.rootFolder.objects, browseName: id, nodeId: `s=${id}`, dataType, value,
    valueRank: value.arrayType ? value.dimensions?.length ?? 1 : -1, arrayDimensions: value.dimensions, ...more,
  })
  variables.set(id, variable)
}
add('Station', type('Station').nodeId, structure(station()))
add('Axes', type('Axis').nodeId, structures([axis(1, 10), axis(2, 20)]))
add('Any', 'Structure', structure(axis(9, 90)))
add('Mode', type('Mode').nodeId, { dataType: DataType.Int32, value: 3 })
add('Flags', type('Flags').nodeId, { dataType: DataType.UInt16, value: 17 })
add('Numbers', 'Double', { dataType: DataType.Double, arrayType: VariantArrayType.Array, value: [1.5, -2.25, 300] })
add('Texts', 'String', { dataType: DataType.String, arrayType: VariantArrayType.Array, value: ['a', null, ''] })
add('Matrix', 'Int32', {
  dataType: DataType.Int32, arrayType: VariantArrayType.Matrix, dimensions: [2, 3], value: new Int32Array([1, 2, 3, 4, 5, 6]),
})
add('Modes', type('Mode').nodeId, { dataType: DataType.Int32, arrayType: VariantArrayType.Array, value: [0, 3] })

const discrete = { organizedBy: space.rootFolder.objects }
shop.addTwoStateDiscrete({ ...discrete, browseName: 'Door', nodeId: 's=Door', trueState: 'open', falseState: 'shut', value: true })
shop.addMultiStateDiscrete({ ...discrete, browseName: 'Lamp', nodeId: 's=Lamp', enumStrings: ['dark', 'green', 'red'], value: 2 })
shop.addMultiStateValueDiscrete({
  ...discrete, browseName: 'Gear', nodeId: 's=Gear', enumValues: { low: 10, high: 20 }, value: 20,
})

const COMMANDS = {
  numbers: ({ value }) => variables.get('Numbers').setValueFromSource({ dataType: DataType.Double, arrayType: VariantArrayType.Array, value }),
  position: ({ value }) => variables.get('Station').setValueFromSource(structure(station({ best: axis(7, value) }))),
  result: ({ value }) => variables.get('Station').setValueFromSource(structure(station({ result: made('Result', { number: [0, value] }) }))),
  mode: ({ value }) => variables.get('Mode').setValueFromSource({ dataType: DataType.Int32, value }),
}
async function end() {
  await server.shutdown(0)
  process.exit(0)
}
await server.start()
process.on('SIGTERM', end)
createInterface({ input: process.stdin })
  .on('line', line => {
    const { command, ...given } = JSON.parse(line)
    try { COMMANDS[command](given); say({ result: null }) } catch (error) { say({ error: error.message }) }
  })
  .on('close', end)
say({ ready: true })
