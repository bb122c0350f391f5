# Puts an XDP program on an interface that drops IPv4 and lets ARP pass, for as long as standard input is open.
import ctypes
import socket
import struct
import sys

# linux/bpf.h, linux/bpf_common.h
BPF_PROG_LOAD, BPF_LINK_CREATE = 5, 28
BPF_PROG_TYPE_XDP, BPF_XDP = 6, 37
XDP_DROP, XDP_PASS = 1, 2
SYS_BPF = {"x86_64": 321, "aarch64": 280}[__import__("platform").machine()]


def instruction(code, to=0, of=0, offset=0, value=0):
    return struct.pack("<BBhi", code, of << 4 | to, offset, value)


PROGRAM = b"".join([
    instruction(0x61, 2, 1, 0),  # r2 = data
    instruction(0x61, 3, 1, 4),  # r3 = data_end
    instruction(0xBF, 4, 2),  # r4 = r2 + 14
    instruction(0x07, 4, value=14),
    instruction(0x2D, 4, 3, 2),  # longer than there is: pass
    instruction(0x69, 5, 2, 12),  # r5 = the EtherType
    instruction(0x15, 5, 0, 2, socket.htons(0x0800)),  # IPv4: drop
    instruction(0xB7, 0, value=XDP_PASS),
    instruction(0x95),
    instruction(0xB7, 0, value=XDP_DROP),
    instruction(0x95),
])


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes, 144)
    result = ctypes.CDLL(None, use_errno=True).syscall(SYS_BPF, command, buffer, 144)
    if result < 0:
        sys.exit(f"bpf command {command}: errno {ctypes.get_errno()}")
    return result


code, licence = ctypes.create_string_buffer(PROGRAM), ctypes.create_string_buffer(b"GPL")
addresses = ctypes.addressof(code), ctypes.addressof(licence)
loaded = bpf(BPF_PROG_LOAD, struct.pack("<IIQQ", BPF_PROG_TYPE_XDP, len(PROGRAM) // 8, *addresses))
bpf(BPF_LINK_CREATE, struct.pack("<IIII", loaded, socket.if_nametoindex(sys.argv[1]), BPF_XDP, 0))
print("ready", flush=True)
sys.stdin.read()
