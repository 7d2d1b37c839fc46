// aedes on a port of this machine. Ends with its parent.
import { createServer } from 'node:net'
import { Aedes } from 'aedes'

const { port } = JSON.parse(process.argv.at(-1))
const broker = await Aedes.createBroker()

process.stdin.resume().on('end', () => process.exit(0))
createServer(broker.handle).listen(port, '127.0.0.1', () => process.stdout.write('{"ready": true}\n'))
