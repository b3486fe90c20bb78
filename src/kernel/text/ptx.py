#!/usr/bin/env python3
"""Makes device.ptx, the device text compiled for NVIDIA GPUs, with NVRTC 13.0.

    python3 -m pip install nvidia-cuda-nvrtc==13.0.88
    python3 src/kernel/text/ptx.py [OUT] [--check] [--option TEXT]... [--without TEXT]... [--plant FROM TO]

No GPU is needed. --check compares OUT with what would be written: the text's SHA-256, which needs no NVRTC,
and all of it where NVRTC is there. --option, --without and --plant are for controls that must fail: they add or leave
out options of the compiler or change the text.
"""
import ctypes
import glob
import hashlib
import os
import re
import sys
import sysconfig

OPTIONS = ["--gpu-architecture=compute_80", "--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true"]


def text_of(path):
    """A header with its includes resolved; plain.h is for C++ alone."""
    lines = []
    for line in open(path):
        included = re.match(r'#include "(.*)"', line)
        if not included:
            lines.append(line)
        elif included[1] != "plain.h":
            lines.append(text_of(os.path.join(os.path.dirname(path), included[1])))
    return "".join(lines)


def library():
    """NVRTC as PyPI's package or NVRTC_LIBRARY has it, if it is there."""
    site = sysconfig.get_paths()["purelib"]
    found = os.environ.get("NVRTC_LIBRARY") or next(iter(glob.glob(f"{site}/nvidia/cu13/lib/libnvrtc.so.13")), None)
    if not found:
        return None
    # NVRTC looks for it by its name alone.
    for builtins in glob.glob(f"{os.path.dirname(found)}/libnvrtc-builtins.so.*"):
        ctypes.CDLL(builtins)
    return ctypes.CDLL(found)


def compiled(nvrtc, text, options):
    """The PTX; leaves with the compiler's log where there is none."""
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"device.cu", 0, None, None)
    given = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    code = nvrtc.nvrtcCompileProgram(program, len(options), given)
    if code != 0:
        nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetProgramLog(program, log)
        sys.exit(f"ptx.py: {log.value.decode()}")
    nvrtc.nvrtcGetPTXSize(program, ctypes.byref(size))
    ptx = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetPTX(program, ptx)
    return ptx.value.decode()


def check(out, first, nvrtc, text, options):
    """Leaves with 1 where `out` isn't what would be written."""
    with open(out) as file:
        found = file.read()
    if not found.startswith(first):
        sys.exit(f"ptx.py: {out} was made of another text")
    if nvrtc and found != first + compiled(nvrtc, text, options):
        sys.exit(f"ptx.py: {out} isn't what NVRTC gives")
    print("by its SHA-256" + (" and by NVRTC, byte for byte" if nvrtc else "; no NVRTC here to make it anew"))


def main(arguments):
    folder = os.path.dirname(os.path.abspath(__file__))
    out, options, text = os.path.join(folder, "device.ptx"), list(OPTIONS), text_of(os.path.join(folder, "all.h"))
    checks = False
    while arguments:
        word = arguments.pop(0)
        if word == "--check":
            checks = True
        elif word == "--option":
            options.append(arguments.pop(0))
        elif word == "--without":
            options.remove(arguments.pop(0))
        elif word == "--plant":
            old, new = arguments.pop(0), arguments.pop(0)
            if old not in text:
                sys.exit(f"ptx.py: the text has no {old}")
            text = text.replace(old, new)
        else:
            out = word
    first = f"// Made by ptx.py of the text with SHA-256 {hashlib.sha256(text.encode()).hexdigest()}.\n"
    nvrtc = library()
    if checks:
        return check(out, first, nvrtc, text, options)
    if not nvrtc:
        sys.exit("ptx.py: no NVRTC found: python3 -m pip install nvidia-cuda-nvrtc==13.0.88")
    ptx = compiled(nvrtc, text, options)
    with open(out, "w") as file:
        file.write(first + ptx)


if __name__ == "__main__":
    main(sys.argv[1:])
