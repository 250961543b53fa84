"""Multiplies NaN and infinity by a constant 0 and asks whether the products are NaN. Needs pyopencl and numpy."""

import numpy
import pyopencl

SOURCE = """
kernel void zero(global const float *x, global float *y) {
    size_t i = get_global_id(0);
    y[i] = x[i] * 0.0f;
}
"""

device = pyopencl.get_platforms()[0].get_devices()[0]
context = pyopencl.Context([device])
queue = pyopencl.CommandQueue(context)
x = numpy.array([1.0, numpy.nan, numpy.inf, -numpy.inf], dtype=numpy.float32)
y = numpy.empty_like(x)
flags = pyopencl.mem_flags
of_x = pyopencl.Buffer(context, flags.READ_ONLY | flags.COPY_HOST_PTR, hostbuf=x)
of_y = pyopencl.Buffer(context, flags.WRITE_ONLY, y.nbytes)
pyopencl.Program(context, SOURCE).build().zero(queue, x.shape, None, of_x, of_y)
pyopencl.enqueue_copy(queue, y, of_y)
for a, b in zip(x, y):
    print(f"{a} * 0 is {b}")
