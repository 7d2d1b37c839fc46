// An OPC UA server on node-opcua with machines of several companion specifications, and without security.
//
// Options: port, folder (for its certificates), server (more options for OPCUAServer), wide (folders with 1,100 variables each),
//   nodesets (more of them, as files).
//   Lathe-01  MachineTool 1.0, in the folder Machines; LaserCutter-02 the same, with less of it
//   Press-03  Machinery 1.0 alone: identification, state and counters, and values of its own
//   Filler    PackML 1.01: status, admin, state machine
//   Robot-05  Robotics 1.01: a motion device system
// It ends with its parent.
import { createInterface } from 'node:readline'
import opcua from 'node-opcua'

const { DataType, MessageSecurityMode, SecurityPolicy, VariantArrayType, coerceLocalizedText } = opcua
const options = JSON.parse(process.argv.at(-1))

console.log = console.warn = console.info = console.error // the output is for answers
const say = message => process.stdout.write(JSON.stringify(message) + '\n')

const certificates = new opcua.OPCUACertificateManager({
  automaticallyAcceptUnknownCertificate: true, rootFolder: `${options.folder}/pki`,
})
await certificates.initialize()
const server = new opcua.OPCUAServer({
  port: options.port, host: '127.0.0.1', hostname: '127.0.0.1', resourcePath: '/UA/plant',
  nodeset_filename: ['standard', 'di', 'ia', 'machinery', 'isa95JobControl', 'machineryJobs', 'machineTool', 'packML', 'robotics']
    .map(n => opcua.nodesets[n]).concat(options.nodesets),
  serverCertificateManager: certificates, userCertificateManager: certificates,
  securityPolicies: [SecurityPolicy.None], securityModes: [MessageSecurityMode.None],
  ...options.server,
})
await server.initialize()
const space = server.engine.addressSpace
const index = uri => space.getNamespaceIndex(uri)
const UA = 'http://opcfoundation.org/UA/'
const plant = space.registerNamespace('urn:plant:hall-1')

// A node below another one, by browse names of whatever namespace.
function below(node, path) {
  for (const name of path.split('/')) {
    const found = node.findReferencesExAsObject('HierarchicalReferences').find(each => each.browseName.name === name)
    if (!found) throw new Error(`${node.browseName} has no ${name}`)
    node = found
  }
  return node
}
function put(node, path, dataType, value) {
  below(node, path).setValueFromSource({ dataType, value, arrayType: Array.isArray(value) ? VariantArrayType.Array : VariantArrayType.Scalar })
}
const text = value => coerceLocalizedText(value)

const machines = below(space.rootFolder.objects, 'Machines')

// ---- MachineTool

function machineTool(name, serial, optionals) {
  const type = space.findObjectType('MachineToolType', index(UA + 'MachineTool/'))
  const tool = type.instantiate({ browseName: { name, namespaceIndex: plant.index }, nodeId: `s=${name}`, namespace: plant, organizedBy: machines, optionals })
  put(tool, 'Identification/Manufacturer', DataType.LocalizedText, text('Acme Werkzeugbau'))
  put(tool, 'Identification/SerialNumber', DataType.String, serial)
  put(tool, 'Identification/ProductInstanceUri', DataType.String, `urn:acme:${serial}`)
  return tool
}
const lathe = machineTool('Lathe-01', 'SN-1001', [
  'Identification.Model', 'Identification.YearOfConstruction', 'Identification.Location',
  'Monitoring.MachineTool.PowerOnDuration', 'Monitoring.MachineTool.FeedOverride', 'Monitoring.MachineTool.IsWarmUp',
  'Production.ActiveProgram.JobIdentifier', 'Production.ActiveProgram.State', 'Notification.Messages', 'Production.ProductionPlan',
])
put(lathe, 'Identification/Model', DataType.LocalizedText, text('TurnMaster 400'))
put(lathe, 'Monitoring/MachineTool/OperationMode', DataType.Int32, 1)
put(lathe, 'Production/ActiveProgram/Name', DataType.String, 'O1234.nc')
machineTool('LaserCutter-02', 'SN-1002', [])


// ---- Machinery alone: building blocks, and values of the manufacturer

const press = space.findObjectType('BaseObjectType').instantiate({
  browseName: { name: 'Press-03', namespaceIndex: plant.index }, nodeId: 's=Press-03', namespace: plant, organizedBy: machines,
})
press.setEventNotifier(1)
press.addReference({ referenceType: 'HasEventSource', isForward: false, nodeId: space.rootFolder.objects.server })
const machinery = index(UA + 'Machinery/')
const nameplate = space.findObjectType('MachineIdentificationType', machinery)
nameplate.instantiate({ browseName: { name: 'Identification', namespaceIndex: index(UA + 'DI/') }, namespace: plant, componentOf: press, optionals: ['Model'] })
put(press, 'Identification/Manufacturer', DataType.LocalizedText, text('Presto'))
put(press, 'Identification/Model', DataType.LocalizedText, text('P 2000'))
put(press, 'Identification/SerialNumber', DataType.String, 'P-77')
const blocks = plant.addObject({ browseName: { name: 'MachineryBuildingBlocks', namespaceIndex: machinery }, componentOf: press })
space.findObjectType('MachineryItemState_StateMachineType', machinery).instantiate({
  browseName: { name: 'MachineryItemState', namespaceIndex: machinery }, namespace: plant, componentOf: blocks,
})
put(blocks, 'MachineryItemState/CurrentState', DataType.LocalizedText, text('Executing'))
const counters = plant.addObject({ browseName: { name: 'OperationCounters', namespaceIndex: index(UA + 'DI/') }, componentOf: blocks })
for (const [name, dataType, value] of [['OperationCycleCounter', 'UInt32', 123456], ['PowerOnDuration', 'Duration', 3600000]]) {
  plant.addVariable({
    browseName: { name, namespaceIndex: index(UA + 'DI/') }, nodeId: `s=Press-03.${name}`, propertyOf: counters, dataType,
    value: { dataType: dataType === 'Duration' ? DataType.Double : DataType.UInt32, value },
  })
}
plant.addAnalogDataItem({
  browseName: 'HoldPressure', nodeId: 's=Press-03.HoldPressure', componentOf: press, dataType: 'Double',
  engineeringUnits: opcua.standardUnits.bar, engineeringUnitsRange: { low: 0, high: 250 },
  description: 'Pressure after the gate has frozen', value: { dataType: DataType.Double, value: 87.5 },
})
plant.instantiateExclusiveLimitAlarm('ExclusiveLimitAlarmType', {
  browseName: 'PressureHigh', componentOf: press, conditionSource: press, inputNode: below(press, 'HoldPressure'),
  lowLowLimit: -10, lowLimit: -5, highLimit: 200, highHighLimit: 240,
})

// ---- PackML

const filler = space.findObjectType('PackMLBaseObjectType', index(UA + 'PackML/')).instantiate({
  browseName: { name: 'Filler', namespaceIndex: plant.index }, nodeId: 's=Filler', namespace: plant,
  organizedBy: space.rootFolder.objects, optionals: ['Admin.ProdProcessedCount'],
})
put(filler, 'BaseStateMachine/CurrentState', DataType.LocalizedText, text('Running'))
put(filler, 'Status/CurMachSpeed', DataType.Float, 118.5)
put(filler, 'Status/MachSpeed', DataType.Float, 120)
put(filler, 'Status/EquipmentBlocked', DataType.Boolean, false)
put(filler, 'Status/EquipmentStarved', DataType.Boolean, true)
put(filler, 'Status/UnitModeCurrent', DataType.Int32, 1)
const count = space.constructExtensionObject(space.findDataType('PackMLCountDataType', index(UA + 'PackML/')), {
  iD: 1, name: 'Bottles', unit: opcua.makeEUInformation('LTR', 'l', 'litre'), count: 40, accCount: 100040,
})
put(filler, 'Admin/ProdProcessedCount', DataType.ExtensionObject, [count])

// ---- Robotics

space.findObjectType('MotionDeviceSystemType', index(UA + 'Robotics/')).instantiate({
  browseName: { name: 'Robot-05', namespaceIndex: plant.index }, nodeId: 's=Robot-05', namespace: plant,
  organizedBy: below(space.rootFolder.objects, 'DeviceSet'),
})
plant.addVariable({
  browseName: 'PayloadMass', nodeId: 's=Robot-05.PayloadMass', componentOf: plant.findNode('s=Robot-05'), dataType: 'Float',
  value: { dataType: DataType.Float, value: 12.5 },
})

// ---- many variables in few folders

for (let f = 0; f < options.wide; f++) {
  const folder = plant.addFolder(space.rootFolder.objects, { browseName: `Wide${f}`, nodeId: `s=Wide${f}` })
  for (let v = 0; v < 1100; v++) {
    plant.addVariable({
      browseName: `Value${v}`, nodeId: `s=Wide${f}.Value${v}`, organizedBy: folder, dataType: 'Double',
      value: { dataType: DataType.Double, value: v },
    })
  }
}

async function end() {
  await server.shutdown(0)
  process.exit(0)
}
await server.start()
process.on('SIGTERM', end)
createInterface({ input: process.stdin }).on('line', () => say({})).on('close', end)
say({ ready: true })
