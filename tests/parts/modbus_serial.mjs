// modbus-serial as a server, on a port of this machine or a serial port (RTU);
// options: {port, path, image: {unit: {table: {address: value}}}}. Ends with its parent.
import { createInterface } from 'node:readline'
import ModbusRTU from 'modbus-serial'

const { port, path, image } = JSON.parse(process.argv.at(-1))

const look = table => (address, unit) => {
  const value = image[unit]?.[table]?.[address]
  if (value === undefined) throw { modbusErrorCode: unit in image ? 2 : 11 }
  return value
}
const vector = {
  getCoil: look('coil'),
  getDiscreteInput: look('discrete'),
  getInputRegister: look('input'),
  getHoldingRegister: look('holding')
}

const say = message => process.stdout.write(JSON.stringify(message) + '\n')
createInterface({ input: process.stdin })
  .on('line', line => {
    const { unit, table, address, values } = JSON.parse(line)
    values.forEach((value, i) => { ((image[unit] ??= {})[table] ??= {})[address + i] = value })
    say({})
  })
  .on('close', () => process.exit(0))

// With one unit only, a serial line is silent for all others; 255 answers for any.
const units = Object.keys(image)
const unitID = path && units.length === 1 ? Number(units[0]) : 255
const server = path
  ? new ModbusRTU.ServerSerial(vector, { port: path, baudRate: 19200, unitID })
  : new ModbusRTU.ServerTCP(vector, { host: '127.0.0.1', port, unitID })
server.on('initialized', () => say({ ready: true }))
