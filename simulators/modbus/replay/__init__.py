"""A recorded Modbus machine, answering once more."""
