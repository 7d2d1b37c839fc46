"""What the Modbus benchmarks run against and compare with; each a process of its own."""
