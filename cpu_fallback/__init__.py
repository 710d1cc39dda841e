"""numba twins of the ops: `cpu_fallback/<op>.py` holds the function <op>, its arguments as the op contract lowers them.

Imports numpy and numba only. A twin returns 0, or the number of the first index row (from 1) that points outside its
operand, or BAD_PARAMETERS: numba does not check bounds, so everything that is gathered by is checked first
(checks.py). Every output element is summed by one thread in an order that depends on the weight's shape alone:
results are the same for any number of threads and for a token alone or in a batch.
"""
