"""Write a picture to try the example with: python3 picture.py N > N.ppm."""

import sys

number = int(sys.argv[1])
width, height = 300 + 10 * number, 200
rows = bytearray()
for y in range(height):
    for x in range(width):
        rows += bytes((x * 255 // width, y * 255 // height, number * 40 % 256))
sys.stdout.buffer.write(b"P6\n%d %d\n255\n" % (width, height) + rows)
