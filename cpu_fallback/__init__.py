"""numba twins of the ops: `cpu_fallback/<op>.py` holds the function <op>, its arguments as the op contract lowers them.

Imports numpy and numba only. A twin does one part of its op's work: behind the contract's arguments it takes `part,
parts, scratch` (the part's number, how many there are, float32 working memory of the thread, SCRATCH elements) and
does the share `span(n, part, parts)` of whatever it is cut by; `parts(**params)` in the same module says how many
parts are worth while. Parts run on any thread in any order, at once, and write disjoint elements. A twin allocates
nothing.

It returns 0, or the number of the first index row (from 1) that points outside its operand, or BAD_PARAMETERS: numba
does not check bounds, so everything that is gathered by is checked first (checks.py), by each part for its own rows.
Every output element is summed by one thread in an order that depends on the weight's shape alone: results are the same
for any number of threads or parts and for a token alone or in a batch.
"""

from cpu_fallback import variant as variant  # first: it settles what numba compiles for
