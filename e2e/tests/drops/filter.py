# A service whose socket has a filter of its own, which drops every packet: the kernel counts that nowhere.
import ctypes
import socket
import struct
import sys

SO_ATTACH_FILTER = 26
code = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))  # return 0
service = socket.create_server((sys.argv[1], 8080))
service.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(code)))
print("ready", flush=True)
service.accept()
