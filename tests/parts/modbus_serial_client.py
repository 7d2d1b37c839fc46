"""modbus-serial as a client: reads a Modbus TCP server on this machine."""

import json
import subprocess

from .node import PACKAGES
from .process import program

_SCRIPT = """
import ModbusRTU from 'modbus-serial'
const { port, table, address, count, unit } = JSON.parse(process.argv.at(-1))
const client = new ModbusRTU()
await client.connectTCP('127.0.0.1', { port })
client.setID(unit)
client.setTimeout(5000)
const read = { coil: 'readCoils', discrete: 'readDiscreteInputs', holding: 'readHoldingRegisters', input: 'readInputRegisters' }
try {
  const { data } = await client[read[table]](address, count)
  console.log(JSON.stringify(data.slice(0, count).map(Number)))
} catch (error) {
  console.log(JSON.stringify({ exception: error.modbusCode ?? String(error) }))
}
process.exit(0)
"""


def modbus_serial(port: int, table: str, address: int, count: int = 1, unit: int = 1) -> list[int]:
    """The values. Raises RuntimeError with the exception code, or what else went wrong."""
    options = json.dumps({"port": port, "table": table, "address": address, "count": count, "unit": unit})
    done = subprocess.run(
        [program("node"), "--input-type=module", "--eval", _SCRIPT, options],
        cwd=PACKAGES, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    found: list[int] | dict[str, object] = json.loads(done.stdout or "{}")
    if isinstance(found, dict):
        raise RuntimeError(f"modbus-serial: {found.get('exception', done.stderr.strip())}")
    return found
