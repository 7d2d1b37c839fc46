// A client on node-opcua: what it finds below Objects by browsing, and what it is told of the variables there.
//
// Options: url, uri (of the namespace that is looked at), seconds to listen, events (of the object at this place).
// It prints one JSON object and ends.
import opcua from 'node-opcua'

const { AttributeIds, ClientSubscription, NodeClass } = opcua
const options = JSON.parse(process.argv.at(-1))
console.log = console.warn = console.info = console.error // the output is for the answer

const client = opcua.OPCUAClient.create({ endpointMustExist: false, connectionStrategy: { maxRetry: 1 } })
await client.connect(options.url)
const session = await client.createSession()
const index = (await session.readNamespaceArray()).indexOf(options.uri)

const found = {}, places = new Map()
async function look(nodeId, path, seen) {
  const { references } = await session.browse({ nodeId, referenceTypeId: 'HierarchicalReferences', includeSubtypes: true, resultMask: 63 })
  for (const each of references ?? []) {
    const id = each.nodeId.toString(), name = each.browseName.name
    if (seen.has(id) || (each.nodeId.namespace === 0 && name === 'Server')) continue
    seen.add(id)
    places.set(`${path}${name}`, each)
    await look(each.nodeId, `${path}${name}/`, seen)
  }
}
await look('ObjectsFolder', '', new Set())

const plain = value => value?.toJSON ? value.toJSON() : Array.isArray(value) || ArrayBuffer.isView(value) ? Array.from(value) : value
for (const [path, each] of places) {
  if (each.nodeClass !== NodeClass.Variable || each.nodeId.namespace !== index) continue
  const data = await session.read({ nodeId: each.nodeId, attributeId: AttributeIds.Value })
  found[path] = { value: plain(data.value.value), status: data.statusCode.name, type: opcua.DataType[data.value.dataType], told: [] }
}

const subscription = await session.createSubscription2({
  requestedPublishingInterval: 50, requestedLifetimeCount: 1000, requestedMaxKeepAliveCount: 20, publishingEnabled: true,
})
for (const path of Object.keys(found)) {
  const item = await subscription.monitor(
    { nodeId: places.get(path).nodeId, attributeId: AttributeIds.Value }, { samplingInterval: 0, queueSize: 1000, discardOldest: true },
    opcua.TimestampsToReturn.Both,
  )
  item.on('changed', data => found[path].told.push([plain(data.value.value), data.statusCode.name, data.sourceTimestamp?.getTime()]))
}
const raised = []
if (options.events) {
  const fields = ['SourceName', 'Severity', 'Message']
  const item = await subscription.monitor(
    { nodeId: places.get(options.events).nodeId, attributeId: AttributeIds.EventNotifier },
    { queueSize: 100, filter: opcua.constructEventFilter(fields) },
    opcua.TimestampsToReturn.Both,
  )
  item.on('changed', values => raised.push(values.map(each => plain(each.value)?.text ?? plain(each.value))))
}
await new Promise(resolve => setTimeout(resolve, options.seconds * 1000))

const missing = await session.read({ nodeId: `ns=${index};s=nobody has seen this`, attributeId: AttributeIds.Value })
const write = await session.write({
  nodeId: places.get(Object.keys(found)[0]).nodeId, attributeId: AttributeIds.Value, value: { value: { dataType: 'Double', value: 1 } },
})
await session.close()
await client.disconnect()
process.stdout.write(JSON.stringify({ found, raised, missing: missing.statusCode.name, write: write.name }) + '\n')
process.exit(0)
