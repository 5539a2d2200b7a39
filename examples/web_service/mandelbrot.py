"""Draws a part of the Mandelbrot set: mandelbrot.py X Y WIDTH PICTURE.png"""

import struct
import sys
import zlib

COLUMNS, ROWS, DEPTH = 240, 160, 120


def colour(point: complex) -> bytes:
    value = 0j
    for step in range(DEPTH):
        value = value * value + point
        if abs(value) > 2:
            fraction = step / DEPTH
            return bytes((int(255 * fraction**0.4), int(255 * fraction**0.8), int(90 + 165 * fraction)))
    return b"\0\0\0"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


x, y, width = map(float, sys.argv[1:4])
pixels = b""
for row in range(ROWS):
    print(f"row {row} of {ROWS}", flush=True)
    imaginary = y + width * (0.5 - row / ROWS) * ROWS / COLUMNS
    pixels += b"\0" + b"".join(
        colour(complex(x + width * (column / COLUMNS - 0.5), imaginary)) for column in range(COLUMNS)
    )
with open(sys.argv[4], "wb") as picture:
    picture.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", COLUMNS, ROWS, 8, 2, 0, 0, 0)))
    picture.write(chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b""))
