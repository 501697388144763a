"""What `gameball_async` costs, measured beside its peers and beside the limits of the machine: ``make bench``.

Nothing here is asserted: a figure that misses its goal is shown as missed. Level 5: public names of the client
only, except where a part of it is measured alone.
"""
