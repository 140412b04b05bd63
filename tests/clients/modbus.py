"""A Modbus server that says who it is."""

import asyncio
import sys

from pymodbus.device import ModbusDeviceIdentification
from pymodbus.datastore import ModbusServerContext, ModbusSlaveContext
from pymodbus.server import StartAsyncTcpServer

identity = ModbusDeviceIdentification(
    info_name={"VendorName": "Acme", "ProductCode": "PLC-1", "MajorMinorRevision": "2.7"}
)
context = ModbusServerContext(slaves=ModbusSlaveContext(), single=True)
asyncio.run(
    StartAsyncTcpServer(context, identity=identity, address=("0.0.0.0", int(sys.argv[1])))
)
